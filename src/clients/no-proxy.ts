import { isIPv6 } from 'node:net';
import type { Domain } from '../policy/domain-map.ts';
import type { DomainPattern } from '../policy/pattern.ts';

/** This machine, in the three forms in which programs write it. */
const loopback = ['localhost', '127.0.0.1', '::1'] as const;

/**
 * Returns what is added to `NO_PROXY`: a person's own servers on localhost are not meant when programs are sent through a
 * proxy. One that the domain map has something to say of goes through it like any other host.
 *
 * The proxy itself is always called directly: Node.js from 24.5 on sends through the proxy what a library asks of the
 * proxy. It has its port with it, so that the other ports of its host are not meant; but an IPv6 address stands alone, for
 * httpx refuses every request where one has a port (decision 48).
 */
export function withoutProxy(
  domains: readonly Pick<Domain, 'pattern'>[],
  proxy: { readonly host: string; readonly port: number },
): readonly string[] {
  const free: readonly string[] = loopback.filter(
    (host) => !domains.some(({ pattern }) => concerns(pattern.host, host)),
  );
  if (free.includes(proxy.host)) return free;
  return [...free, isIPv6(proxy.host) ? proxy.host : `${proxy.host}:${proxy.port}`];
}

// An entry stands for the names below it too, so `app.localhost` in the map is one of localhost.
function concerns(host: string, entry: string): boolean {
  return host === entry || host === `[${entry}]` || host.endsWith(`.${entry}`);
}

/** The entries of `NO_PROXY` and `no_proxy`, in their order, each once. */
export function noProxyEntries(parent: NodeJS.ProcessEnv): readonly string[] {
  return entriesOf([parent['NO_PROXY'], parent['no_proxy']]);
}

/** The parent's entries first, as they are, and then those that are added. */
export function mergedNoProxy(parent: NodeJS.ProcessEnv, added: readonly string[]): readonly string[] {
  return entriesOf([...noProxyEntries(parent), ...added]);
}

function entriesOf(texts: readonly (string | undefined)[]): readonly string[] {
  // Spaces part entries as well, to curl and Go.
  return [...new Set(texts.flatMap((text) => (text ?? '').split(/[\s,]+/)).filter((entry) => entry !== ''))];
}

/**
 * Reports whether some program takes an entry to mean a host: whole, or as the end of it. The readings differ (curl and Go
 * take `x.y` for `a.x.y` too, others want `.x.y`), so this is the widest.
 *
 * @param port null: the default port of http or https
 */
export function bypasses(entry: string, { host, port }: Pick<DomainPattern, 'host' | 'port'>): boolean {
  if (entry === '*') return true;
  const { name, port: only } = isIPv6(entry) ? { name: entry, port: null } : splitEntry(entry);
  if (only !== null && (port === null ? only !== 443 && only !== 80 : only !== port)) return false;
  const bare = host.replace(/^\[|\]$/g, '');
  return name !== '' && (bare === name || bare.endsWith(`.${name}`));
}

function splitEntry(entry: string): { readonly name: string; readonly port: number | null } {
  const [, text = '', port] = /^(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
  const name = text.replace(/^\*?\./, '').replace(/^\[|\]$/g, '');
  return { name, port: port === undefined ? null : Number(port) };
}
