import { BlockList } from 'node:net';
import { describe, expect, it } from 'vitest';
import {
  addressBytes,
  generalNameOf,
  nameConstraintsDer,
  nameConstraintsId,
  parsePermittedNames,
  permits,
  permittedTextsOf,
} from '../../src/ca/certificate.ts';
import { decode, encode, itemsOf, objectId, octetString, sequence } from '../../src/ca/asn1.ts';
import { bareHost, canonicalHost, isAddress } from '../../src/proxy/policy/authority.ts';
import * as fc from '../support/fast-check.ts';

const canonicalAddress = fc
  .oneof(
    fc.ipV4(),
    fc.ipV6().map((text) => `[${text}]`),
  )
  .map((text) => canonicalHost(text))
  .filter((host) => host !== null);

const permittedName = fc.oneof(
  fc.domain(),
  canonicalAddress,
  fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })).map(([address, prefix]) => block(address, prefix)),
  fc
    .tuple(canonicalAddress, fc.integer({ min: 0, max: 128 }))
    .filter(([host]) => host.startsWith('['))
    .map(([host, prefix]) => block(host, prefix)),
);

/** The block that an address is in. */
function block(host: string, prefix: number): string {
  const bytes = addressBytes(bareHost(host));
  const kept = bytes.map((byte, at) => byte & (0xff00 >> Math.min(8, Math.max(0, prefix - at * 8))));
  return `${addressText(kept)}/${prefix}`;
}

function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return [...bytes].join('.');
  const view = Buffer.from(bytes);
  const groups = Array.from({ length: 8 }, (_, at) => view.readUInt16BE(at * 2).toString(16));
  return bareHost(canonicalHost(`[${groups.join(':')}]`) ?? '');
}

describe('names in certificates', () => {
  it('contain an address that is unchanged after encoding and decoding', () => {
    fc.assert(
      fc.property(canonicalAddress, (host) => {
        expect(addressText(addressBytes(bareHost(host)))).toBe(bareHost(host));
      }),
    );
  });

  it('are permitted by an address block exactly if the block contains the address', () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.ipV4(), fc.integer({ min: 0, max: 32 }), (inside, other, prefix) => {
        const text = block(inside, prefix);
        const list = new BlockList();
        list.addSubnet(text.split('/')[0] ?? '', prefix, 'ipv4');
        const permitted = parsePermittedNames([text]);
        expect(permits(permitted, generalNameOf(inside))).toBe(true);
        expect(permits(permitted, generalNameOf(other))).toBe(list.check(other, 'ipv4'));
      }),
    );
  });

  it('are permitted by their own domain and by a parent domain', () => {
    fc.assert(
      fc.property(fc.domain(), (host) => {
        const permitted = parsePermittedNames([host]);
        expect(permits(permitted, generalNameOf(host))).toBe(true);
        expect(permits(permitted, generalNameOf(`x.${host}`))).toBe(true);
        expect(permits(permitted, generalNameOf(`x${host}`))).toBe(false);
      }),
    );
  });

  it('are the same in name constraints after encoding and decoding', () => {
    fc.assert(
      fc.property(fc.array(permittedName, { minLength: 1, maxLength: 5 }), (texts) => {
        const permitted = parsePermittedNames(texts);
        const extension = sequence(
          objectId(nameConstraintsId),
          octetString(encode(nameConstraintsDer(permitted))),
        );
        const read = permittedTextsOf(itemsOf(decode(encode(sequence(extension)))));
        expect(read).toEqual(permitted.map((name) => name.text));
        expect(parsePermittedNames(read)).toEqual(permitted);
        for (const name of permitted) {
          if (name.kind === 'dns') expect(isAddress(name.text)).toBe(false);
        }
      }),
    );
  });
});
