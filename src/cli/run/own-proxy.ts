import { attributed } from '../../audit/attributed.ts';
import { systemTimers } from '../../grants/timers.ts';
import type { Log } from '../../log.ts';
import { isOwnUser } from '../../peer-user.ts';
import { startProxy } from '../../main.ts';
import { hashToken } from '../../proxy/agent.ts';
import { newSecret } from '../agent/token.ts';
import type { Context } from '../context.ts';
import { proxyUrl } from '../proxy-url.ts';
import { atCommandLine } from '../who.ts';
import { holdLease } from './held-lease.ts';
import { ownConfig, type OwnSettings } from './own-config.ts';
import { ensureRunAgent, runAgent } from './run-agent.ts';
import type { Way } from './way.ts';

/** Whose lease a command gets, and for what. */
export interface LeaseSettings {
  /** Null: the agent of `sidekey run`. */
  readonly agent: string | null;
  /** Null: whatever the agent reaches. */
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
): Promise<Way> {
  const agent = wanted.agent ?? runAgent;
  const secret = newSecret('lease');
  const origin = atCommandLine(env);
  const proxy = await startProxy(await loadConfig(), {
    log,
    now,
    env,
    origin,
    isNear: isOwnUser,
    adapt: (config) => ownConfig(config, own),
    // Some programs cannot be given credentials for a proxy by their environment.
    assumed: { agent, tokenHash: hashToken(secret) },
  });
  try {
    const state = { ...proxy.state, audit: attributed(proxy.state.audit, origin) };
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
