import { existsSync, readFileSync } from 'node:fs';
import type { Config } from '../config/config.ts';
import { loadConfig, parseConfig } from '../config/load.ts';
import { defaultConfigText, type ConfigLocation } from '../config/locate.ts';
import { shippedFile } from '../config/shipped.ts';

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
