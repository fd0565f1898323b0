import { isIP } from 'node:net';
import { bareHost, hostOfIpv6, plainAddress } from './policy/authority.ts';

/** Header of the PROXY protocol, versions 1 and 2 (HAProxy, proxy-protocol.txt). */

/** Result of reading the first bytes of a connection. */
type ProxyHeader =
  /** The header is incomplete: more bytes are needed. */
  | { readonly kind: 'more' }
  | { readonly kind: 'malformed' }
  | {
      readonly kind: 'header';
      /** Bytes of the header, which are no part of the connection. */
      readonly length: number;
      /** Address of the client, with its port; null: the balancer itself connects, or does not know. */
      readonly client: { readonly address: string; readonly port: number } | null;
    };

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const firstWord = Buffer.from('PROXY ');
/** Bytes of the longest line of version 1. */
const longestLine = 107;
/** Bytes of version 2 that are read: the addresses, and extensions that are ignored. */
const longestBinary = 4_096;

/** Reads a header. Does not consume the bytes after it. */
export function readProxyHeader(bytes: Buffer): ProxyHeader {
  const start = bytes.subarray(0, signature.length);
  if (start.equals(signature)) return readBinary(bytes);
  if (signature.subarray(0, bytes.length).equals(bytes)) return { kind: 'more' };
  const word = bytes.subarray(0, firstWord.length);
  if (!firstWord.subarray(0, word.length).equals(word)) return { kind: 'malformed' };
  return readLine(bytes);
}

function readLine(bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, longestLine).indexOf('\r\n');
  if (end < 0) return { kind: bytes.length < longestLine ? 'more' : 'malformed' };
  const length = end + 2;
  const line = bytes.toString('latin1', 0, end);
  if (/^PROXY UNKNOWN(?: |$)/.test(line)) return { kind: 'header', length, client: null };
  const [, version, address = '', to = '', port] =
    /^PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ([0-9]{1,5}) [0-9]{1,5}$/.exec(line) ?? [];
  const family = Number(version);
  if (isIP(address) !== family || isIP(to) !== family || Number(port) > 65_535) return { kind: 'malformed' };
  return {
    kind: 'header',
    length,
    client: { address: plainAddress(address.toLowerCase()), port: Number(port) },
  };
}

function readBinary(bytes: Buffer): ProxyHeader {
  if (bytes.length < 16) return { kind: 'more' };
  const [command = 0, family = 0] = bytes.subarray(12);
  const size = bytes.readUInt16BE(14);
  if (command >> 4 !== 2 || (command & 15) > 1 || size > longestBinary) return { kind: 'malformed' };
  const length = 16 + size;
  if (bytes.length < length) return { kind: 'more' };
  // LOCAL: a health check of the balancer. Other families: it does not know the address.
  if ((command & 15) === 0) return { kind: 'header', length, client: null };
  switch (family) {
    case 0x11: {
      if (size < 12) return { kind: 'malformed' };
      return {
        kind: 'header',
        length,
        client: { address: bytes.subarray(16, 20).join('.'), port: bytes.readUInt16BE(24) },
      };
    }
    case 0x21: {
      if (size < 36) return { kind: 'malformed' };
      const address = plainAddress(bareHost(hostOfIpv6(bytes.subarray(16, 32))));
      return { kind: 'header', length, client: { address, port: bytes.readUInt16BE(48) } };
    }
    default:
      return { kind: 'header', length, client: null };
  }
}
