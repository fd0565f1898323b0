import { SidekeyError } from '../errors.ts';
import { bareHost, canonicalHost, isAddress } from '../policy/host.ts';
import { tagged, type Der } from './der.ts';

/** What a certificate is good for: a DNS name or an IP address (RFC 5280 §4.2.1.6, GeneralName). */
export type GeneralName =
  | { readonly kind: 'dns'; readonly name: string }
  /** 4 or 16 bytes, in network order. */
  | { readonly kind: 'address'; readonly bytes: Buffer };

/**
 * The name of a canonical host (see `policy/host.ts`; an IPv6 address stands in brackets).
 *
 * Whoever asks has made the host canonical already. It is looked at again here because a certificate is the wrong
 * place to find out that it was not: a NUL, a comma, a line break or a `*` in a name has been read by one program
 * as part of the name and by another as its end (CVE-2009-2408, CVE-2021-44532).
 * @throws SidekeyError `bad_request`.
 */
export function generalNameOf(host: string): GeneralName {
  if (canonicalHost(host) !== host) {
    throw new SidekeyError(
      'bad_request',
      `No certificate is made for ${JSON.stringify(host)}: it is no host.`,
      {
        hint: 'Ask for one host name or IP address, in lower case, without a wildcard.',
      },
    );
  }
  return isAddress(host)
    ? { kind: 'address', bytes: addressBytes(bareHost(host)) }
    : { kind: 'dns', name: host };
}

/** The name as it stands in a certificate: dNSName is `[2]`, iPAddress is `[7]`. */
export function generalNameDer(name: GeneralName): Der {
  return name.kind === 'dns' ? tagged(2, Buffer.from(name.name, 'latin1')) : tagged(7, name.bytes);
}

/** The bytes of a canonical address: dotted decimal, or IPv6 in hexadecimal groups with at most one `::`. */
export function addressBytes(address: string): Buffer {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => 0);
  const bytes = Buffer.alloc(16);
  [...before, ...zeros, ...after].forEach((group, at) => bytes.writeUInt16BE(group, at * 2));
  return bytes;
}

function groups(text: string): number[] {
  return text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
}
