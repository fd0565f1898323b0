import { dirname } from 'node:path';
import { newApprovalId } from '../domain/approval.ts';
import { type ApprovalQueue, createApprovalQueue } from '../agents/approvals/queue.ts';
import { knownFacts } from '../agents/approvals/card.ts';
import { createProposals, type Proposals } from '../agents/approvals/proposals.ts';
import { receiversOf } from '../agents/approvals/receivers.ts';
import { createApprovalLinks, createApprovalTeller } from '../agents/approvals/announce.ts';
import type { AdminServer, ServiceHandler } from '../api/server.ts';
import type { Config } from '../config/config.ts';
import { readSecret, type SecretReference } from '../config/secret-reference.ts';
import type { LoginExchange, LoginOutcome } from '../grants/keep-login.ts';
import type { Log } from '../lib/log.ts';
import { systemTimers } from '../lib/timers.ts';
import { proxyUrl } from '../operations/format.ts';
import { answerMs } from '../proxy/policy/limits.ts';
import type { MintKeeper } from '../proxy/mint-reply.ts';
import type { Redirection } from '../proxy/transparent.ts';
import type { Entry, openEntry } from '../proxy/entry.ts';
import type { Quota } from '../agents/quota/quota.ts';
import { machineFilesOf } from '../config/store-place.ts';
import { createSharedQuota, quotaFileOf } from '../agents/quota/shared-quota.ts';
import type { Tracer } from '../proxy/telemetry/traces.ts';
import type { State } from './state.ts';

interface ApprovalServiceParts {
  /** Config in force. */
  readonly config: () => Config;
  /** Guarded `fetch` in force. */
  readonly fetch: () => typeof fetch;
  readonly log: Log;
  readonly now: () => number;
  /** Environment of `env:` references. */
  readonly env: NodeJS.ProcessEnv;
  /** Address of pages that another process serves; absent: this process serves them. */
  readonly pages?: Pick<ApprovalService, 'url' | 'port'> | undefined;
  /** Receives the bodies that those pages show. */
  readonly showBody?: ApprovalQueue['showBody'] | undefined;
  /** Handles all other requests to the address of the pages. */
  readonly service?: ServiceHandler | undefined;
}

/** Prompts people for answers. */
interface ApprovalService {
  readonly queue: ApprovalQueue;
  /** Base URL of links; null: no listener. */
  readonly url: string | null;
  /** Port of the pages; null: no listener. */
  readonly port: number | null;
  /** Refuses pending approvals. Idempotent. */
  close(): Promise<void>;
}

/**
 * Opens the queue of pending requests, its webhook, and the pages on which people answer.
 *
 * @throws SidekeyError `port_in_use`, `listen_failed`
 */
