import { isIPv6 } from 'node:net';
import type { Domain } from '../policy/domain-map.ts';
import { bypasses, noProxyEntries } from './no-proxy.ts';

/** What the notes are about. */
export interface ParentFacts {
  readonly parent: NodeJS.ProcessEnv;
  /** Where Sidekey is reached. */
  readonly proxy: { readonly host: string; readonly port: number };
  readonly domains: readonly Pick<Domain, 'pattern' | 'action'>[];
  /** Whether `upstream.proxy` is set. */
  readonly chained: boolean;
}

/** What a person should know of an environment that sends programs elsewhere. Sentences. */
export function parentNotes({ parent, proxy, domains, chained }: ParentFacts): readonly string[] {
  return [...companyProxy(parent, proxy, chained), ...pastSidekey(parent, proxy, domains)];
}

/** A company's proxy: ours takes its place, and has to be told of it. */
function companyProxy(parent: NodeJS.ProcessEnv, ours: ParentFacts['proxy'], chained: boolean): string[] {
  if (chained) return [];
  const names = ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy'];
  const name = names.find((one) => parent[one] !== undefined && parent[one] !== '');
  if (name === undefined) return [];
  const text = parent[name] ?? '';
  const url = URL.parse(text.includes('://') ? text : `http://${text}`);
  // What is no URL is not repeated: it may hold a password all the same.
  const host = url === null ? 'a proxy' : url.host;
  if (url !== null && isOurs(url, ours)) return [];
  return [
    `${name} names ${host}; programs go to Sidekey now, and Sidekey goes out through it only if upstream.proxy in the config says so.`,
  ];
}

function isOurs(url: URL, { host, port }: ParentFacts['proxy']): boolean {
  return url.hostname.replace(/^\[|\]$/g, '') === host && Number(url.port || 80) === port;
}

/** Hosts of the map that `NO_PROXY` sends past Sidekey: their requests carry no credential. */
function pastSidekey(
  parent: NodeJS.ProcessEnv,
  { host }: ParentFacts['proxy'],
  domains: ParentFacts['domains'],
): string[] {
  // Where the proxy has an IPv6 address, `withoutProxy` names all of its ports.
  const entries = [...noProxyEntries(parent), ...(isIPv6(host) ? [host] : [])];
  const past = domains.filter(
    ({ pattern, action }) => action.kind === 'grant' && entries.some((entry) => bypasses(entry, pattern)),
  );
  return past.length === 0
    ? []
    : [
        `NO_PROXY sends programs past Sidekey to ${past.map(({ pattern }) => pattern.text).join(', ')}: they get no credential there.`,
      ];
}
