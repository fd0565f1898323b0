import { existsSync, statSync } from 'node:fs';
import { openExistingCa } from '../ca/existing-authority.ts';
import { displayName } from '../config/problem.ts';
import { storeName } from '../config/store-place.ts';
import { isRotating } from '../store/vault/ring.ts';
import { attempt, type Finding, finding, type GrantCounts, type HealthView } from './finding.ts';
import { counted, dateTime, isoTime, relativeTime, waitingText } from './format.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import type { ProxyProbe } from './proxy-probe.ts';

/** @param counts undefined: there is no store */
export async function lookAtStore(
  { store, config }: HealthView,
  counts: GrantCounts | undefined,
): Promise<Finding> {
  if (store === null || counts === undefined) {
    const path = storeName(config.store);
    const facts = { path, exists: false };
    // Without a store, the log has no line.
    if ((statSync(config.audit.file, { throwIfNoEntry: false })?.size ?? 0) === 0)
      return finding('store', `${displayName(path)}, not created yet`, facts);
    return finding('store', `${displayName(path)}, missing`, facts, [
      {
        sentence: `The store ${displayName(path)} is missing, but its audit log exists. Its grants are lost.`,
        hint: hintOf`restore the store from a backup, or connect again: ${remedy('connect', { provider: null })} (this begins a new store)`,
      },
    ]);
  }
  const grants = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const agents = await store.agents.count();
  return finding(
    'store',
    `${displayName(store.location)}, ${counted(grants, 'grant')}, ${counted(agents, 'agent')}`,
    {
      path: store.location,
      exists: true,
      grants,
      agents,
    },
  );
}

/** Returns no finding without requests that wait for a person. */
export async function lookAtApprovals({ store }: HealthView, now: number): Promise<readonly Finding[]> {
  if (store === null) return [];
  const looked = await attempt('approvals', async () => {
    const waiting = await store.approvals.countWaiting(now);
    const text = `${counted(waiting, 'request')} ${waiting === 1 ? 'waits' : 'wait'} for a person`;
    const needs = waiting === 0 ? [] : [{ sentence: `${text}.`, hint: remedy('approval.list') }];
    return finding('approvals', text, { waiting }, needs);
  });
  return looked.ok ? [] : [looked];
}

/** Returns no finding without pending proposals: they are no problem. */
export async function lookAtProposals({ store }: HealthView, now: number): Promise<readonly Finding[]> {
  if (store === null) return [];
  const looked = await attempt('proposals', async () => {
    const waiting = await store.proposals.countWaiting(now);
    return finding('proposals', waitingText(waiting) ?? '', { waiting });
  });
  return looked.text === '' ? [] : [looked];
}

export async function lookAtKey({ vault, config: { key } }: HealthView): Promise<Finding> {
  const path = 'path' in key ? key.path : null;
  const from = path !== null ? displayName(path) : key.source === 'env' ? `env:${key.name}` : key.source;
  const opened = await vault();
  if (opened === null) {
    const isThere = path !== null && existsSync(path);
    const text = isThere ? `${from}, exists, but no store uses it` : `${from}, not created yet`;
    return finding('key', text, { source: key.source, key_id: null });
  }
  const { keyId, generations } = opened;
  const facts = { source: key.source, key_id: keyId };
  if (!isRotating(generations)) return finding('key', `${keyId} (${from})`, facts);
  return finding('key', `${keyId} (${from}), rotation not finished`, facts, [
    {
      sentence: `The rotation to the master key ${keyId} is not finished: ${generations[1]?.keyId} still opens the store.`,
      hint: remedy('key.rotate'),
    },
  ]);
}

const soonMs = 30 * 86_400_000;

export async function lookAtCa(view: HealthView, now: () => number, proxy: ProxyProbe): Promise<Finding> {
  const authority = await openExistingCa(view, now);
  const { directory } = view.config.ca;
  if (authority === null) {
    const facts = { directory, exists: false };
    if ((await proxy.health()).kind !== 'serving')
      return finding('CA', `${displayName(directory)}, not created yet`, facts);
    return finding('CA', `${displayName(directory)}, missing`, facts, [
      {
        sentence: `The files of the CA in ${displayName(directory)} are missing, and the proxy signs with a CA that programs cannot find.`,
        hint: 'restore them from a backup, or restart Sidekey: it makes a new CA, which clients have to trust',
      },
    ]);
  }
  const { name, certificateFile, fingerprint, notAfter } = authority;
  const facts = {
    directory,
    exists: true,
    name,
    fingerprint_sha256: fingerprint,
    not_after: isoTime(notAfter),
  };
  const text = `${displayName(certificateFile)}, ${name}, expires ${dateTime(notAfter).slice(0, 10)}`;
  if (notAfter - now() > soonMs) return finding('CA', text, facts);
  return finding('CA', text, facts, [
    {
      sentence: `The CA expires ${relativeTime(notAfter, now())}.`,
      hint: `move the files in ${directory} away: the next start makes a new CA, which clients have to trust`,
    },
  ]);
}
