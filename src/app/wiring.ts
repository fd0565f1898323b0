import { dirname } from 'node:path';
import { newApprovalId } from '../approvals/approval.ts';
import { type ApprovalQueue, createApprovalQueue } from '../approvals/queue.ts';
import type { AdminServer } from '../approvals/server.ts';
import { createApprovalLinks, createApprovalTeller } from '../approvals/webhook.ts';
import type { Config } from '../config/config.ts';
import { readRegularFile } from '../config/reload.ts';
import { isReference, parseSecretReference, readSecret } from '../config/secret-reference.ts';
import type { ClientCertificateConfig, UpstreamProxyConfig } from '../config/upstream.ts';
import type { RefreshParts } from '../grants/refresh.ts';
import { SidekeyError, systemCode } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { shellWord } from '../lib/text.ts';
import { systemTimers } from '../lib/timers.ts';
import { createNonces } from '../schemes/dpop-proof.ts';
import { createUpstreamClient, type UpstreamClient } from '../upstream/client.ts';
import type { ParentProxy } from '../upstream/parent-proxy.ts';
import type { ClientCertificate } from '../upstream/trust.ts';
import type { State } from './state.ts';

/** What asking people is made of. */
interface ApprovalServiceParts {
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
  readonly pages?: Pick<ApprovalService, 'url' | 'port'> | undefined;
}

/** People can be asked, and can answer. */
interface ApprovalService {
  readonly queue: ApprovalQueue;
  /** What links begin with; null: nothing listens for them. */
  readonly url: string | null;
  /** Where the pages listen; null: nowhere. */
  readonly port: number | null;
  /** Refuses what waits. Idempotent. */
  close(): Promise<void>;
}

/**
 * The queue where requests wait, the webhook that tells of them, and the pages where people answer.
 *
 * @throws SidekeyError `port_in_use`, `listen_failed`
 */
