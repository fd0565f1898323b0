import { access, constants } from 'node:fs/promises';
import { SidekeyError } from '../lib/errors.ts';
import { type Timers, within } from '../lib/timers.ts';
import { keyNames, verifyKeyCheck } from '../vault/ring.ts';
import type { State } from './state.ts';

/** Milliseconds for which an answer is given again: anybody who reaches the proxy may ask. */
const rememberedMs = 1_000;
/** Milliseconds that the store has to answer. */
const storeTimeoutMs = 2_000;

/** Parts of the readiness check. */
interface ReadinessParts extends Pick<State, 'store' | 'vault' | 'audit'> {
  /** Reports whether new connections are accepted. */
  readonly accepts: () => boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
}

/**
 * Returns the function that says why requests cannot be served now: the refusal of `GET /readyz`; null: they can. The config in
 * force is always valid, so it is no reason (decision 89).
 */
export function createReadiness(parts: ReadinessParts): () => Promise<SidekeyError | null> {
  const { accepts, now, timers, store } = parts;
  let last: { readonly at: number; readonly faults: Promise<readonly string[]> } | undefined;
  return async () => {
    if (!accepts()) return notReady(['The proxy accepts no connections: it starts, or it stops.']);
    if (last === undefined || Math.abs(now() - last.at) >= rememberedMs) {
      last = { at: now(), faults: faultsOf(parts) };
    }
    const faults = await within(timers, last.faults, storeTimeoutMs);
    if (faults === 'late') return notReady([`The store ${store.location} does not answer.`]);
    return faults.length === 0 ? null : notReady(faults);
  };
}

function notReady(faults: readonly string[]): SidekeyError {
  return new SidekeyError('not_ready', faults.join(' '));
}

/** Never rejects. */
async function faultsOf({ store, vault, audit }: ReadinessParts): Promise<readonly string[]> {
  const checks = [
    async () => {
      const proof = await store.meta.get(keyNames.check);
      // A rotation writes another proof with the new key.
      await vault.refresh();
      if (proof !== null) return verifyKeyCheck(vault, proof, store.location);
      throw new SidekeyError('store_unavailable', `The store ${store.location} is empty: it was replaced.`);
    },
    async () => {
      const failure = audit.failure();
      if (failure !== null) throw failure;
      await access(audit.file, constants.W_OK);
    },
  ];
  const results = await Promise.allSettled(checks.map((check) => check()));
  return results.flatMap((each) =>
    each.status === 'fulfilled' ? [] : [sentenceOf(each.reason, audit.file)],
  );
}

function sentenceOf(error: unknown, file: string): string {
  return error instanceof SidekeyError ? error.message : `The audit log ${file} cannot be written.`;
}
