import { SidekeyError } from '../../errors.ts';
import { jsonObject } from '../../oauth/json-object.ts';
import type { Context } from '../context.ts';
import { askProxy, type ProxyPlace } from './ask-proxy.ts';
import type { Recorded } from './recorded.ts';

/** The proxy that the requests of a command go through. */
export interface Way {
  readonly host: string;
  readonly port: number;
  /** `name:token`, both empty where the caller shows nothing. */
  readonly userInfo: string;
  /** What the record says of the last request of a client; null: it cannot be seen from here. */
  recorded(client: string): Promise<Recorded | null>;
  close(): Promise<void>;
}

/** Which proxy is wanted. */
export interface WayOptions {
  readonly agent?: string;
  readonly proxy?: string;
}

/**
 * The proxy that is named; else the one that the environment names, where it is a Sidekey; else one of the command's own.
 * An agent behind Sidekey asks with its own rights in this way, and not with those of whoever may read the store.
 *
 * @throws SidekeyError `input_invalid`, and as `ownProxy`
 */
export async function openWay(context: Context, { agent, proxy }: WayOptions): Promise<Way> {
  if (agent !== undefined && proxy !== undefined) {
    throw new SidekeyError('input_invalid', '--agent and --proxy are both given.', {
      hint: '--proxy http://NAME:TOKEN@HOST:PORT says who asks',
    });
  }
  if (proxy !== undefined) {
    const way = readProxy(proxy);
    if (way !== null) return way;
    throw new SidekeyError('input_invalid', '--proxy is no proxy on this machine.', {
      hint: '--proxy http://NAME:TOKEN@127.0.0.1:8377; for another machine use curl -x, which speaks TLS through it',
    });
  }
  const given = agent === undefined ? await fromEnvironment(context.env) : null;
  if (given !== null) return given;
  const [{ ownProxy }, config] = await Promise.all([import('./own-proxy.ts'), context.config()]);
  return ownProxy(context, config, agent ?? null);
}

/** Null: it is none that is asked in the clear. */
export function readProxy(text: string): Way | null {
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

/** The proxy to be asked, as whom. The selector goes where the user name ends. */
export function placeOf({ host, port, userInfo }: Way, user: string | null): ProxyPlace {
  const [name = '', ...rest] = userInfo.split(':');
  const who = `${name}${user === null ? '' : `+user=${user}`}:${rest.join(':')}`;
  return {
    host,
    port,
    authorization: who === ':' ? null : `Basic ${Buffer.from(who, 'utf8').toString('base64')}`,
  };
}

const variables = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'];

/** So long a proxy may take to say who it is. */
const patienceMs = 2_000;

async function fromEnvironment(env: NodeJS.ProcessEnv): Promise<Way | null> {
  const text = variables.map((name) => env[name]).find((value) => value !== undefined && value !== '');
  const way = text === undefined ? null : readProxy(text);
  return way !== null && (await isSidekey(placeOf(way, null))) ? way : null;
}

/** Only Sidekey answers so to its own name; one that does not know the caller refuses in its own way. */
async function isSidekey(place: ProxyPlace): Promise<boolean> {
  const hop = { method: 'GET', url: 'http://sidekey.internal/index.json', fields: [], body: null };
  const signal = AbortSignal.timeout(patienceMs);
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