export async function openApprovalService(
  { store, vault, audit }: Pick<State, 'store' | 'vault' | 'audit'>,
  { config, fetch, log, now, env, pages: elsewhere }: ApprovalServiceParts,
): Promise<ApprovalService> {
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
  const queue = createApprovalQueue({
    store,
    audit,
    now,
    timers: systemTimers,
    newId: () => newApprovalId(),
    limits: () => config().approvals,
    announce: teller.announce,
  });
  let pages: AdminServer | null = null;
  if (admin.listen !== null && elsewhere === undefined) {
    // Loads all of Node's HTTP: a start without pages is sooner without it.
    const { createAdminServer } = await import('../approvals/server.ts');
    pages = createAdminServer({ queue, links, now, log, timers: systemTimers });
    const { host, port } = await pages.listen(admin.listen.host, admin.listen.port);
    listensOn = port;
    url = admin.url ?? `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
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

/** What the way out is opened with. */
interface OpenExitOptions {
  /** Where `env:` references look. */
  readonly env: NodeJS.ProcessEnv;
  /** The ports that this process itself listens on by now. */
  readonly ownPorts: () => readonly number[];
}

/**
 * The way out that a config describes, in the proxy and at the command line alike. Its files and secrets are read now, and
 * at no later time.
 *
 * @throws SidekeyError `config_invalid` where trust anchors, a certificate or a key cannot be used;
 * `permissions_unsafe` where a key is open to every user; and what `readSecret` throws
 */
export async function openUpstreamClient(
  { file, upstream, limits }: Pick<Config, 'file' | 'upstream' | 'limits'>,
  { env, ownPorts }: OpenExitOptions,
): Promise<UpstreamClient> {
  const reading = { env, cwd: dirname(file) };
  return createUpstreamClient({
    ca: upstream.ca,
    resolve: upstream.resolve,
    privateAddresses: upstream.privateAddresses,
    proxy: upstream.proxy === null ? null : await openProxy(upstream.proxy, reading),
    noProxy: upstream.noProxy,
    clientCertificates: await Promise.all(
      upstream.clientCertificates.map((it) => readCertificate(it, reading)),
    ),
    limits,
    ownPorts,
  });
}

interface Reading {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
}

async function openProxy(
  { authority, login, resolves }: UpstreamProxyConfig,
  reading: Reading,
): Promise<ParentProxy> {
  if (login === null) return { authority, credentials: null, resolves };
  const password = await readSecret(login.password, { ...reading, where: login.origin });
  return { authority, credentials: { user: login.user, password }, resolves };
}

async function readCertificate(
  { pattern, files, passphrase, origin }: ClientCertificateConfig,
  reading: Reading,
): Promise<ClientCertificate> {
  const locked =
    passphrase === null
      ? {}
      : { passphrase: await readSecret(passphrase, { ...reading, where: `${origin}.passphrase` }) };
  const material =
    'pfx' in files
      ? { pfx: readPart(files.pfx, { where: `${origin}.pfx`, isSecret: true }) }
      : {
          cert: readPart(files.cert, { where: `${origin}.cert`, isSecret: false }),
          key: readPart(files.key, { where: `${origin}.key`, isSecret: true }),
        };
  return { pattern, origin, material: { ...material, ...locked } };
}

/** No chain of certificates is larger. */
const mostBytes = 1_048_576;

function readPart(
  path: string,
  { where, isSecret }: { readonly where: string; readonly isSecret: boolean },
): Buffer {
  const invalid = (what: string, cause?: unknown) =>
    new SidekeyError('config_invalid', `${where}: ${path} ${what}.`, {
      hint: `make ${path} a file that the user of this process can read`,
      cause,
    });
  let content: ReturnType<typeof readRegularFile>;
  try {
    content = readRegularFile(path, mostBytes);
  } catch (cause) {
    throw invalid(`cannot be read (${systemCode(cause)})`, cause);
  }
  if (content === null) throw invalid('is no regular file');
  if (content.bytes.length > mostBytes) throw invalid('is larger than 1 MiB');
  // Windows has no mode.
  if (isSecret && process.platform !== 'win32' && (content.mode & 0o007) !== 0) {
    throw new SidekeyError('permissions_unsafe', `${where}: ${path} is open to every user of this machine.`, {
      hint: `run: chmod 600 ${shellWord(path)}`,
    });
  }
  return content.bytes;
}

/** What changes while a process runs. */
interface RefreshOptions {
  /** What the config says when a refresh begins. */
  readonly config: () => Config;
  /** The way out at that moment: through the dial guard. */
  readonly fetch: () => typeof fetch;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Where `env:` references look. */
  readonly env: NodeJS.ProcessEnv;
}

/** What a refresh is made of, in the proxy and at the command line alike. */
export function refreshParts(
  { config: initial, grants, store, audit, activity }: State,
  { config, fetch, now, env }: RefreshOptions,
): Omit<RefreshParts, 'timers'> {
  const nonces = createNonces();
  return {
    registry: grants,
    store,
    providers: (name) => config().providers.get(name),
    refresh: async (request, { signal, proofKey }) => {
      // A start is sooner without the flows, and needs none.
      const { renew } = await import('../oauth/renewal.ts');
      return renew(request, { fetch: fetch(), now, signal, proofKey, nonces });
    },
    readSecret: (reference) => readReferenced(reference, { env, configFile: config().file }),
    now,
    skewMs: initial.tokens.skewMs,
    limits: initial.limits,
    audit,
    activity,
  };
}

/**
 * The secret that a reference of a grant stands for (`file:`, `env:`, `command:`), read now; paths and commands are
 * relative to the folder of the config file.
 *
 * @throws SidekeyError as `readSecret`; `input_invalid` where it is no reference
 */
async function readReferenced(
  reference: string,
  { env, configFile }: { readonly env: NodeJS.ProcessEnv; readonly configFile: string },
): Promise<string> {
  const parsed = parseSecretReference(reference);
  if (!isReference(parsed)) {
    throw new SidekeyError('input_invalid', `What the grant refers to ${parsed.problem}.`);
  }
  return readSecret(parsed, { env, cwd: dirname(configFile) });
}
