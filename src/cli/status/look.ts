import type { Config } from '../../config/config.ts';
import { displayName } from '../../config/problem.ts';
import type { Salvaged } from '../../config/salvage.ts';
import type { SidekeyError } from '../../errors.ts';
import { openView, type View } from '../../view.ts';
import { readRunning, runFileOf } from '../../workers/run-file.ts';
import { openExistingCa } from '../ca/open.ts';
import { proxyUrl } from '../proxy-url.ts';
import { isoTime, relativeTime } from '../time.ts';
import { attempt, broken, finding, type Finding } from './finding.ts';
import { askHealth } from './health.ts';
import { lookAtAudit } from './look-at-audit.ts';
import { lookAtDomains, lookAtGrants } from './look-at-grants.ts';

const soonMs = 30 * 86_400_000;

/** Looks at everything a running proxy stands on, each for itself: one that is broken hides none of the others. */
export async function look(config: Config, now: () => number): Promise<readonly Finding[]> {
  const file = displayName(config.file, process.cwd());
  return withoutRepeats([
    finding('config', `${file}, valid`, { file: config.file }),
    await lookAtProxy(config),
    ...(await lookInside(config, now)),
    await lookAtAudit(config, now()),
  ]);
}

/**
 * The same for a config that is not valid now: whatever hangs on none of its bad parts. What runs goes on with the config
 * that it had.
 */
export async function lookAtBroken(
  error: SidekeyError,
  { config, lost }: Salvaged,
  now: () => number,
): Promise<readonly Finding[]> {
  const proxy = lost.has('proxy') ? null : await lookAtProxy(config);
  const serves = proxy?.facts['health'] === 'serving';
  const found = broken('config', error);
  const inForce = serves
    ? 'the proxy that runs keeps the config that it had'
    : 'a proxy that runs keeps the config that it had, and none can be started';
  const rest = [
    ...(proxy === null ? [] : [proxy]),
    ...(lost.has('store') ? [] : await lookInside(config, now, lost)),
    ...(lost.has('audit') ? [] : [await lookAtAudit(config, now())]),
  ];
  return withoutRepeats([
    {
      ...found,
      text: `${fromHere(config.file)}, not valid: ${inForce}`,
      facts: { ...found.facts, file: config.file, not_known: [...lost].toSorted() },
    },
    ...rest,
  ]);
}

/** @param lost keys of the config whose part is not good: what hangs on one of them is left out */
async function lookInside(
  config: Config,
  now: () => number,
  lost: ReadonlySet<string> = new Set(),
): Promise<readonly Finding[]> {
  let view: View;
  try {
    view = await openView(config, { now });
  } catch (error) {
    return [broken('store', error)];
  }
  const looks = [
    { name: 'store', on: [], looking: () => lookAtStore(view) },
    { name: 'key', on: ['key'], looking: () => lookAtKey(view) },
    { name: 'CA', on: ['key', 'ca'], looking: () => lookAtCa(view, now) },
    { name: 'domains', on: ['key', 'domains', 'policies'], looking: () => lookAtDomains(view) },
    { name: 'grants', on: ['key'], looking: () => lookAtGrants(view, now()) },
  ] as const;
  try {
    const findings: Finding[] = [];
    for (const { name, on, looking } of looks) {
      if (!on.some((key) => lost.has(key))) findings.push(await attempt(name, looking));
    }
    return findings;
  } finally {
    await view.close();
  }
}

/** A key that does not open stops several things; it is one thing to be done. */
function withoutRepeats(findings: readonly Finding[]): readonly Finding[] {
  const told = new Set<string>();
  return findings.map((each) => {
    const needs = each.needs.filter(({ sentence }) => !told.has(sentence));
    for (const { sentence } of needs) told.add(sentence);
    return { ...each, needs };
  });
}

async function lookAtProxy({ proxy: { listen, agents }, store }: Config): Promise<Finding> {
  const health = await askHealth(listen);
  const url = proxyUrl(listen);
  const facts = { listen, agents, health: health.kind };
  switch (health.kind) {
    case 'serving': {
      const running = readRunning(runFileOf(store.path, listen.port));
      if (running === null) return finding('proxy', `serving at ${url}`, facts);
      const { pid, workers } = running;
      const text = `serving at ${url}, pid ${pid} with ${count(workers.length, 'worker')}`;
      return finding('proxy', text, { ...facts, pid, workers });
    }
    case 'unknown':
      return finding('proxy', 'not known: proxy.listen has port 0, so any that is free is taken', facts);
    case 'silent':
      return finding('proxy', `not running at ${url} (${health.why})`, facts, [
        { sentence: `No proxy answers at ${url}.`, hint: 'sidekey start' },
      ]);
    case 'stranger':
      return finding('proxy', `something else answers at ${url}`, facts, [
        {
          sentence: `What answers at ${url} is not Sidekey.`,
          hint: 'stop it, or set proxy.listen in the config file to another port',
        },
      ]);
  }
}

async function lookAtStore({ store, config, grants }: View): Promise<Finding> {
  if (store === null) {
    return finding('store', `${fromHere(config.store.path)}, not made yet`, {
      path: config.store.path,
      exists: false,
    });
  }
  const [all, agents] = [await grants(), await store.agents.list()];
  return finding(
    'store',
    `${fromHere(store.location)}, ${count(all.length, 'grant')}, ${count(agents.length, 'agent')}`,
    {
      path: store.location,
      exists: true,
      grants: all.length,
      agents: agents.length,
    },
  );
}

async function lookAtKey({ vault, config: { key } }: View): Promise<Finding> {
  const from = key.source === 'file' ? fromHere(key.path) : `env:${key.name}`;
  const opened = await vault();
  if (opened === null) return finding('key', `${from}, not made yet`, { source: key.source, key_id: null });
  return finding('key', `${opened.keyId} (${from})`, { source: key.source, key_id: opened.keyId });
}

async function lookAtCa(view: View, now: () => number): Promise<Finding> {
  const authority = await openExistingCa(view, now);
  const { directory } = view.config.ca;
  if (authority === null) {
    return finding('CA', `${fromHere(directory)}, not made yet`, { directory, exists: false });
  }
  const { name, certificateFile, fingerprint, notAfter } = authority;
  const facts = {
    directory,
    exists: true,
    name,
    fingerprint_sha256: fingerprint,
    not_after: isoTime(notAfter),
  };
  const ends = relativeTime(notAfter, now());
  const text = `${fromHere(certificateFile)}, ${name}, ends ${ends}`;
  if (notAfter - now() > soonMs) return finding('CA', text, facts);
  return finding('CA', text, facts, [
    {
      sentence: `The CA ends ${ends}.`,
      hint: `move the files in ${directory} away: the next start makes a new CA, which clients have to trust`,
    },
  ]);
}

function fromHere(path: string): string {
  return displayName(path, process.cwd());
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
