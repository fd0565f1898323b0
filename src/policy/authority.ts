import { canonicalHost } from './host.ts';

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

/** Whether two authorities are one and the same: scheme, host and port. */
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
