import { isIPv4, isIPv6 } from 'node:net';

/**
 * Target of a request, used for policy, credential, address, SNI and certificate verification. The host is
 * canonical (see `canonicalHost`).
 */
export interface Authority {
  readonly scheme: Scheme;
  readonly host: string;
  readonly port: number;
}

/** `https`, and plain `http`. */
export type Scheme = 'https' | 'http';

/** Default ports of the schemes (RFC 9110 §4.2). */
export const defaultPort = { https: 443, http: 80 } as const satisfies Record<Scheme, number>;

/** Parses `host[:port]` (RFC 3986 §3.2, without user information); null if it is invalid. */
export function parseAuthority(text: string, scheme: Scheme): Authority | null {
  const { host: hostText, port: portText } = splitPort(text);
  const host = canonicalHost(hostText);
  const port = portText === null ? defaultPort[scheme] : parsePort(portText);
  return host === null || port === null ? null : { scheme, host, port };
}

/** Parses `host:port` of a CONNECT (RFC 9110 §9.3.6): the port is required. */
export function parseConnectTarget(text: string): Authority | null {
  return splitPort(text).port === null ? null : parseAuthority(text, 'https');
}

/** An absolute-form target (RFC 9112 §3.2.2): its authority, and the raw bytes after it. */
export interface AbsoluteTarget {
  readonly authority: Authority;
  /** Origin-form: the unchanged path and query; `/` if empty. */
  readonly path: string;
}

const absoluteForm = /^(https?):\/\/([^/?#]*)([^#]*)$/i;

/** Parses an absolute `http` or `https` URI without user information and fragment; null if it is invalid. */
export function parseAbsoluteTarget(text: string): AbsoluteTarget | null {
  const [, scheme, authorityText, rest] = absoluteForm.exec(text) ?? [];
  if (scheme === undefined || authorityText === undefined || rest === undefined) return null;
  const authority = parseAuthority(authorityText, scheme.toLowerCase() as Scheme);
  if (authority === null) return null;
  return { authority, path: rest.startsWith('/') ? rest : `/${rest}` };
}

/** Returns the value of a `Host` field: `host`, or `host:port` if the port is not the default. */
export function authorityText({ scheme, host, port }: Authority): string {
  return port === defaultPort[scheme] ? host : `${host}:${port}`;
}

/** Reports whether two authorities have the same scheme, host and port. */
export function sameAuthority(a: Authority, b: Authority): boolean {
  return a.host === b.host && a.port === b.port && a.scheme === b.scheme;
}

/** Parses a port: 1 to 65535 without sign and leading zeros; null if it is invalid. */
export function parsePort(text: string): number | null {
  if (!/^[1-9][0-9]{0,4}$/.test(text)) return null;
  const port = Number(text);
  return port <= 65_535 ? port : null;
}

/**
 * Splits at the colon before the port, outside of the brackets of an IPv6 address. Validates neither part;
 * the port is null if there is none.
 */
export function splitPort(text: string): { host: string; port: string | null } {
  const colon = text.indexOf(':', text.startsWith('[') ? text.lastIndexOf(']') : 0);
  return colon < 0 ? { host: text, port: null } : { host: text.slice(0, colon), port: text.slice(colon + 1) };
}

/**
 * The host name of the proxy itself for its callers. `internal` is reserved for private use (ICANN board
 * resolution 2024.07.29.06). The domain map cannot have it, it is never resolved, and requests for it are not
 * forwarded.
 */
export const ownHost = 'sidekey.internal';

/** Reports whether a request is for the proxy itself, on any port. */
export function isOwn({ host }: Pick<Authority, 'host'>): boolean {
  return host === ownHost;
}

const notInHost = /[^\p{L}\p{M}\p{N}._-]/u;
/** Allowed characters after IDNA, which maps some characters to several: `⑴` becomes `(1)`. */
const asciiName = /^[a-z0-9._-]+$/;

/**
 * Returns the canonical form of a host: lower case, IDNA applied (UTS #46, as in WHATWG URL), no trailing
 * dot, an IPv6 address compressed and in brackets. All comparisons of hosts use this form.
 *
 * Null if the host is invalid or ambiguous: numbers that some programs parse as an IPv4 address
 * (`2130706433`, `0x7f.1`, `010.0.0.1`), empty labels, characters that a URL parser removes or decodes.
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

/** Reports whether a canonical host is an IP address. */
export function isAddress(host: string): boolean {
  return host.startsWith('[') || isIPv4(host);
}

/** Reports whether a host of a redirect URI is loopback (RFC 8252 §7.3, §8.3). */
export function isLoopback(host: string): boolean {
  return host === '127.0.0.1' || host === '[::1]' || host === 'localhost';
}

/**
 * Returns a canonical host in the form of sockets, certificates and `net`: an IPv6 address without brackets.
 */
export function bareHost(host: string): string {
  return host.startsWith('[') ? host.slice(1, -1) : host;
}

function urlHost(text: string): string | null {
  const url = URL.parse(`https://${text}/`);
  return url === null || url.hostname === '' ? null : url.hostname;
}
