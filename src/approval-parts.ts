import { dirname } from 'node:path';
import type { AdminServer } from './admin/server.ts';
import { newApprovalId } from './approvals/approval-id.ts';
import { createApprovalDesk, type ApprovalDesk } from './approvals/desk.ts';
import { createApprovalLinks } from './approvals/link.ts';
import { createApprovalTeller } from './approvals/webhook.ts';
import type { Config } from './config/config.ts';
import { readSecret } from './config/secret-reference.ts';
import { systemTimers } from './grants/timers.ts';
import type { Log } from './log.ts';
import type { State } from './state.ts';

/** What asking people is made of. */
export interface AskingParts {
  /** What is in force at that moment. */
  readonly config: () => Config;
  /** The guarded way out at that moment. */
  readonly fetch: () => typeof fetch;
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Where `env:` references look. */
  readonly env: NodeJS.ProcessEnv;
  /** Where the pages are that another process serves; left out: they are served here. */
  readonly pages?: Pick<Asking, 'url' | 'port'> | undefined;
}

/** People can be asked, and can answer. */
export interface Asking {
  readonly desk: ApprovalDesk;
  /** What links begin with; null: nothing listens for them. */
  readonly url: string | null;
  /** Where the pages listen; null: nowhere. */
  readonly port: number | null;
  /** Refuses what waits. Idempotent. */
  close(): Promise<void>;
}

/**
 * The desk where requests wait, the webhook that tells of them, and the pages where people answer.
 *
 * @throws SidekeyError `port_in_use`, `listen_failed`
 */
export async function openAsking(
  { store, vault, audit }: Pick<State, 'store' | 'vault' | 'audit'>,
  { config, fetch, log, now, env, pages: elsewhere }: AskingParts,
): Promise<Asking> {
  const links = createApprovalLinks(vault);
  const { admin } = config();
  let url = elsewhere?.url ?? null;
  let listensOn = elsewhere?.port ?? null;
  const teller = createApprovalTeller({
    webhook: () => config().approvals.webhook,
    readSecret: (reference) =>
      readSecret(reference, { env, cwd: dirname(config().file), where: 'approvals.webhook.secret' }),
    fetch,
    link: (question) => url && url + links.pathFor(question),
    now,
    timers: systemTimers,
    log,
    random: Math.random,
  });
  const desk = createApprovalDesk({
    store,
    audit,
    now,
    timers: systemTimers,
    newId: () => newApprovalId(),
    settings: () => config().approvals,
    announce: teller.announce,
  });
  let pages: AdminServer | null = null;
  if (admin.listen !== null && elsewhere === undefined) {
    // Loads all of Node's HTTP: a start without pages is sooner without it.
    const { createAdminServer } = await import('./admin/server.ts');
    pages = createAdminServer({ desk, links, now, log, timers: systemTimers });
    const { host, port } = await pages.listen(admin.listen.host, admin.listen.port);
    listensOn = port;
    url = admin.url ?? `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
  }
  return {
    desk,
    url,
    port: listensOn,
    async close() {
      await Promise.all([pages?.close(), desk.close(), teller.close()]);
    },
  };
}
