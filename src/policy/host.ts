import { isIPv4, isIPv6 } from 'node:net';

const notInHost = /[^\p{L}\p{M}\p{N}._-]/u;
/** What is left of a name after IDNA. Some letters and numbers are mapped to more: `⑴` becomes `(1)`. */
const asciiName = /^[a-z0-9._-]+$/;

/**
 * The one canonical text of a host: lower case, IDNA applied (UTS #46, as WHATWG URL does it), no trailing dot,
 * an IPv6 address compressed and in brackets. Everything that compares hosts compares this.
 *
 * Null where the text is no host, or where two programs could read it differently: numbers that some take for an
 * IPv4 address (`2130706433`, `0x7f.1`, `010.0.0.1`), empty labels, characters that a URL parser drops or decodes.
 */
export function canonicalHost(text: string): string | null {
  if (text.startsWith('[')) {
    return text.endsWith(']') && isIPv6(text.slice(1, -1)) ? urlHost(text) : null;
  }
  if (text.length === 0 || text.length > 255 || notInHost.test(text)) return null;
  const name = text.endsWith('.') ? text.slice(0, -1) : text;
  const host = urlHost(name);
  if (host === null || host.length > 253 || !asciiName.test(host)) return null;
  if (isIPv4(host)) return host === name ? host : null;
  return host.split('.').every((label) => label.length > 0 && label.length <= 63) ? host : null;
}

/** Whether a canonical host is an IP address and not a name. */
export function isAddress(host: string): boolean {
  return host.startsWith('[') || isIPv4(host);
}

/** Whether a host of a redirect URI stands for this machine alone (RFC 8252 §7.3, §8.3). */
export function isLoopback(host: string): boolean {
  return host === '127.0.0.1' || host === '[::1]' || host === 'localhost';
}

/** A canonical host as sockets, certificates and `net` take it: an IPv6 address without its brackets. */
export function bareHost(host: string): string {
  return host.startsWith('[') ? host.slice(1, -1) : host;
}

function urlHost(text: string): string | null {
  const url = URL.parse(`https://${text}/`);
  return url === null || url.hostname === '' ? null : url.hostname;
}
