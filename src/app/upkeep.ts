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
  let isBusy = false;
  const finish = async () => {
    if (isBusy) return;
    isBusy = true;
    try {
      // Loaded on use: a start needs no revocation.
      const { finishEndedLeases } = await import('../operations/lease-end.ts');
      await finishEndedLeases({ ...state, config: config(), now, withFetch: (use) => use(fetch()) });
    } catch (error) {
      log.warn({ err: error }, 'the grants and tokens of ended leases were not removed');
    } finally {
      isBusy = false;
    }
  };
  // Leases may have ended while nothing ran.
  const timers = [setTimeout(() => void finish(), 1_000), setInterval(() => void finish(), leaseUpkeepMs)];
  for (const timer of timers) timer.unref();
  opened.defer(() => timers.forEach((timer) => clearTimeout(timer)));
  return upkeep;
}
