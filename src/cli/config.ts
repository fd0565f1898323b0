import { existsSync, readFileSync } from 'node:fs';
import { openUpstreamClient } from '../app/wiring.ts';
import type { Config } from '../config/config.ts';
import { loadConfig, parseConfig } from '../config/load.ts';
import { type ConfigLocation, defaultConfigText, shippedFile } from '../config/locate.ts';
import type { UpstreamClient } from '../upstream/client.ts';

/**
 * The config of a place; where the program would make the file on a first run and has not yet, what it would say then.
 * Makes nothing.
 *
 * @throws SidekeyError as `loadConfig`
 */
export async function loadDefaultOr(
  { file, origin, state }: ConfigLocation,
  env: NodeJS.ProcessEnv,
): Promise<Config> {
  const isOurs = origin === 'home' || origin === 'xdg';
  if (!isOurs || existsSync(file)) return loadConfig(file, { env });
  return parseConfig(defaultConfigText(readFileSync(shippedFile('sidekey.yaml'), 'utf8'), state), file, {
    env,
  });
}

/**
 * Gives a command the way out, through the dial guard, and closes it whatever happens. No proxy listens in this process,
 * so no port is its own.
 */
export async function withUpstreamClient<T>(
  config: Pick<Config, 'file' | 'upstream' | 'limits'>,
  env: NodeJS.ProcessEnv,
  use: (upstream: UpstreamClient) => Promise<T>,
): Promise<T> {
  const upstream = await openUpstreamClient(config, { env, ownPorts: () => [] });
  try {
    return await use(upstream);
  } finally {
    await upstream.close();
  }
}
