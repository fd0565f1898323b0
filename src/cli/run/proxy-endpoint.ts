import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { dirname } from 'node:path';
import { hashToken } from '../../agents/authentication.ts';
import { openState, openView, type State } from '../../app/state.ts';
import type { SocketHandle } from '../../app/worker-ipc.ts';
import { recordChange, withOrigin } from '../../audit/log.ts';
import type { CertificateAuthority } from '../../ca/authority.ts';
import type { Config } from '../../config/config.ts';
import type { Policies } from '../../config/rules-resolve.ts';
import { isReference, parseSecretReference, readSecret } from '../../config/secret-reference.ts';
import type { Grant } from '../../domain/grant.ts';
import { errorPhrase, inputInvalid, SidekeyError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { peerOwnerOfCommand } from '../../lib/os.ts';
import { orMeant } from '../../lib/text.ts';
import { systemTimers, type Timers } from '../../lib/timers.ts';
import { startProxy } from '../../app/proxy.ts';
import { type PlaceholderCodes, placeholderCodes } from '../../proxy/placeholders/codes.ts';
import type { Domain } from '../../proxy/policy/domain-map.ts';
import { ensureRunAgent, runAgent } from '../../operations/run-agent.ts';
import { newSecret } from '../../agents/authentication.ts';
import { openCa } from '../../ca/existing-authority.ts';
import { atCommandLine, type Context } from '../context.ts';
import { proxyUrl } from '../../operations/format.ts';
import { ownGrants, ttlFor } from '../../operations/lease-terms.ts';
import { type LeaseOrder, makeLease } from '../../operations/make-lease.ts';
import { askHealth } from '../status/ask-proxy.ts';

export interface LeaseSettings {
  /** Agent; null: that of `sidekey run`. */
  readonly agent: string | null;
  /** Grants; null: all that the agent reaches. */
  readonly grants: readonly string[] | null;
  readonly purpose: string;
  /** Milliseconds since the epoch; null: with the command. */
  readonly endsAt: number | null;
}

interface OwnProxyOptions {
  readonly settings: ProxySettings;
  readonly lease: LeaseSettings;
  /** Socket in the network namespace of a confined command; null: a port of this machine. */
  readonly socket?: Promise<SocketHandle | null> | undefined;
}

/** Starts a proxy in this process, on its own port, with a lease for its callers. */
export async function openOwnProxy(
  { config: loadConfig, env, now }: Pick<Context, 'config' | 'env' | 'now'>,
  { settings, lease: wanted, socket }: OwnProxyOptions,
  log: Log,
): Promise<ProxyEndpoint> {
  const agent = wanted.agent ?? runAgent;
  const secret = newSecret('lease');
  const origin = atCommandLine(env);
  // Only the command reaches a socket of its own network, and its user is in no list of this machine.
  let isApart = false;
  void socket?.then((handle) => (isApart = handle !== null)).catch(() => undefined);
  const proxy = await startProxy(await loadConfig(), {
    log,
    now,
    env,
    origin,
    peerOwner: async (ends) => (isApart ? 'own' : peerOwnerOfCommand(ends)),
    socket,
    adapt: (config) => configOfRun(config, settings),
    // Some programs cannot get proxy credentials from their environment.
    assumed: { agent, tokenHash: hashToken(secret) },
  });
  const state = { ...proxy.state, audit: withOrigin(proxy.state.audit, origin) };
  const config = () => proxy.config();
  const held = await withLease({ state, config, log, now, timers: systemTimers }, wanted, secret, proxy);
  return {
    proxy: { ...proxy.address, url: proxyUrl(proxy.address, `${agent}:${secret}`) },
    authorityPem: proxy.authority.certificatePem,
    config,
    node: proxy.state.audit.node,
    ...held,
  };
}

/** Holds a lease for the command. Closes what it belongs to with it, or if there is none. */
async function withLease(
  parts: HoldParts,
  { agent, grants, purpose, endsAt }: LeaseSettings,
  secret: string,
  opened: Pick<ProxyEndpoint, 'close'>,
): Promise<Pick<ProxyEndpoint, 'lease' | 'close'>> {
  try {
    if (agent === null) await ensureRunAgent(parts.state, parts.now());
    const lease = await holdLease(parts, { agent: agent ?? runAgent, grants, purpose, secret }, endsAt);
    return {
      lease,
      async close() {
        try {
          await lease.end();
        } finally {
          await opened.close();
        }
      },
    };
  } catch (error) {
    await opened.close();
    throw error;
  }
}

/** Settings of a proxy inside this process. */
interface ProxySettings {
  /** Default: as the config file says. */
  readonly unmatched: Config['proxy']['unmatchedHosts'] | undefined;
  /** Policies that each request with a credential must pass besides the rules of its domain. */
  readonly policies: readonly string[];
}

/**
 * Returns the config for the proxy of one command: any free port, one process, no output on the command's
 * standard output.
 *
 * @throws SidekeyError `input_invalid` for an unknown policy
 */
function configOfRun(config: Config, { unmatched, policies }: ProxySettings): Config {
  const anyPort = { host: '127.0.0.1', port: 0 };
  const { webhook, notify } = config.approvals;
  const restrict = (domain: Domain) => withPolicies(domain, policies, config.policies);
  return {
    ...config,
    // No rule of the kernel knows this port.
    proxy: {
      ...config.proxy,
      listen: anyPort,
      localCallers: 'same_user',
      unmatchedHosts: unmatched ?? config.proxy.unmatchedHosts,
      transparent: null,
    },
    workers: 1,
    // Only receivers of questions learn the URL of the pages.
    admin: { ...config.admin, listen: webhook !== null || notify.length > 0 ? anyPort : null },
    audit: { ...config.audit, sinks: config.audit.sinks.filter(({ type }) => type !== 'stdout') },
    // After the command has ended there are no exchanges to wait for.
    limits: { ...config.limits, drain: 0 },
    domains: config.domains.map(restrict),
    restrict,
  };
}

function withPolicies(domain: Domain, names: readonly string[], policies: Policies): Domain {
  const additionalRules = names.map((name) => {
    const rules = policies.additionalRules(name, domain.pattern);
    if (rules === null) throw unknownPolicy(name, policies.names);
    return rules;
  });
  return domain.action.kind !== 'grant' || additionalRules.length === 0
    ? domain
    : { ...domain, additionalRules };
}

function unknownPolicy(name: string, names: readonly string[]): SidekeyError {
  return new SidekeyError('input_invalid', `The config has no policy of that name${orMeant(name, names)}`, {
    hint: names.length === 0 ? 'add it under policies in the config file' : `one of ${names.join(', ')}`,
  });
}

/** Proxy that the command uses. */
export interface ProxyEndpoint {
  /** Address for the command; the URL contains its token. */
  readonly proxy: { readonly url: string; readonly host: string; readonly port: number };
  /** PEM of the CA that the command trusts. */
  readonly authorityPem: string;
  /** Returns the config in force. */
  readonly config: () => Config;
  /** Lease of the command; null: the URL contains a token. */
  readonly lease: HeldLease | null;
  /** Audit writer of this command; null: the proxy has other callers. */
  readonly node: string | null;
  /** Revokes the lease, then closes the proxy. Idempotent. */
  close(): Promise<void>;
}

/** Address and credentials of a proxy. */
interface ProxyPlace {
  readonly host: string;
  readonly port: number;
  /** `NAME:TOKEN`, as in the URL; null: none. */
  readonly userInfo: string | null;
}

/**
 * Parses `--proxy`: a URL, or a reference to a URL with a token, which must not be visible in argv.
 *
 * @throws SidekeyError `input_invalid`, and as `readSecret`
 */
export async function readPlace(
  text: string,
  { env, configFile }: { readonly env: NodeJS.ProcessEnv; readonly configFile: string },
): Promise<ProxyPlace> {
  const reference = parseSecretReference(text);
  if (isReference(reference)) {
    return placeOf(await readSecret(reference, { env, cwd: dirname(configFile), where: '--proxy' }));
  }
  const place = placeOf(text);
  if (place.userInfo === null) return place;
  throw inputInvalid(
    'The URL of --proxy has a token, which others see in an argument.',
    'put the URL into a variable, and name the variable: --proxy env:SIDEKEY_PROXY',
  );
}

function placeOf(text: string): ProxyPlace {
  const url = URL.parse(text);
  if (url === null || url.protocol !== 'http:' || url.pathname !== '/' || url.search + url.hash !== '') {
    throw new SidekeyError('input_invalid', '--proxy is not the URL of a proxy.', {
      hint: '--proxy http://127.0.0.1:8377, or --proxy env:NAME for one with a token',
    });
  }
  const { hostname, port, username, password } = url;
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? 80 : Number(port),
    userInfo: username + password === '' ? null : `${username}:${password}`,
  };
}

