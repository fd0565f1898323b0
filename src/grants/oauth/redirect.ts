/** Redirects of endpoints that only programs call (RFC 9110 §15.4). Pure. */

/** A response with a redirect. `location`: unchecked field; null: absent. */
export interface Redirect {
  readonly kind: 'redirect';
  readonly status: number;
  readonly location: string | null;
}

/** The permanent failure of a redirect that is not followed. */
interface Moved {
  readonly kind: 'error';
  readonly error: 'endpoint_moved';
  readonly description: string;
  readonly movedTo?: string;
}

// Status 0: a `fetch` of browsers hides redirects. 300 and 304 do not say where else to send a request.
const redirects: ReadonlySet<number> = new Set([0, 301, 302, 303, 307, 308]);
/** Only these keep the method and the body. The others turn a POST into a GET. */
const repeating: ReadonlySet<number> = new Set([307, 308]);

export function isRedirect(status: number): boolean {
  return redirects.has(status);
}

/**
 * Returns the URL at which the same request is to be repeated. Null: the redirect is not to be followed,
 * because it changes the method, or leads to another origin, which would receive the client's secret.
 */
export function repeatedAt(url: string, redirect: Redirect): string | null {
  const target = targetOf(url, redirect);
  if (!repeating.has(redirect.status) || target === null) return null;
  if (target.origin !== URL.parse(url)?.origin || target.username !== '' || target.password !== '')
    return null;
  target.hash = '';
  return target.href;
}

/** `name`: endpoint that answered, for people; `url`: its address. */
export function movedFailure(name: string, url: string, redirect: Redirect): Moved {
  const target = targetOf(url, redirect);
  const status = redirect.status === 0 ? '' : ` (HTTP ${redirect.status})`;
  // The query, the fragment and a user name may have secrets, and belong into no definition.
  const address = target === null ? null : `${target.protocol}//${target.host}${target.pathname}`;
  return {
    kind: 'error',
    error: 'endpoint_moved',
    description: `${name} answered with a redirect${status} ${address === null ? 'without an address' : `to ${address}`}`,
    ...(address !== null && target?.protocol === 'https:' ? { movedTo: address } : {}),
  };
}

function targetOf(url: string, { location }: Redirect): URL | null {
  const target = location === null ? null : URL.parse(location, url);
  return target?.protocol === 'https:' || target?.protocol === 'http:' ? target : null;
}
