import { systemTimers } from '../lib/timers.ts';
import { startAuditUpkeep } from './audit-upkeep.ts';
import type { ConfigInForce } from './config-in-force.ts';
import type { State } from './state.ts';

type UpkeepParts = Parameters<typeof startAuditUpkeep>[0];

/** Milliseconds between looks for leases that have ended. Nobody can use their credentials meanwhile. */
const leaseUpkeepMs = 60_000;

/** Starts the upkeep of the audit log and of ended leases, which one process does for all workers. */
export function startUpkeep(
  state: State,
  { config, upstream, fetch }: ConfigInForce,
  parts: Pick<UpkeepParts, 'log' | 'now' | 'env' | 'stdout'>,
  opened: AsyncDisposableStack,
): ReturnType<typeof startAuditUpkeep> {
  const { vault, audit } = state;
  const { log, now, env, stdout } = parts;
  const { audit: settings, file: configFile } = config();
  const shared = { log, now, env, stdout, timers: systemTimers };
  const upkeep = opened.adopt(
    startAuditUpkeep({ ...shared, config: settings, configFile, vault, audit, upstream }),
    (it) => it.close(),
  );
  const stop = new AbortController();
  let underWay: Promise<void> | undefined;
  const finish = async () => {
    try {
      // Loaded on use: a start needs no revocation.
      const { finishEndedLeases } = await import('../operations/lease-end.ts');
      const { removeEndedMinted } = await import('../operations/minted-end.ts');
      const { signal } = stop;
      try {
        await finishEndedLeases(
          { ...state, config: config(), now, withFetch: (use) => use(fetch()) },
          { signal },
        );
      } finally {
        await removeEndedMinted(state, now());
      }
    } catch (error) {
      log.warn(
        { err: error },
        'the grants and tokens of ended leases, or ended minted grants, were not removed',
      );
    } finally {
      underWay = undefined;
    }
  };
  const look = () => void (underWay ??= finish());
  // Leases may have ended while nothing ran.
  const timers = [setTimeout(look, 1_000), setInterval(look, leaseUpkeepMs)];
  for (const timer of timers) timer.unref();
  // A revocation under way is recorded before the log and the store close.
  opened.defer(() => {
    for (const timer of timers) clearTimeout(timer);
    stop.abort();
    return underWay;
  });
  return upkeep;
}
