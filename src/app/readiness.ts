import { access, constants } from 'node:fs/promises';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import type { Log } from '../lib/log.ts';
import { type Timers, within } from '../lib/timers.ts';
import { keyNames, verifyKeyCheck } from '../store/vault/ring.ts';
import type { State } from './state.ts';

/** Milliseconds for which an answer is cached: anybody who reaches the proxy may request it. */
const rememberedMs = 1_000;
/** Milliseconds that the store has to respond. */
const storeTimeoutMs = 2_000;

interface ReadinessParts extends Pick<State, 'store' | 'vault' | 'audit'> {
  /** Reports whether new connections are accepted. */
  readonly accepts: () => boolean;
  readonly now: () => number;
  readonly timers: Timers;
  readonly log: Pick<Log, 'warn'>;
}

/**
 * Returns the check of `GET /readyz`: it returns a refusal, or null if requests can be served. The refusal
 * has only the codes of failures, because anybody may call it. The log has the places. The config in force is
 * always valid, so it is never a reason (decision 89).
 */
export function createReadiness(parts: ReadinessParts): () => Promise<SidekeyError | null> {
  const { accepts, now, timers, store, log } = parts;
  let last: { readonly at: number; readonly codes: Promise<string> } | undefined;
  let logged = '';

  /** Never rejects. */
  async function check(): Promise<string> {
    const found = await within(timers, faultsOf(parts), storeTimeoutMs);
    const faults =
      found === 'late'
        ? [
            new SidekeyError('store_unavailable', `The store ${store.location} does not answer.`, {
              hint: hintOf`check that its database or its disk answers: ${remedy('health.status')}`,
            }),
          ]
        : found;
    const codes = faults.map(({ code }) => code).join(', ');
    if (codes !== logged) for (const fault of faults) log.warn({ err: fault }, 'requests cannot be served');
    logged = codes;
    return codes;
  }

  return async () => {
    if (!accepts()) return notReady('it accepts no connections, because it starts or stops');
    if (last === undefined || Math.abs(now() - last.at) >= rememberedMs) last = { at: now(), codes: check() };
    const codes = await last.codes;
    return codes === '' ? null : notReady(codes);
  };
}

function notReady(reason: string): SidekeyError {
  return new SidekeyError('not_ready', `The proxy cannot serve requests now: ${reason}.`);
}

/** Never rejects. */
async function faultsOf({ store, vault, audit }: ReadinessParts): Promise<readonly SidekeyError[]> {
  const checks = [
    async () => {
      const proof = await store.meta.get(keyNames.check);
      // A rotation writes another proof with the new key.
      await vault.refresh();
      if (proof !== null) return verifyKeyCheck(vault, proof, store.location);
      throw new SidekeyError('store_unavailable', `The store ${store.location} is empty: it was replaced.`, {
        hint: 'put the earlier store back, or restart Sidekey to begin with the empty one',
      });
    },
    async () => {
      const failure = audit.failure();
      if (failure !== null) throw failure;
      await access(audit.file, constants.W_OK);
    },
  ];
  const results = await Promise.allSettled(checks.map((check) => check()));
  return results.flatMap((each) => (each.status === 'fulfilled' ? [] : [faultOf(each.reason, audit.file)]));
}

function faultOf(cause: unknown, file: string): SidekeyError {
  if (cause instanceof SidekeyError) return cause;
  return new SidekeyError('audit_unavailable', `The audit log ${file} cannot be written.`, { cause });
}
