import { isInstalled } from './process.ts';
import type { Ground, Subject } from './subject.ts';
import { mitmproxy } from './subjects/mitmproxy.ts';
import { mitmdump, peer } from './subjects/peers.ts';
import { relay } from './subjects/relay.ts';
import { sidekey, sidekeyTunnel, sidekeyWorkers } from './subjects/sidekey.ts';
import { squidBump, squidTunnel } from './subjects/squid.ts';
import { tinyproxy } from './subjects/tinyproxy.ts';

/** Allowed values of `--only`. */
export const subjectIds = [
  'direct',
  'tunnel',
  'tinyproxy',
  'bump',
  'goproxy',
  'hudsucker',
  'proxy.py',
  'mitmproxy',
  'sandbox-runtime',
  'mockttp',
  'http-mitm-proxy',
  'http-proxy-3',
  'relay',
  'sidekey',
  'sidekey-workers',
  'sidekey-tunnel',
] as const;

export type SubjectId = (typeof subjectIds)[number];

/**
 * The subjects whose programs are there, in the order of their columns, and what is missing and how to have
 * it.
 */
export function chooseSubjects(
  ground: Ground,
  only: readonly string[] | null,
): { readonly subjects: readonly Subject[]; readonly missing: readonly string[] } {
  const makers: Readonly<Record<SubjectId, () => Subject | string>> = {
    direct: () => direct,
    tunnel: () => installed('squid', 'apt-get install squid-openssl', () => squidTunnel(ground)),
    tinyproxy: () => installed('tinyproxy', 'apt-get install tinyproxy', () => tinyproxy(ground)),
    bump: () => installed('squid', 'apt-get install squid-openssl', () => squidBump(ground)),
    mitmproxy: () => installed(mitmdump(), 'apt-get install mitmproxy', () => mitmproxy(ground)),
    goproxy: () => peer('goproxy', ground),
    hudsucker: () => peer('hudsucker', ground),
    'proxy.py': () => peer('proxy.py', ground),
    'sandbox-runtime': () => peer('sandbox-runtime', ground),
    mockttp: () => peer('mockttp', ground),
    'http-mitm-proxy': () => peer('http-mitm-proxy', ground),
    'http-proxy-3': () => peer('http-proxy-3', ground),
    relay: () => relay(ground),
    sidekey: () => sidekey(ground),
    'sidekey-workers': () => sidekeyWorkers(ground),
    'sidekey-tunnel': () => sidekeyTunnel(ground),
  };
  // One blind tunnel is enough to compare with.
  const usual = subjectIds.filter((id) => id !== 'tinyproxy' || !isInstalled('squid'));
  const made = subjectIds
    .filter((id) => (only ?? usual).includes(id))
    .map((id) => ({ id, maker: makers[id]() }));
  return {
    subjects: made.flatMap(({ maker }) => (typeof maker === 'string' ? [] : [maker])),
    missing: made.flatMap(({ id, maker }) => (typeof maker === 'string' ? [`${id}: ${maker}`] : [])),
  };
}

export const direct: Subject = {
  id: 'direct',
  title: 'no proxy',
  what: 'the client straight at the upstream: the ceiling of the client, and what "added" is added to',
  adds: false,
  coldReason: null,
  filesPerTunnel: 0,
  prepare: null,
};

function installed(program: string, command: string, make: () => Subject): Subject | string {
  return isInstalled(program) ? make() : `${program} is not installed (${command})`;
}