/**
 * A proxy that runs already, with a lease of its store, where it came with no token.
 *
 * @throws SidekeyError `upstream_unreachable` where none answers
 */
export async function openRunningProxy(
  { config: loadConfig, env, now }: Pick<Context, 'config' | 'env' | 'now'>,
  { host, port, userInfo }: ProxyPlace,
  wanted: LeaseSettings,
  log: Log,
): Promise<ProxyEndpoint> {
  await assertServes({ host, port });
  const config = await loadConfig();
  const authority = await authorityOf(config, now);
  const endpoint = { authorityPem: authority.certificatePem, config: () => config, node: null };
  if (userInfo !== null) {
    const url = proxyUrl({ host, port }, userInfo);
    return { ...endpoint, proxy: { host, port, url }, lease: null, close: async () => {} };
  }
  const state = await openState(config, { log, now, origin: atCommandLine(env) });
  const secret = newSecret('lease');
  const parts = { state, config: () => config, log, now, timers: systemTimers };
  const held = await withLease(parts, wanted, secret, state);
  const url = proxyUrl({ host, port }, `${wanted.agent ?? runAgent}:${secret}`);
  return { ...endpoint, proxy: { host, port, url }, ...held };
}

/** Passes the connections of a confined command to a proxy that runs already. */
export async function relayed(endpoint: ProxyEndpoint, socket: SocketHandle): Promise<ProxyEndpoint> {
  const { host, port } = endpoint.proxy;
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ host, port, allowHalfOpen: true, noDelay: true });
    near.on('error', () => far.destroy()).on('close', () => far.destroy());
    far.on('error', () => near.destroy()).on('close', () => near.destroy());
    near.pipe(far).pipe(near);
  });
  server.listen(socket);
  await once(server, 'listening');
  const inside = server.address() as AddressInfo;
  const url = new URL(endpoint.proxy.url);
  url.host = `${inside.address}:${inside.port}`;
  return {
    ...endpoint,
    proxy: { host: inside.address, port: inside.port, url: url.href.replace(/\/$/, '') },
    async close() {
      server.close();
      await endpoint.close();
    },
  };
}

