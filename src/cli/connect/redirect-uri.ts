import { SidekeyError } from '../../errors.ts';
import type { Provider } from '../../grants/provider.ts';
import { isLoopback } from '../../policy/host.ts';

/**
 * The port that is tried first: providers that compare redirect URIs whole (unlike RFC 8252 §7.3) can be told it once.
 */
export const usualPort = 8765;

const path = '/callback';

/** Where a consent comes back to. */
export type RedirectTarget =
  /** RFC 8252 §7.3: a listener of our own. */
  | {
      readonly kind: 'loopback';
      /** `127.0.0.1`, `[::1]` or `localhost`, as it stands in the URI. */
      readonly host: string;
      /** Null: the usual one, or where that is taken any that is free. 0: any that is free. */
      readonly port: number | null;
      readonly path: string;
    }
  /** Somewhere else: a person carries the answer back. */
  | { readonly kind: 'elsewhere'; readonly redirectUri: string };

/**
 * What `--port` and `--redirect-uri` say. A loopback URI without a port leaves the port open.
 *
 * @throws SidekeyError `input_invalid`
 */
export function redirectTarget({
  port,
  redirectUri,
}: {
  readonly port?: string | undefined;
  readonly redirectUri?: string | undefined;
}): RedirectTarget {
  const wanted = port === undefined ? null : portNumber(port);
  if (redirectUri === undefined) return { kind: 'loopback', host: '127.0.0.1', port: wanted, path };
  const url = /^[\x21-\x7e]+$/.test(redirectUri) ? URL.parse(redirectUri) : null;
  if (url === null || redirectUri.includes('#') || url.username !== '' || url.password !== '') {
    throw invalid('is no URI that a provider can send a browser to');
  }
  if (url.protocol === 'http:') {
    if (!isLoopback(url.hostname)) {
      throw invalid('would bring the code back over plain http, where others can read it');
    }
    if (url.search !== '') throw invalid('has a query');
    // URL leaves out a port that is the scheme's own, and the text does not.
    const written = /^http:\/\/[^/]*?:([0-9]+)(?:\/|$)/i.exec(redirectUri.replace('[::1]', 'ipv6'))?.[1];
    const own = written === undefined ? null : portNumber(written);
    if (own !== null && wanted !== null && own !== wanted) {
      throw new SidekeyError('input_invalid', '--port and --redirect-uri name two ports.', {
        hint: 'leave --port out',
      });
    }
    return { kind: 'loopback', host: url.hostname, port: own ?? wanted, path: url.pathname };
  }
  if (wanted !== null) {
    throw new SidekeyError('input_invalid', '--port is for redirect URIs of this machine.', {
      hint: 'leave --port out',
    });
  }
  // RFC 8252 §7.1: the scheme of an app of its own is a domain name turned around. The URN is of older drafts of OAuth.
  const isPrivateScheme = /^[a-z][a-z0-9+-]*\.[a-z0-9+.-]+:$/.test(url.protocol);
  if (url.protocol === 'https:' || isPrivateScheme || redirectUri === 'urn:ietf:wg:oauth:2.0:oob') {
    return { kind: 'elsewhere', redirectUri };
  }
  throw invalid('has a scheme that no provider sends a browser to');
}

/**
 * Where a consent of a provider comes back to: what a person says, else what the client is registered with, else what the
 * provider takes.
 *
 * @throws SidekeyError `input_invalid`; also where the provider takes no redirect URI of this machine and none is named
 */
export function redirectOf(
  options: { readonly port?: string | undefined; readonly redirectUri?: string | undefined },
  { name, title, redirect, redirectUri }: Pick<Provider, 'name' | 'title' | 'redirect' | 'redirectUri'>,
): RedirectTarget {
  const uri = options.redirectUri ?? redirectUri ?? undefined;
  if (uri !== undefined || redirect === 'loopback')
    return redirectTarget({ port: options.port, redirectUri: uri });
  if (redirect === 'localhost') {
    const target = redirectTarget({ port: options.port, redirectUri: 'http://localhost/callback' });
    // With the port that is registered, or not at all.
    return target.kind === 'loopback' ? { ...target, port: target.port ?? usualPort } : target;
  }
  throw new SidekeyError('input_invalid', `${title} takes only redirect URIs that begin with https.`, {
    hint: `register a page of yours, such as ${httpsExample}, and bring the answer here yourself: sidekey connect ${name} --redirect-uri ${httpsExample} --paste`,
  });
}

/** Nothing has to be there: what counts is the address that the browser shows. */
const httpsExample = 'https://example.com/callback';

/** What to register where no client is yet. */
export function redirectUriToRegister(
  options: { readonly port?: string | undefined; readonly redirectUri?: string | undefined },
  provider: Pick<Provider, 'name' | 'title' | 'redirect' | 'redirectUri'>,
): string {
  const isOpen = (options.redirectUri ?? provider.redirectUri) == null && provider.redirect === 'https';
  return isOpen ? httpsExample : writtenRedirectUri(redirectOf(options, provider));
}

/** The redirect URI where nobody listens: what is registered, and what a printed consent URL names. */
export function writtenRedirectUri(target: RedirectTarget): string {
  if (target.kind === 'elsewhere') return target.redirectUri;
  return loopbackUri(target, target.port === null || target.port === 0 ? usualPort : target.port);
}

/** The redirect URI of a loopback target on a port. */
export function loopbackUri(
  { host, path }: Extract<RedirectTarget, { readonly kind: 'loopback' }>,
  port: number,
): string {
  return `http://${host}:${port}${path}`;
}

function portNumber(text: string): number {
  const port = Number(text);
  if (/^[0-9]{1,5}$/.test(text) && port <= 65_535) return port;
  throw new SidekeyError('input_invalid', '--port is no port.', {
    hint: 'a number from 1 to 65535, or 0 for any that is free',
  });
}

function invalid(problem: string): SidekeyError {
  return new SidekeyError('input_invalid', `--redirect-uri ${problem}.`, {
    hint: 'write it as it is registered at the provider, such as http://localhost:8080/callback',
  });
}
