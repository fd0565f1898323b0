import { onOwnPort } from '../../app/adapted-config.ts';
import type { Config } from '../../config/config.ts';
import { jsonObject } from '../../grants/oauth/http.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { peerOwnerOfCommand } from '../../lib/os.ts';
import { placeOf, type ProxyAddress } from '../../operations/proxied-request.ts';
import { assertMayAsk, leaseForRequest, type Recorded, recordedBy } from '../../operations/request-rights.ts';
import { askProxy, type ProxyPlace } from '../../proxy/upstream/through-proxy.ts';
import { assertOutsideRun, atCommandLine, type Context, plainLog } from '../context.ts';

/** The proxy that the requests of a command go through. */
export interface ProxyEndpoint extends ProxyAddress {
  /** Audit record of a client's last request; null: this process cannot read the proxy's audit log. */
  recorded(client: string): Promise<Recorded | null>;
  close(): Promise<void>;
}

/**
 * Returns the named proxy; else that of the environment, if it is a Sidekey; else a new one. So an agent
 * behind Sidekey uses its own rights, not a store reader's.
 *
 * @param namesGrant true if requests may name a grant, which only a Sidekey reads
 * @throws SidekeyError `input_invalid`, and as `ownProxy`
 */
export async function openEndpoint(
  context: Context,
  { agent, proxy }: { readonly agent?: string; readonly proxy?: string },
  namesGrant: boolean,
): Promise<ProxyEndpoint> {
  if (agent !== undefined && proxy !== undefined) {
    throw new SidekeyError('input_invalid', '--agent and --proxy are both given.', {
      hint: '--proxy http://NAME:TOKEN@HOST:PORT says who asks',
    });
  }
  if (proxy !== undefined) {
    const endpoint = readProxy(proxy);
    if (endpoint === null)
      throw new SidekeyError('input_invalid', '--proxy is not a proxy on this machine.', {
        hint: '--proxy http://NAME:TOKEN@127.0.0.1:8377; for another machine use curl -x, which speaks TLS through it',
      });
    if (!namesGrant) return endpoint;
    // The request itself reports a proxy that does not answer.
    const asked = isSidekey(placeOf(endpoint, null)).catch((error: unknown) => error instanceof SidekeyError);
    if (await asked) return endpoint;
    throw new SidekeyError('input_invalid', 'The proxy of --proxy is not a Sidekey, and reads no grant.', {
      hint: 'leave --proxy out, or give the address of a Sidekey: --proxy http://NAME:TOKEN@127.0.0.1:8377',
    });
  }
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

const variables = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'];

/** Milliseconds that a proxy has to identify itself. */
const timeoutMs = 2_000;

async function fromEnvironment(env: NodeJS.ProcessEnv): Promise<ProxyEndpoint | null> {
  const text = variables.map((name) => env[name]).find((value) => value !== undefined && value !== '');
  const endpoint = text === undefined ? null : readProxy(text);
  return endpoint !== null && (await isSidekey(placeOf(endpoint, null)).catch(() => false)) ? endpoint : null;
}

/**
 * Reports whether the proxy serves `sidekey.internal`. Unknown callers get Sidekey's own error field.
 *
 * @throws SidekeyError `upstream_unreachable`; `signal`'s reason
 */
async function isSidekey(place: ProxyPlace): Promise<boolean> {
  const hop = { method: 'GET', url: 'http://sidekey.internal/index.json', fields: [], body: null };
  const { response, status } = await askProxy(place, hop, AbortSignal.timeout(timeoutMs));
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  if (response.headers['sidekey-error'] !== undefined) return true;
  return status === 200 && jsonObject(Buffer.concat(chunks).toString('utf8'))?.['sidekey'] === 1;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
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
  const { startProxy } = await import('../../app/proxy.ts');
  const proxy = await startProxy(config, {
    log: plainLog(output),
    now,
    env,
    origin: atCommandLine(env),
    // Standard output is for the response.
    stdout: { write: (text, written) => process.stderr.write(text, written) },
    peerOwner: peerOwnerOfCommand,
    // A separate token keeps other programs from using the proxy.
    adapt: (it) => {
      const own = onOwnPort(it);
      const { listen } = it.admin;
      return {
        ...own,
        proxy: { ...own.proxy, authentication: agent === null ? it.proxy.authentication : 'required' },
        admin: { ...it.admin, listen: listen && { ...listen, port: 0 } },
      };
    },
  });
  try {
    const lease = agent === null ? null : await leaseForRequest({ ...proxy.state, config }, agent, now);
    return {
      ...proxy.address,
      userInfo: lease?.secret ?? '',
      recorded: (client) => recordedBy(client, proxy.state),
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
