import { dirname } from 'node:path';
import { openState, openView } from '../../app/state.ts';
import type { CertificateAuthority } from '../../ca/authority.ts';
import type { Config } from '../../config/config.ts';
import { isReference, parseSecretReference, readSecret } from '../../config/secret-reference.ts';
import { SidekeyError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { systemTimers } from '../../lib/timers.ts';
import { newSecret } from '../agent/add.ts';
import { ensureRunAgent, runAgent } from '../agent/bindings.ts';
import { openCa } from '../ca.ts';
import { atCommandLine, type Context } from '../context.ts';
import { proxyUrl } from '../format.ts';
import { askHealth } from '../status/finding.ts';
import { holdLease } from './lease.ts';
import type { LeaseSettings, Way } from './own-proxy.ts';

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
      hint: 'put the URL into a variable, and name that: --proxy env:SIDEKEY_PROXY',
    },
  );
}

function placeOf(text: string): ProxyPlace {
  const url = URL.parse(text);
  if (url === null || url.protocol !== 'http:' || url.pathname !== '/' || url.search + url.hash !== '') {
    throw new SidekeyError('input_invalid', 'What --proxy names is no URL of a proxy.', {
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
): Promise<Way> {
  await assertServes({ host, port });
  const config = await loadConfig();
  const authority = await authorityOf(config, now);
  const way = { authorityPem: authority.certificatePem, config: () => config, node: null };
  if (userInfo !== null) {
    const url = proxyUrl({ host, port }, userInfo);
    return { ...way, proxy: { host, port, url }, lease: null, close: async () => {} };
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
      ...way,
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
