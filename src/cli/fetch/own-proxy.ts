import type { Config } from '../../config/config.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { isOwnUser } from '../../lib/peer-user.ts';
import { type Proxy, startProxy } from '../../main.ts';
import { atCommandLine, type Context, plainLog } from '../context.ts';
import { leaseForRequest, type Recorded, recordedBy, type Way } from './send.ts';

/**
 * A proxy inside this process, for this command: its own port on this machine, the config's map, rules, store and audit
 * file. Whatever listens on the config's own port is not asked.
 *
 * @param agent as whom the command asks; null: as a caller without a token, where the config lets those in
 * @throws SidekeyError `agent_auth_required`, and what `startProxy` throws
 */
export async function ownProxy(
  { env, now, output }: Pick<Context, 'env' | 'now' | 'output'>,
  config: Config,
  agent: string | null,
): Promise<Way> {
  if (agent === null && config.proxy.agents === 'required') {
    throw new SidekeyError('agent_auth_required', 'This config serves known agents alone.', {
      hint: 'sidekey fetch --agent NAME URL',
    });
  }
  const proxy = await startProxy(config, {
    log: plainLog(output),
    now,
    env,
    origin: atCommandLine(env),
    // Standard output is for the answer.
    stdout: { write: (text, written) => process.stderr.write(text, written) },
    isTrustedPeer: isOwnUser,
    // Nobody but the command comes in where it has a token of its own.
    adapt: (it) => onOwnPort(it, agent === null ? it.proxy.agents : 'required'),
  });
  try {
    const lease = agent === null ? null : await leaseForRequest(proxy.state, config, agent, now);
    return {
      ...proxy.address,
      userInfo: lease?.secret ?? '',
      recorded: (client) => seen(proxy, client),
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

/** The config of a proxy that serves one command. */
function onOwnPort(config: Config, agents: Config['proxy']['agents']): Config {
  const { listen } = config.admin;
  return {
    ...config,
    proxy: { ...config.proxy, listen: { host: '127.0.0.1', port: 0 }, agents },
    admin: { ...config.admin, listen: listen === null ? null : { ...listen, port: 0 } },
    workers: 1,
  };
}

async function seen(proxy: Proxy, client: string): Promise<Recorded | null> {
  const { state } = proxy;
  return recordedBy(client, { file: state.config.audit.file, grants: await state.grants.list() });
}
