import { dirname } from 'node:path';
import { hashToken } from '../../agents/authentication.ts';
import { openState, openView } from '../../app/state.ts';
import { withOrigin } from '../../audit/log.ts';
import type { CertificateAuthority } from '../../ca/authority.ts';
import { ensureRunAgent, runAgent } from '../agent/bindings.ts';
import { newSecret } from '../agent/tokens.ts';
import { openCa } from '../ca.ts';
import { atCommandLine, type Context } from '../context.ts';
import { proxyUrl } from '../format.ts';
import { type HeldLease, holdLease } from './lease.ts';
import { askHealth } from '../status/finding.ts';
import type { Config } from '../../config/config.ts';
import type { Policies } from '../../config/rules-resolve.ts';
import { isReference, parseSecretReference, readSecret } from '../../config/secret-reference.ts';
import { didYouMean } from '../../lib/text.ts';
import { SidekeyError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { isOwnUser } from '../../lib/peer-user.ts';
import { systemTimers } from '../../lib/timers.ts';
import { startProxy } from '../../main.ts';
import type { Domain } from '../../policy/domain-map.ts';

export interface LeaseSettings {
  /** Agent; null: that of `sidekey run`. */
  readonly agent: string | null;
  /** Grants; null: all that the agent reaches. */
  readonly grants: readonly string[] | null;
  readonly purpose: string;
  /** Milliseconds since the epoch; null: with the command. */
  readonly endsAt: number | null;
}

/** A proxy inside this process, on a port of its own, and a lease for whoever comes through it. */
export async function openOwnProxy(
  { config: loadConfig, env, now }: Pick<Context, 'config' | 'env' | 'now'>,
  { own, lease: wanted }: { readonly own: OwnSettings; readonly lease: LeaseSettings },
  log: Log,
): Promise<ProxyEndpoint> {
  const agent = wanted.agent ?? runAgent;
  const secret = newSecret('lease');
  const origin = atCommandLine(env);
  const proxy = await startProxy(await loadConfig(), {
    log,
    now,
    env,
    origin,
    isTrustedPeer: isOwnUser,
    adapt: (config) => ownConfig(config, own),
    // Some programs cannot be given credentials for a proxy by their environment.
    assumed: { agent, tokenHash: hashToken(secret) },
  });
  try {
    const state = { ...proxy.state, audit: withOrigin(proxy.state.audit, origin) };
    if (wanted.agent === null) await ensureRunAgent(state, now());
    const { grants, purpose, endsAt } = wanted;
    const lease = await holdLease(
      { state, config: () => proxy.config(), log, now, timers: systemTimers },
      { agent, grants, purpose, secret },
      endsAt,
    );
    return {
      proxy: { ...proxy.address, url: proxyUrl(proxy.address, `${agent}:${secret}`) },
      authorityPem: proxy.authority.certificatePem,
      config: () => proxy.config(),
      lease,
      node: proxy.state.audit.node,
      async close() {
        try {
          await lease.end();
        } finally {
          await proxy.close();
        }
      },
    };
  } catch (error) {
    await proxy.close();
    throw error;
  }
}

/** Settings of a proxy inside this process. */
interface OwnSettings {
  readonly unmatched: Config['proxy']['unmatchedHosts'];
  /** Names of policies that every request with a credential has to pass besides the rules of its domain. */
  readonly policies: readonly string[];
}

/**
 * The config as a proxy of its own has it that serves one command, beside whatever else runs: any port that is free, one
 * process, nothing on standard output, which is the command's.
 *
 * @throws SidekeyError `input_invalid` for a policy that is not there
 */
function ownConfig(config: Config, { unmatched, policies }: OwnSettings): Config {
  const anyPort = { host: '127.0.0.1', port: 0 };
  return {
    ...config,
    proxy: { ...config.proxy, listen: anyPort, unmatchedHosts: unmatched },
    workers: 1,
    // Only the webhook tells anybody where the pages are.
    admin: { ...config.admin, listen: config.approvals.webhook === null ? null : anyPort },
    audit: { ...config.audit, sinks: config.audit.sinks.filter(({ type }) => type !== 'stdout') },
    // When the command has ended nobody is left to wait for.
    limits: { ...config.limits, drain: 0 },
    domains: config.domains.map((domain) => withPolicies(domain, policies, config.policies)),
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

function unknownPolicy(name: string, known: readonly string[]): SidekeyError {
  const near = didYouMean(name, known);
  return new SidekeyError(
    'input_invalid',
    `The config has no policy of that name${near === null ? '' : `; did you mean ${near}?`}${near === null ? '.' : ''}`,
    { hint: known.length === 0 ? 'add it under policies in the config file' : `one of ${known.join(', ')}` },
  );
}

/** Proxy that the command uses. */
export interface ProxyEndpoint {
  /** Address for the command; the URL contains its token. */
  readonly proxy: { readonly url: string; readonly host: string; readonly port: number };
  /** PEM of the CA that it is to trust. */
  readonly authorityPem: string;
  /** Returns the config in force. */
  readonly config: () => Config;
  /** Lease of the command; null: the URL has a token of its own. */
  readonly lease: HeldLease | null;
  /** The writer of the audit file that writes for this command alone; null: others come through the proxy too. */
  readonly node: string | null;
  /** Revokes the lease, then closes the proxy. Idempotent. */
  close(): Promise<void>;
}

/** A proxy that runs somewhere. */
interface ProxyPlace {
  readonly host: string;
  readonly port: number;
  /** `NAME:TOKEN`, as it stands in the URL; null: none. */
  readonly userInfo: string | null;
}

/**
 * Reads `--proxy`: a URL, or a reference to one that has a token, which is no argument for everybody on the machine to
 * see.
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
  throw new SidekeyError(
    'input_invalid',
    'The URL of --proxy has a token, which others see in an argument.',
    {
      hint: 'put the URL into a variable, and name the variable: --proxy env:SIDEKEY_PROXY',
    },
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
  { agent: named, grants, purpose, endsAt }: LeaseSettings,
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
  try {
    if (named === null) await ensureRunAgent(state, now());
    const agent = named ?? runAgent;
    const secret = newSecret('lease');
    const lease = await holdLease(
      { state, config: () => config, log, now, timers: systemTimers },
      { agent, grants, purpose, secret },
      endsAt,
    );
    return {
      ...endpoint,
      proxy: { host, port, url: proxyUrl({ host, port }, `${agent}:${secret}`) },
      lease,
      async close() {
        try {
          await lease.end();
        } finally {
          await state.close();
        }
      },
    };
  } catch (error) {
    await state.close();
    throw error;
  }
}

/** @throws as `openCa` */
async function authorityOf(config: Config, now: () => number): Promise<CertificateAuthority> {
  const view = await openView(config, { now });
  try {
    return await openCa(view, now);
  } finally {
    await view.close();
  }
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
