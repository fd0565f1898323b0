import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { dirname } from 'node:path';
import { hashToken, newSecret } from '../../agents/authentication.ts';
import { configOfRun, type ProxySettings } from '../../app/adapted-config.ts';
import type { ProxyParts } from '../../app/core.ts';
import { startProxy } from '../../app/proxy.ts';
import { openState, openView } from '../../app/state.ts';
import type { SocketHandle } from '../../app/worker-ipc.ts';
import { openCa } from '../../ca/existing-authority.ts';
import type { Config } from '../../config/config.ts';
import { isReference, parseSecretReference, readSecret } from '../../config/secret-reference.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { peerOwnerOfCommand } from '../../lib/os.ts';
import { systemTimers as timers } from '../../lib/timers.ts';
import type { CommandProxy } from '../../operations/command-environment.ts';
import { proxyUrl } from '../../operations/format.ts';
import { type LeaseSettings, openRunLease } from '../../operations/held-lease.ts';
import { runAgent } from '../../operations/run-agent.ts';
import { atCommandLine, type Context } from '../context.ts';
import { askHealth } from '../status/ask-proxy.ts';

interface OwnProxyOptions {
  readonly settings: ProxySettings;
  readonly lease: LeaseSettings;
  /** Socket in the network namespace of a confined command; null: a port of this machine. */
  readonly socket?: Promise<SocketHandle | null> | undefined;
  readonly storeOpened?: ProxyParts['storeOpened'];
}

/** Starts a proxy in this process, on its own port, with a lease for its callers. */
export async function openOwnProxy(
  { config: loadConfig, env, now }: Pick<Context, 'config' | 'env' | 'now'>,
  { settings, lease: wanted, socket, storeOpened }: OwnProxyOptions,
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
    storeOpened,
    adapt: (config) => configOfRun(config, settings),
    // Some programs cannot get proxy credentials from their environment.
    assumed: { agent, tokenHash: hashToken(secret) },
  });
  const { state, config } = proxy;
  const held = await openRunLease({ state, origin, config, log, now, timers }, wanted, secret, proxy);
  return {
    proxy: { ...proxy.address, url: proxyUrl(proxy.address, `${agent}:${secret}`) },
    authorityPem: proxy.authority.certificatePem,
    config,
    node: state.audit.node,
    ...held,
  };
}

/** Proxy of a command, which ends with the command unless it has other callers. */
export interface ProxyEndpoint extends CommandProxy {
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
  { lease: wanted, storeOpened }: Pick<OwnProxyOptions, 'lease' | 'storeOpened'>,
  log: Log,
): Promise<ProxyEndpoint> {
  await assertServes({ host, port });
  const config = await loadConfig();
  const authorityPem = await certificateOf(config, now);
  const endpoint = (own: string) => {
    const url = proxyUrl({ host, port }, own);
    return { proxy: { host, port, url }, authorityPem, config: () => config, node: null };
  };
  if (userInfo !== null) return { ...endpoint(userInfo), lease: null, close: async () => {} };
  const origin = atCommandLine(env);
  const state = await openState(config, { log, now, origin });
  storeOpened?.(state);
  const secret = newSecret('lease');
  const parts = { state, origin, config: () => config, log, now, timers };
  const held = await openRunLease(parts, wanted, secret, state);
  return { ...endpoint(`${wanted.agent ?? runAgent}:${secret}`), ...held };
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
async function certificateOf(config: Config, now: () => number): Promise<string> {
  await using view = await openView(config, { now });
  return (await openCa(view, now)).certificatePem;
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
