import { z } from 'zod';
import type { Config } from '../config/config.ts';
import { assertSameMachineKeys } from '../config/edit.ts';
import { parseConfig, readConfigText } from '../config/load.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Reading } from './operation.ts';

/** Texts that could replace the config file. */

export const content = z.string().max(1_048_576, 'is longer than 1 MiB');

/** Member of the inputs of operations that decide by the config. */
export const draftText = content
  .optional()
  .describe('A text that could replace the config file, to decide by it. Requires config:read.');

/**
 * Returns the config of a text that the caller could write through the API. Reads no secret that it names.
 *
 * @param text undefined: the current config
 * @throws SidekeyError `scope_missing`, `config_invalid`; `config_protected` as `assertSameMachineKeys`
 */
export async function draftConfig(
  { config, caller }: Pick<Reading, 'config' | 'caller'>,
  text: string | undefined,
): Promise<Config> {
  if (text === undefined) return config;
  if (!caller.scopes.has('config:read'))
    throw new SidekeyError('scope_missing', `${caller.name} does not have the scope config:read.`);
  const draft = await parseConfig(text, config.file, { env: {} });
  assertSameMachineKeys(await readConfigText(config.file), text, config.file);
  return draft;
}
