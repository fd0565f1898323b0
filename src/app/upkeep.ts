import { removeGrantsOfEndedLeases } from '../grants/lease-grants.ts';
import { systemTimers } from '../lib/timers.ts';
import { startAuditUpkeep } from './audit-upkeep.ts';
import type { ConfigInForce } from './config-in-force.ts';
import type { State } from './state.ts';

type UpkeepParts = Parameters<typeof startAuditUpkeep>[0];

/** Milliseconds between deletions of the credentials of ended leases. Nobody can use them meanwhile. */
const leaseUpkeepMs = 60_000;

/** Starts the upkeep of the audit log and of ended leases, which one process does for all workers. */
export function startUpkeep(
  state: State,
  { config, upstream }: ConfigInForce,
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
  const ending = setInterval(() => {
    removeGrantsOfEndedLeases(state, now()).catch((error: unknown) =>
      log.warn({ err: error }, 'the grants of ended leases were not removed'),
    );
  }, leaseUpkeepMs).unref();
  opened.defer(() => clearInterval(ending));
  return upkeep;
}
