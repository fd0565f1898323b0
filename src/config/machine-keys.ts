import { isDeepStrictEqual } from 'node:util';
import { SidekeyError } from '../lib/errors.ts';
import { parseConfigDocument } from './document.ts';
import { comparable, markedValues } from './marks.ts';
import { formatPath } from './problem.ts';
import { configSchema } from './schema.ts';

/**
 * Refuses a text of the config with a new or changed value of a marked key. A removal passes, unless a default takes the place
 * of the value. Values are compared, so that it makes no difference how YAML writes them.
 *
 * @throws SidekeyError `config_protected`
 */
export function assertSameMachineKeys(previous: string, text: string, file: string): void {
  const before = valuesOf(previous).map(comparable);
  const changed = valuesOf(text).find(
    (value) => !before.some((each) => isDeepStrictEqual(each, comparable(value))),
  );
  if (changed === undefined) return;
  throw new SidekeyError(
    'config_protected',
    `The API cannot change ${formatPath(changed.path)}: such a key makes the machine run, open or read something, or send a secret.`,
    { hint: `edit ${file} on its machine: sidekey config edit` },
  );
}

function valuesOf(text: string): ReturnType<typeof markedValues> {
  return markedValues(configSchema, parseConfigDocument(text).value, []);
}
