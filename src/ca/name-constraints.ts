import { SidekeyError } from '../errors.ts';
import { bareHost, canonicalHost, isAddress } from '../policy/host.ts';
import { bytesOf, decode, isObjectId, itemsOf, sequence, tagNumberOf, wrapped, type Der } from './der.ts';
import { addressBytes, generalNameDer, type GeneralName } from './general-name.ts';

/** The object identifier of the extension. */
export const nameConstraintsId = '2.5.29.30';

/**
 * One entry of `ca.permitted_names`. A DNS name permits itself and every name below it, which is what it means in
 * the certificate too (RFC 5280 §4.2.1.10); an address permits itself, a block (CIDR) what is in it.
 */
export type PermittedName =
  | { readonly kind: 'dns'; readonly text: string; readonly name: string }
  | { readonly kind: 'address'; readonly text: string; readonly bytes: Buffer; readonly prefix: number };

/**
 * Reads `ca.permitted_names`, without doubles and in order of their texts, so that the order in the config makes
 * no difference.
 * @throws SidekeyError `config_invalid`.
 */
export function parsePermittedNames(texts: readonly string[]): readonly PermittedName[] {
  const byText = new Map(texts.map(parsePermittedName).map((name) => [name.text, name]));
  return [...byText.values()].toSorted((a, b) => (a.text < b.text ? -1 : 1));
}

/** Whether a leaf for this name may be made. No entries: there is no constraint. */
export function permits(permitted: readonly PermittedName[], name: GeneralName): boolean {
  return permitted.length === 0 || permitted.some((entry) => covers(entry, name));
}

/**
 * The value of the extension. A constraint binds only names of its own kind (RFC 5280 §4.2.1.10), so that
 * permitting `acme.test` alone would leave every IP address open: kinds that have no entry are excluded whole.
 */
export function nameConstraintsDer(permitted: readonly PermittedName[]): Der {
  const excluded: Der[] = [];
  if (!permitted.some((entry) => entry.kind === 'dns')) excluded.push(subtree({ kind: 'dns', name: '' }));
  for (const length of [4, 16]) {
    if (!permitted.some((entry) => entry.kind === 'address' && entry.bytes.length === length)) {
      excluded.push(subtree({ kind: 'address', bytes: Buffer.alloc(length * 2) }));
    }
  }
  const bases = permitted.map((entry) =>
    entry.kind === 'dns'
      ? subtree({ kind: 'dns', name: entry.name })
      : subtree({
          kind: 'address',
          bytes: Buffer.concat([entry.bytes, mask(entry.prefix, entry.bytes.length)]),
        }),
  );
  return sequence(wrapped(0, ...bases), ...(excluded.length === 0 ? [] : [wrapped(1, ...excluded)]));
}

/** The permitted names that a certificate was made with, as texts in their order; none: no constraint. */
export function permittedTextsOf(extensions: readonly Der[]): readonly string[] {
  const extension = extensions.find((candidate) => isObjectId(itemsOf(candidate)[0], nameConstraintsId));
  if (extension === undefined) return [];
  const [permitted] = itemsOf(decode(bytesOf(itemsOf(extension).at(-1))));
  return itemsOf(permitted)
    .map((entry) => itemsOf(entry)[0])
    .map((base) => (tagNumberOf(base) === 2 ? bytesOf(base).toString('latin1') : blockText(bytesOf(base))))
    .toSorted();
}

function parsePermittedName(text: string): PermittedName {
  const [hostText = '', prefixText, ...more] = text.split('/');
  const host = canonicalHost(hostText) ?? canonicalHost(`[${hostText}]`);
  if (host === null || more.length > 0)
    throw unusable(text, 'is not a host name, an IP address or a block of them');
  if (!isAddress(host)) {
    if (prefixText !== undefined) throw unusable(text, 'has a path');
    return { kind: 'dns', text: host, name: host };
  }
  const bytes = addressBytes(bareHost(host));
  const bits = bytes.length * 8;
  const prefix = prefixText === undefined ? bits : /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : -1;
  if (prefix < 0 || prefix > bits) throw unusable(text, `has a prefix that is not between 0 and ${bits}`);
  const ofPrefix = mask(prefix, bytes.length);
  if (bytes.some((byte, at) => (byte & ~(ofPrefix[at] ?? 0)) !== 0)) {
    throw unusable(text, 'is an address inside a block and not the block itself');
  }
  return { kind: 'address', text: blockText(Buffer.concat([bytes, ofPrefix])), bytes, prefix };
}

function unusable(text: string, problem: string): SidekeyError {
  return new SidekeyError('config_invalid', `ca.permitted_names: ${JSON.stringify(text)} ${problem}.`, {
    hint: 'Write a name such as acme.test (which covers all names below it), an address, or a block such as 10.1.2.0/24.',
  });
}

function covers(entry: PermittedName, name: GeneralName): boolean {
  if (entry.kind === 'dns') {
    return name.kind === 'dns' && (name.name === entry.name || name.name.endsWith(`.${entry.name}`));
  }
  if (name.kind !== 'address' || name.bytes.length !== entry.bytes.length) return false;
  const ofPrefix = mask(entry.prefix, entry.bytes.length);
  return entry.bytes.every((byte, at) => byte === ((name.bytes[at] ?? 0) & (ofPrefix[at] ?? 0)));
}

function subtree(base: GeneralName): Der {
  return sequence(generalNameDer(base));
}

/** A network mask of `length` bytes with `prefix` leading ones. */
function mask(prefix: number, length: number): Buffer {
  return Buffer.from(
    Array.from({ length }, (_, at) => (0xff00 >> Math.min(8, Math.max(0, prefix - at * 8))) & 0xff),
  );
}

/** Address and mask, one after the other, as a text that tells blocks apart. */
function blockText(bytes: Buffer): string {
  const half = bytes.length / 2;
  const prefix = [...bytes.subarray(half)].reduce((ones, byte) => ones + Math.clz32(~(byte << 24)), 0);
  const address =
    half === 4
      ? [...bytes.subarray(0, 4)].join('.')
      : bareHost(
          canonicalHost(
            `[${Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(at * 2).toString(16)).join(':')}]`,
          ) ?? '[::]',
        );
  return `${address}/${prefix}`;
}