/** @throws as `openCa` */
async function authorityOf(config: Config, now: () => number): Promise<CertificateAuthority> {
  await using view = await openView(config, { now });
  return await openCa(view, now);
}

async function assertServes(place: Pick<ProxyPlace, 'host' | 'port'>): Promise<void> {
  const health = await askHealth(place);
  if (health.kind === 'serving') return;
  const url = proxyUrl(place);
  const hint = 'sidekey start, or leave out --proxy: then the command has one of its own';
  throw health.kind === 'stranger'
    ? new SidekeyError('upstream_unreachable', `What answers at ${url} is not Sidekey.`, { hint })
    : new SidekeyError(
        'upstream_unreachable',
        `No proxy answers at ${url}${health.kind === 'silent' ? ` (${health.why})` : ''}.`,
        { hint },
      );
}

/** A lease that this process renews. */
interface HeldLease {
  readonly id: string;
  /** The usual grants (`usualGrants`) when it was made. */
  readonly grants: readonly Grant[];
  /** The placeholders of this lease. */
  readonly placeholders: PlaceholderCodes;
  /** Revokes it. Idempotent. */
  end(): Promise<void>;
}

interface HoldParts {
  readonly state: Pick<State, 'store' | 'audit' | 'grants' | 'vault'>;
  /** Returns the config in force. */
  readonly config: () => State['config'];
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
}

