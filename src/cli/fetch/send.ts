import { once } from 'node:events';
import { Agent, type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { State } from '../../app/state.ts';
import type { AuditLine } from '../../domain/event.ts';
import { recordChange } from '../../audit/log.ts';
import { tailAudit } from '../../audit/query.ts';
import { assertOutsideRun, atCommandLine, type Context, plainLog } from '../context.ts';
import { reachable } from '../../operations/format.ts';
import type { BodySource, Hop } from './request.ts';
import { makeLease } from '../../operations/make-lease.ts';
import type { Config } from '../../config/config.ts';
import type { Grant } from '../../domain/grant.ts';
import { SidekeyError, systemCode } from '../../lib/errors.ts';
import { peerOwnerOfCommand } from '../../lib/os.ts';
import type { Proxy } from '../../main.ts';
import { jsonObject } from '../../grants/oauth/http.ts';
import { authorityText, parseAbsoluteTarget } from '../../proxy/policy/authority.ts';

/** The proxy that the requests of a command go through. */
export interface ProxyEndpoint {
  readonly host: string;
  readonly port: number;
  /** `name:token`, both empty for an anonymous caller. */
  readonly userInfo: string;
  /** Audit record of a client's last request; null: this process cannot read the proxy's audit log. */
  recorded(client: string): Promise<Recorded | null>;
  close(): Promise<void>;
}

interface EndpointOptions {
  readonly agent?: string;
  readonly proxy?: string;
}

/**
 * Returns the named proxy; else the one that this process serves, for the API; else that of the environment,
 * if it is a Sidekey; else a new one. So an agent behind Sidekey uses its own rights, not a store reader's.
 *
 * @throws SidekeyError `input_invalid`, and as `ownProxy`
 */
export async function openEndpoint(
  context: Context,
  { agent, proxy }: EndpointOptions,
): Promise<ProxyEndpoint> {
  if (agent !== undefined && proxy !== undefined) {
    throw new SidekeyError('input_invalid', '--agent and --proxy are both given.', {
      hint: '--proxy http://NAME:TOKEN@HOST:PORT says who asks',
    });
  }
  if (proxy !== undefined) {
    const endpoint = readProxy(proxy);
    if (endpoint !== null) return endpoint;
    throw new SidekeyError('input_invalid', '--proxy is not a proxy on this machine.', {
      hint: '--proxy http://NAME:TOKEN@127.0.0.1:8377; for another machine use curl -x, which speaks TLS through it',
    });
  }
  if (context.listening !== undefined) return servedHere(context, await context.listening, agent ?? null);
  const given = agent === undefined ? await fromEnvironment(context.env) : null;
  if (given !== null) return given;
  assertOutsideRun(context.env);
  return ownProxy(context, await context.config(), agent ?? null);
}

/** Parses the URL of a proxy on this machine; null: it is another URL, or needs TLS. */
export function readProxy(text: string): ProxyEndpoint | null {
  const url = URL.parse(text.includes('://') ? text : `http://${text}`);
  if (url === null || url.protocol !== 'http:' || (url.pathname !== '/' && url.pathname !== '')) return null;
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  if (!/^(?:localhost|127\.\d+\.\d+\.\d+|::1)$/.test(host)) return null;
  return {
    host: host === 'localhost' ? '127.0.0.1' : host,
    port: url.port === '' ? 80 : Number(url.port),
    userInfo: decoded(`${url.username}${url.password === '' ? '' : `:${url.password}`}`),
    recorded: async () => null,
    close: async () => {},
  };
}

/** Returns the proxy with the caller's credentials. The selector follows the user name. */
export function placeOf({ host, port, userInfo }: ProxyEndpoint, user: string | null): ProxyPlace {
  const [name = '', ...rest] = userInfo.split(':');
  const who = `${name}${user === null ? '' : `+user=${user}`}:${rest.join(':')}`;
  return {
    host,
    port,
    authorization: who === ':' ? null : `Basic ${Buffer.from(who, 'utf8').toString('base64')}`,
  };
}

const variables = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'];

/** Milliseconds that a proxy has to identify itself. */
const timeoutMs = 2_000;

async function fromEnvironment(env: NodeJS.ProcessEnv): Promise<ProxyEndpoint | null> {
  const text = variables.map((name) => env[name]).find((value) => value !== undefined && value !== '');
  const endpoint = text === undefined ? null : readProxy(text);
  return endpoint !== null && (await isSidekey(placeOf(endpoint, null))) ? endpoint : null;
}

/** Reports whether the proxy serves `sidekey.internal`. Unknown callers get Sidekey's own error field. */
async function isSidekey(place: ProxyPlace): Promise<boolean> {
  const hop = { method: 'GET', url: 'http://sidekey.internal/index.json', fields: [], body: null };
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const { response, status } = await askProxy(place, hop, signal);
    const chunks: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    if (response.headers['sidekey-error'] !== undefined) return true;
    return status === 200 && jsonObject(Buffer.concat(chunks).toString('utf8'))?.['sidekey'] === 1;
  } catch {
    return false;
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A lease for one command. */
interface RequestLease {
  /** `name:token`, for `Proxy-Authorization`. */
  readonly secret: string;
  revoke(): Promise<void>;
}

const purpose = 'sidekey fetch';

/**
 * Creates a lease for all grants that an agent reaches. Uses the default lifetime, in case the command cannot
 * revoke it.
 *
 * @throws as `makeLease`
 */
async function leaseForRequest(
  { store, vault, grants, audit }: Pick<State, 'store' | 'vault' | 'grants' | 'audit'>,
  config: Config,
  agent: string,
  now: () => number,
): Promise<RequestLease> {
  const order = { agent, grants: null, purpose, ttlMs: null, idleMs: null, maxUses: null };
  const { lease, secret } = await makeLease({ store, vault, grants, audit, config }, order, now());
  const event = { event: 'lease.revoked', agent, lease: lease.id, reason: purpose } as const;
  return {
    secret: `${agent}:${secret}`,
    async revoke() {
      await recordChange(audit, event, () => store.leases.revoke({ id: lease.id }, now()));
    },
  };
}

/** A proxy on this machine, with the caller's credentials. */
interface ProxyPlace {
  readonly host: string;
  readonly port: number;
  /** `Proxy-Authorization`; null: the caller is anonymous. */
  readonly authorization: string | null;
}

/** A response with an unread body. */
export interface Answer {
  readonly response: IncomingMessage;
  readonly status: number;
  /** Address and port of the caller, as in the audit log. */
  readonly client: string;
}

/**
 * Sends one request through a proxy, in absolute form, so that the proxy connects to the upstream by TLS.
 * Only for proxies on this machine: the connection is not encrypted.
 *
 * @throws SidekeyError `upstream_unreachable` if the proxy does not respond, `input_invalid` if the body
 * cannot be read
 */
export async function askProxy(proxy: ProxyPlace, hop: Hop, signal: AbortSignal): Promise<Answer> {
  const target = parseAbsoluteTarget(hop.url);
  if (target === null) throw new Error('the URL of a hop is absolute');
  const { body } = hop;
  const framing: readonly string[] =
    body === null
      ? []
      : body.length === null
        ? ['Transfer-Encoding', 'chunked']
        : ['Content-Length', String(body.length)];
  const request = httpRequest({
    host: proxy.host,
    port: proxy.port,
    method: hop.method,
    path: hop.url,
    // A separate agent: Node's default one may use the proxy variables.
    agent: new Agent({ keepAlive: false, maxSockets: 1 }),
    signal,
    headers: [
      'Host',
      authorityText(target.authority),
      ...(proxy.authorization === null ? [] : ['Proxy-Authorization', proxy.authorization]),
      ...hop.fields.flat(),
      ...framing,
      'Connection',
      'close',
    ],
  });
  // An error rejects the response, or ends its body.
  request.on('error', () => {});
  const answered = once(request, 'response') as Promise<[IncomingMessage]>;
  const sending = send(request, body);
  // The proxy may respond before it has read the body, and then close.
  const failed = sending.then(() => new Promise<never>(() => {}));
  try {
    const [response] = await Promise.race([answered, failed]);
    const { localAddress = '', localPort = 0 } = response.socket;
    const client = `${localAddress.includes(':') ? `[${localAddress}]` : localAddress}:${localPort}`;
    return { response, status: response.statusCode ?? 0, client };
  } catch (error) {
    request.destroy();
    throw failureOf(error, proxy, signal);
  } finally {
    answered.catch(() => {});
    failed.catch(() => {});
  }
}

/** Sends the body with backpressure. @throws SidekeyError `input_invalid` */
async function send(request: ClientRequest, body: Hop['body']): Promise<void> {
  if (body === null) {
    request.end();
    return;
  }
  try {
    await pipeline(readFrom(body), request);
  } catch (error) {
    // The response reports connection errors.
    if (error instanceof SidekeyError) throw error;
  }
}

async function* readFrom(body: BodySource): AsyncGenerator<Uint8Array | string> {
  try {
    yield* body.open();
  } catch (cause) {
    throw new SidekeyError('input_invalid', `The body cannot be read (${systemCode(cause)}).`, { cause });
  }
}

function failureOf(error: unknown, { host, port }: ProxyPlace, signal: AbortSignal): unknown {
  if (error instanceof SidekeyError) return error;
  if (signal.aborted) return signal.reason;
  return new SidekeyError(
    'upstream_unreachable',
    `The proxy at ${host}:${port} did not answer (${systemCode(error)}).`,
    { hint: 'sidekey status', cause: error },
  );
}

/** Audit record of an exchange. */
export interface Recorded {
  /** ID shared by all events of the exchange. */
  readonly exchange: string;
  /** Grant of the credential; null: no credential was added. */
  readonly grant: Pick<Grant, 'name' | 'user' | 'provider'> | null;
  readonly agent: string | null;
  readonly lease: string | null;
  /** The approval of the exchange; null: none was needed. */
  readonly approval: string | null;
}

/** Lines to search, because other processes write to the same file. */
const maxLines = 2_000;

/**
 * Returns the last allowed exchange of a client; null: none in the log.
 *
 * @param client its address and port, unique during its connection
 */
async function recordedBy(
  client: string,
  { file, grants }: { readonly file: string; readonly grants: readonly Grant[] },
): Promise<Recorded | null> {
  let found: AuditLine | null = null;
  for await (const line of tailAudit({ file, lines: maxLines })) {
    if (line.client === client && line.event === 'access') found = line;
  }
  if (found === null) return null;
  const { exchange = '', agent = null, lease = null, approval = null } = found;
  const grant = grants.find(({ id }) => id === found?.grant) ?? null;
  return {
    exchange,
    grant: grant === null ? null : { name: grant.name, user: grant.user, provider: grant.provider },
    agent,
    lease,
    approval,
  };
}

/** Returns the proxy that this process serves. @throws SidekeyError `agent_auth_required` */
async function servedHere(
  { withState, now }: Pick<Context, 'withState' | 'now'>,
  { host, port }: Proxy['address'],
  agent: string | null,
): Promise<ProxyEndpoint> {
  return withState(async (state) => {
    assertMayAsk(state.config, agent);
    const lease = agent === null ? null : await leaseForRequest(state, state.config, agent, now);
    return {
      host: reachable(host),
      port,
      userInfo: lease?.secret ?? '',
      recorded: (client) => seen(state, client),
      close: async () => lease?.revoke(),
    };
  });
}

/** @throws SidekeyError `agent_auth_required` */
function assertMayAsk({ proxy }: Config, agent: string | null): void {
  if (agent !== null || proxy.authentication !== 'required') return;
  throw new SidekeyError('agent_auth_required', 'This config requires an agent.', {
    hint: 'sidekey fetch --agent NAME URL',
  });
}

/**
 * Starts a proxy in this process, on its own port instead of the config's. Uses the map, rules, store and
 * audit file of the config.
 *
 * @param agent the agent of the command; null: anonymous, if the config allows that
 * @throws SidekeyError `agent_auth_required`, and errors of `startProxy`
 */
async function ownProxy(
  { env, now, output }: Pick<Context, 'env' | 'now' | 'output'>,
  config: Config,
  agent: string | null,
): Promise<ProxyEndpoint> {
  assertMayAsk(config, agent);
  // Imported only here, because a request through a running proxy does not need it.
  const { startProxy } = await import('../../main.ts');
  const proxy = await startProxy(config, {
    log: plainLog(output),
    now,
    env,
    origin: atCommandLine(env),
    // Standard output is for the response.
    stdout: { write: (text, written) => process.stderr.write(text, written) },
    peerOwner: peerOwnerOfCommand,
    // A separate token keeps other programs from using the proxy.
    adapt: (it) => onOwnPort(it, agent === null ? it.proxy.authentication : 'required'),
  });
  try {
    const lease = agent === null ? null : await leaseForRequest(proxy.state, config, agent, now);
    return {
      ...proxy.address,
      userInfo: lease?.secret ?? '',
      recorded: (client) => seen(proxy.state, client),
      async close() {
        try {
          await lease?.revoke();
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

/** Returns the config of a proxy that serves one command. */
function onOwnPort(config: Config, authentication: Config['proxy']['authentication']): Config {
  const { listen } = config.admin;
  return {
    ...config,
    proxy: {
      ...config.proxy,
      listen: { host: '127.0.0.1', port: 0 },
      authentication,
      localCallers: 'same_user',
      transparent: null,
    },
    admin: { ...config.admin, listen: listen === null ? null : { ...listen, port: 0 } },
    workers: 1,
  };
}

async function seen(state: Pick<State, 'config' | 'grants'>, client: string): Promise<Recorded | null> {
  return recordedBy(client, { file: state.config.audit.file, grants: await state.grants.list() });
}
