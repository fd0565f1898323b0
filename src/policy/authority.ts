import { isIPv4, isIPv6 } from 'node:net';

/**
 * Where a request goes: the one value that drives policy, credential, address, SNI and certificate check.
 * The host is canonical (see `host.ts`).
 */
export interface Authority {
  readonly scheme: Scheme;
  readonly host: string;
  readonly port: number;
}

/** `https`, and plain `http`. */
export type Scheme = 'https' | 'http';

/** RFC 9110 §4.2: the port that a scheme has when none is written. */
export const defaultPort = { https: 443, http: 80 } as const satisfies Record<Scheme, number>;

/** `host[:port]` (RFC 3986 §3.2, without user information) into an authority; null where it is not one. */
export function parseAuthority(text: string, scheme: Scheme): Authority | null {
  const { host: hostText, port: portText } = splitPort(text);
  const host = canonicalHost(hostText);
  const port = portText === null ? defaultPort[scheme] : parsePort(portText);
  return host === null || port === null ? null : { scheme, host, port };
}

/** `host:port` as CONNECT has it (RFC 9110 §9.3.6): the port must be there. */
export function parseConnectTarget(text: string): Authority | null {
  return splitPort(text).port === null ? null : parseAuthority(text, 'https');
}

/** An absolute-form target (RFC 9112 §3.2.2), split into its authority and the raw bytes after it. */
export interface AbsoluteTarget {
  readonly authority: Authority;
  /** Origin-form: the path and query exactly as written; `/` where there was none. */
  readonly path: string;
}

const absoluteForm = /^(https?):\/\/([^/?#]*)([^#]*)$/i;

/** Null where the text is not an absolute `http` or `https` URI without user information and fragment. */
export function parseAbsoluteTarget(text: string): AbsoluteTarget | null {
  const [, scheme, authorityText, rest] = absoluteForm.exec(text) ?? [];
  if (scheme === undefined || authorityText === undefined || rest === undefined) return null;
  const authority = parseAuthority(authorityText, scheme.toLowerCase() as Scheme);
  if (authority === null) return null;
  return { authority, path: rest.startsWith('/') ? rest : `/${rest}` };
}

/** `host`, or `host:port` where the port is not the scheme's own: what belongs into a `Host` field. */
export function authorityText({ scheme, host, port }: Authority): string {
  return port === defaultPort[scheme] ? host : `${host}:${port}`;
}

/** Reports whether two authorities are one and the same: scheme, host and port. */
export function sameAuthority(a: Authority, b: Authority): boolean {
  return a.host === b.host && a.port === b.port && a.scheme === b.scheme;
}

/** One to five digits, 1 to 65535, no sign and no leading zero; null otherwise. */
export function parsePort(text: string): number | null {
  if (!/^[1-9][0-9]{0,4}$/.test(text)) return null;
  const port = Number(text);
  return port <= 65_535 ? port : null;
}

/**
 * Splits at the colon that begins the port, which is not one inside the brackets of an IPv6 address. Neither part is
 * checked; the port is null where there is no such colon.
 */
export function splitPort(text: string): { host: string; port: string | null } {
  const colon = text.indexOf(':', text.startsWith('[') ? text.lastIndexOf(']') : 0);
  return colon < 0 ? { host: text, port: null } : { host: text.slice(0, colon), port: text.slice(colon + 1) };
}

/**
 * The host by which callers reach the proxy itself, through itself. `internal` is kept for private use (ICANN board
 * resolution 2024.07.29.06), so nobody else has the name. No entry of the domain map may be about it, nobody looks it up,
 * and no request for it is forwarded.
 */
export const ownHost = 'sidekey.internal';

/** Reports whether a request is for the proxy itself, on whatever port. */
export function isOwn({ host }: Pick<Authority, 'host'>): boolean {
  return host === ownHost;
}

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

/** Reports whether a canonical host is an IP address and not a name. */
export function isAddress(host: string): boolean {
  return host.startsWith('[') || isIPv4(host);
}

/** Reports whether a host of a redirect URI stands for this machine alone (RFC 8252 §7.3, §8.3). */
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