/** Lifetime in milliseconds without a renewal. */
const spanMs = 300_000;
/** Milliseconds between checks of the clock: a timer alone does not count the time that a machine sleeps. */
const pollMs = 1_000;
const minWaitMs = 50;

/**
 * Creates a short lease, and renews it until it is ended here: the lease of a killed process expires. A
 * revoked lease is not renewed.
 *
 * @param endsAt latest end, in milliseconds since the epoch; null: none
 * @throws as `makeLease`
 */
export async function holdLease(
  parts: HoldParts,
  order: Pick<LeaseOrder, 'agent' | 'grants' | 'purpose' | 'secret'>,
  endsAt: number | null,
): Promise<HeldLease> {
  const { state, config, log, now, timers } = parts;
  const hardEnd = endsAt ?? Infinity;
  const span = (at: number) => Math.min(spanMs, hardEnd - at);
  const begun = now();
  const made = await makeLease(
    { ...state, config: config() },
    { ...order, ttlMs: span(begun), idleMs: null, maxUses: null },
    begun,
  );
  const { id, agent } = made.lease;
  const subject = { agent, lease: id, reason: order.purpose };
  let renewAt = nextTry(begun, made.lease.expiresAt);
  let looking: Promise<void> | undefined;
  let ending: Promise<void> | undefined;
  let stop = lookAgain();

  function lookAgain(): () => void {
    return timers.after(Math.max(minWaitMs, Math.min(pollMs, renewAt - now())), look);
  }

  function look(): void {
    looking = renewIfDue().then(() => {
      if (ending === undefined && renewAt !== Infinity) stop = lookAgain();
    });
  }

  async function renewIfDue(): Promise<void> {
    const at = now();
    // A clock that was set back triggers no renewal.
    if (at < renewAt) return;
    try {
      renewAt = await renew(at);
    } catch (error) {
      log.warn({ lease: id, problem: errorPhrase(error) }, 'the lease of this run could not be renewed');
    }
  }

  async function renew(at: number): Promise<number> {
    const before = await state.store.leases.get(id);
    if (before === null || before.revokedAt !== null) return Infinity;
    const [grants, rights] = [await state.grants.list(), await state.store.rights.read()];
    const grantsOfLease = ownGrants(before, grants, rights);
    const { ttlMs } = ttlFor(span(at), grantsOfLease, { config: config(), policies: rights.policies });
    const expiresAt = Math.max(before.expiresAt, at + ttlMs);
    await recordChange(state.audit, { event: 'lease.renewed', ...subject }, () =>
      state.store.leases.renew(id, { at, expiresAt, moreUses: 0 }),
    );
    return nextTry(at, at + ttlMs);
  }

  /** Returns the time of the next renewal, which leaves two more attempts; none after the latest end. */
  function nextTry(at: number, expiresAt: number): number {
    return expiresAt >= hardEnd ? Infinity : at + (expiresAt - at) / 3;
  }

  async function end(): Promise<void> {
    stop();
    await looking;
    await recordChange(state.audit, { event: 'lease.revoked', ...subject }, () =>
      state.store.leases.revoke({ id }, now()),
    );
  }

  return {
    id,
    grants: made.usual,
    placeholders: placeholderCodes(state.vault),
    end: () => (ending ??= end()),
  };
}
