import type { Domain } from '../policy/domain-map.ts';

/** This machine, in the three forms in which programs write it. */
const loopback = ['localhost', '127.0.0.1', '::1'] as const;

/**
 * What is added to `NO_PROXY`: a person's own servers on localhost are not meant when programs are sent through a
 * proxy. One that the domain map has something to say of goes through it like any other host.
 */
export function loopbackWithoutProxy(domains: readonly Pick<Domain, 'pattern'>[]): readonly string[] {
  return loopback.filter((host) => !domains.some(({ pattern }) => concerns(pattern.host, host)));
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
 * Whether some program takes an entry to mean a host: whole, or as the end of it. The readings differ (curl and Go take
 * `x.y` for `a.x.y` too, others want `.x.y`), so this is the widest.
 */
export function bypasses(entry: string, host: string): boolean {
  if (entry === '*') return true;
  const name = entry
    .toLowerCase()
    .replace(/:\d+$/, '')
    .replace(/^\*?\./, '');
  return name !== '' && (host === name || host.endsWith(`.${name}`));
}