export async function openApprovalService(
  { store, vault, grants, audit }: Pick<State, 'store' | 'vault' | 'grants' | 'audit'>,
  { config, fetch, log, now, env, pages: elsewhere, showBody, service }: ApprovalServiceParts,
): Promise<ApprovalService> {
  const links = createApprovalLinks(vault);
  const { admin } = config();
  let url = elsewhere?.url ?? null;
  let listensOn = elsewhere?.port ?? null;
  const teller = createApprovalTeller({
    receivers: () =>
      receiversOf(config().approvals, {
        readSecret: (reference) =>
          readSecret(reference, { env, cwd: dirname(config().file), where: 'approvals' }),
        fetch: fetch(),
        now,
        env,
      }),
    link: (question) => url && url + links.pathFor(question),
    now,
    timers: systemTimers,
    log,
    random: Math.random,
  });
  const queue = createApprovalQueue({
    store,
    audit,
    now,
    timers: systemTimers,
    newId: () => newApprovalId(),
    limits: () => config().approvals,
    announce: teller.announce,
    showBody,
  });
  let pages: AdminServer | null = null;
  if (admin.listen !== null && elsewhere === undefined) {
    // Loads Node's HTTP. A start without pages is faster without it.
    const { createAdminServer } = await import('../api/server.ts');
    pages = await createAdminServer({
      queue,
      links,
      known: (question) => knownFacts(question, { queue, grants, config: config() }),
      now,
      log,
      timers: systemTimers,
      service,
      tls: admin.tls ?? undefined,
      proxyUrl: () => proxyUrl(config().proxy.listen),
    });
    const { host, port } = await pages.listen(admin.listen.host, admin.listen.port);
    listensOn = port;
    const scheme = admin.tls === null ? 'http' : 'https';
    url = admin.url ?? `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
  }
  return {
    queue,
    url,
    port: listensOn,
    async close() {
      await Promise.all([pages?.close(), queue.close(), teller.close()]);
    },
  };
}

/** Opens the changes that agents propose. */
export function openProposals(
  { store, audit }: Pick<State, 'store' | 'audit'>,
  { config, now }: Pick<ApprovalServiceParts, 'config' | 'now'>,
): Proposals {
  return createProposals({
    store,
    audit,
    now,
    newId: () => newApprovalId(),
    limits: () => config().approvals,
    restrict: () => config().restrict,
  });
}

/** Opens the usage of limits: per machine for a store in a file, over all nodes for a database. */
export async function openQuota({ config, store }: Pick<State, 'config' | 'store'>): Promise<Quota> {
  const { location, changeCounts } = store;
  if (changeCounts === null) return createSharedQuota(quotaFileOf(machineFilesOf(config)));
  const { createNodesQuota } = await import('../agents/quota/nodes-quota.ts');
  return createNodesQuota(changeCounts, location);
}

/** Opens the entry of connections; null: they begin with a request. @throws SidekeyError as `openEntry` */
export async function openEntryOf(
  { proxy }: Config,
  parts: Parameters<typeof openEntry>[1],
): Promise<Entry | null> {
  if (proxy.tls === null && proxy.balancers.length === 0) return null;
  const { openEntry: open } = await import('../proxy/entry.ts');
  return open(proxy, parts);
}

/** Opens the reader of redirected connections; null: the config accepts none. */
export async function openRedirectionOf(
  { proxy: { transparent }, file }: Config,
  instance: string,
  env: NodeJS.ProcessEnv,
): Promise<Redirection | null> {
  if (transparent === null) return null;
  const { openRedirection } = await import('./redirection.ts');
  const { token } = transparent;
  const options = { env, cwd: dirname(file), where: 'proxy.transparent.token' };
  return openRedirection(instance, async () => token && readSecret(token, options));
}

/** Opens the tracer, which reads secrets of header fields for each batch. */
export async function openTracer(
  { headers, ...settings }: NonNullable<Config['telemetry']['traces']>,
  { file, env, ...parts }: Pick<ApprovalServiceParts, 'fetch' | 'log' | 'now' | 'env'> & Pick<Config, 'file'>,
): Promise<Tracer> {
  const { createTracer } = await import('../proxy/telemetry/traces.ts');
  const read = async ([name, reference]: [string, SecretReference]) =>
    [
      name,
      await readSecret(reference, { env, cwd: dirname(file), where: 'telemetry.traces.headers' }),
    ] as const;
  return createTracer({
    ...settings,
    ...parts,
    headers: async () => Object.fromEntries(await Promise.all(Object.entries(headers).map(read))),
    timers: systemTimers,
    random: Math.random,
  });
}

/** Returns the function that stores the logins of programs as grants. */
export function loginKeeper(
  state: State,
  { config, fetch, now }: Pick<ApprovalServiceParts, 'config' | 'fetch' | 'now'>,
): (exchange: LoginExchange) => Promise<LoginOutcome> {
  return async (exchange) => {
    // Loaded on use: a start needs no flow.
    const { keepLogin } = await import('../grants/keep-login.ts');
    const signal = AbortSignal.timeout(answerMs(config().limits));
    return keepLogin(exchange, state, { fetch: fetch(), now, signal });
  };
}

/** Returns the store of minted grants. Answers that are being written end before the state closes. */
export function mintKeeper(
  state: State,
  { config, fetch, now }: Pick<ApprovalServiceParts, 'config' | 'fetch' | 'now'>,
  opened: AsyncDisposableStack,
): MintKeeper {
  const answers = new Set<Promise<void>>();
  opened.defer(async () => void (await Promise.all(answers)));
  return {
    keep: async (request) => (await import('../grants/mint.ts')).mintGrant(request, { ...state, now }),
    async forget(grant) {
      const { discardMinted } = await import('../operations/minted-end.ts');
      await discardMinted({ ...state, config: config(), now, withFetch: (use) => use(fetch()) }, grant);
    },
    answering(answer) {
      answers.add(answer);
      void answer.finally(() => answers.delete(answer));
    },
  };
}
