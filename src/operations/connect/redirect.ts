import type { Provider } from '../../domain/provider.ts';
import { inputInvalid, type SidekeyError } from '../../lib/errors.ts';
import { isLoopback } from '../../proxy/policy/authority.ts';

/** Preferred port. Stable, because some providers compare redirect URIs exactly (unlike RFC 8252 §7.3). */
export const defaultPort = 8765;

const path = '/callback';

/** Redirect target for the browser. */
export type RedirectTarget =
  /** RFC 8252 §7.3: a listener of our own. */
  | {
      readonly kind: 'loopback';
      /** `127.0.0.1`, `[::1]` or `localhost`, as in the URI. */
      readonly host: string;
      /** Port; null: the default port, or any free port if that is taken; 0: any free port. */
      readonly port: number | null;
      readonly path: string;
    }
  /** Another machine: the user copies the response to this process. */
  | { readonly kind: 'elsewhere'; readonly redirectUri: string };

interface RedirectOptions {
  readonly port?: string | undefined;
  readonly redirectUri?: string | undefined;
}

/** Redirect URIs that a provider accepts. */
export type RedirectSettings = Pick<Provider, 'name' | 'title' | 'redirectUriType' | 'redirectUri'>;

/**
 * Parses `--port` and `--redirect-uri`. A loopback URI without a port allows any port.
 *
 * @throws SidekeyError `input_invalid`
 */
export function redirectTarget({ port, redirectUri }: RedirectOptions): RedirectTarget {
  const wanted = port === undefined ? null : portNumber(port);
  if (redirectUri === undefined) return { kind: 'loopback', host: '127.0.0.1', port: wanted, path };
  const url = /^[\x21-\x7e]+$/.test(redirectUri) ? URL.parse(redirectUri) : null;
  if (url === null || redirectUri.includes('#') || url.username !== '' || url.password !== '') {
    throw invalid('is not a URI that a browser can be redirected to');
  }
  if (url.protocol === 'http:') {
    if (!isLoopback(url.hostname)) {
      throw invalid('would bring the code back over plain http, where others can read it');
    }
    if (url.search !== '') throw invalid('has a query');
    // URL omits the scheme's default port, which the text may contain.
    const written = /^http:\/\/[^/]*?:([0-9]+)(?:\/|$)/i.exec(redirectUri.replace('[::1]', 'ipv6'))?.[1];
    const own = written === undefined ? null : portNumber(written);
    if (own !== null && wanted !== null && own !== wanted) {
      throw inputInvalid('--port and --redirect-uri name two ports.', 'leave --port out');
    }
    return { kind: 'loopback', host: url.hostname, port: own ?? wanted, path: url.pathname };
  }
  if (wanted !== null) {
    throw inputInvalid('--port is for redirect URIs of this machine.', 'leave --port out');
  }
  // RFC 8252 §7.1: a private-use scheme is a reversed domain name. Older drafts of OAuth define the URN.
  const isPrivateScheme = /^[a-z][a-z0-9+-]*\.[a-z0-9+.-]+:$/.test(url.protocol);
  if (url.protocol === 'https:' || isPrivateScheme || redirectUri === 'urn:ietf:wg:oauth:2.0:oob') {
    return { kind: 'elsewhere', redirectUri };
  }
  throw invalid('has a scheme that no provider sends a browser to');
}

/**
 * Chooses the redirect target: from the options, then from the registered client, then from the provider.
 *
 * @throws SidekeyError `input_invalid`; also if the provider accepts no loopback URI and none is given
 */
export function redirectOf(
  { port, redirectUri }: RedirectOptions,
  provider: RedirectSettings,
): RedirectTarget {
  const { name, title, redirectUriType } = provider;
  const uri = redirectUri ?? provider.redirectUri ?? undefined;
  if (uri !== undefined || redirectUriType === 'loopback') return redirectTarget({ port, redirectUri: uri });
  if (redirectUriType === 'localhost') {
    const target = redirectTarget({ port, redirectUri: 'http://localhost/callback' });
    // A registered port must match exactly.
    return target.kind === 'loopback' ? { ...target, port: target.port ?? defaultPort } : target;
  }
  throw inputInvalid(
    `${title} accepts only redirect URIs that begin with https.`,
    `register a page of yours, such as ${httpsExample}, and bring the answer here yourself: sidekey connect ${name} --redirect-uri ${httpsExample} --paste`,
  );
}

/** Example of a registered page. It need not exist: the user copies the address from the browser. */
const httpsExample = 'https://example.com/callback';

/** Returns the redirect URI to register for a new client. */
export function redirectUriToRegister(options: RedirectOptions, provider: RedirectSettings): string {
  const isOpen =
    (options.redirectUri ?? provider.redirectUri) == null && provider.redirectUriType === 'https';
  return isOpen ? httpsExample : writtenRedirectUri(redirectOf(options, provider));
}

/** Returns the redirect URI without a listener, for registration and in a printed consent URL. */
export function writtenRedirectUri(target: RedirectTarget): string {
  if (target.kind === 'elsewhere') return target.redirectUri;
  return loopbackUri(target, target.port === null || target.port === 0 ? defaultPort : target.port);
}

export function loopbackUri(
  { host, path }: Extract<RedirectTarget, { readonly kind: 'loopback' }>,
  port: number,
): string {
  return `http://${host}:${port}${path}`;
}

function portNumber(text: string): number {
  const port = Number(text);
  if (/^[0-9]{1,5}$/.test(text) && port <= 65_535) return port;
  throw inputInvalid('--port is not a port.', 'a number from 1 to 65535, or 0 for any that is free');
}

function invalid(problem: string): SidekeyError {
  return inputInvalid(
    `--redirect-uri ${problem}.`,
    'write it as it is registered at the provider, such as http://localhost:8080/callback',
  );
}
