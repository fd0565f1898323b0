import { z } from 'zod';
import type { Config } from '../config/config.ts';
import { assertSameMachineKeys, writeConfigAtomically } from '../config/edit.ts';
import { parseConfig, readConfigText } from '../config/load.ts';
import { displayName } from '../config/problem.ts';
import { storeName } from '../config/store-place.ts';
import { unifiedDiff } from '../lib/diff.ts';
import { SidekeyError } from '../lib/errors.ts';
import { parseCases, testCases, type Tested } from './config-cases.ts';
import { changing, reading, type Reading } from './operation.ts';

/** The config file. */

const written = z
  .strictObject({ file: z.string(), text: z.string() })
  .meta({ id: 'Config', description: 'The text of the config file. Secrets stand in it as references.' });

export const content = z.string().max(1_048_576, 'is longer than 1 MiB');

/** Member of the inputs of operations that decide by the config. */
export const draftText = content
  .optional()
  .describe('A text that could replace the config file, to decide by it. Requires config:write.');

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
  // Decisions by a text cost what its author chooses, as decisions by the config do.
  if (!caller.scopes.has('config:write'))
    throw new SidekeyError('scope_missing', `${caller.name} does not have the scope config:write.`);
  const draft = await parseConfig(text, config.file, { env: {} });
  assertSameMachineKeys(await readConfigText(config.file), text, config.file);
  return draft;
}

export const getConfig = reading({
  id: 'config.get',
  summary: 'Read the text of the config file.',
  scope: 'config:read',
  input: z.strictObject({}),
  output: written,
  run: async ({ config: { file } }) => ({ file, text: await readConfigText(file) }),
  answer: (read) => read,
});

export const putConfig = changing({
  id: 'config.put',
  summary: 'Replace the text of the config file, if it is valid. Requires If-Match.',
  scope: 'config:write',
  input: z.strictObject({ text: content, previous: z.string().describe('The text that was edited.') }),
  output: written,
  async run({ config: { file }, audit, env }, { text, previous }) {
    await parseConfig(text, file, { env });
    assertSameMachineKeys(previous, text, file);
    await audit.append({ event: 'config.changed' });
    await writeConfigAtomically(file, text, { env, previous });
    return { file, text };
  },
  answer: (read) => read,
});

export const checkConfig = reading({
  id: 'config.check',
  summary: 'Validate a text before it replaces the config file.',
  scope: 'config:read',
  input: z.strictObject({ text: content }),
  output: z.strictObject({ ok: z.literal(true), diff: z.string().describe('From the file to the text.') }),
  async run({ config: { file }, env }, { text }) {
    await parseConfig(text, file, { env });
    return { diff: unifiedDiff(await readConfigText(file), text, displayName(file)) };
  },
  answer: ({ diff }) => ({ ok: true as const, diff }),
});

export const testConfig = reading({
  id: 'config.test',
  summary:
    'Compare the decisions of the config with a list of requests and expected decisions (docs/rules.md).',
  scope: 'config:read',
  input: z.strictObject({ cases: content.describe('YAML.'), text: draftText }),
  output: z.looseObject({ passed: z.int(), failed: z.int() }),
  run: async (parts, { cases, text }, at) =>
    testCases(await draftConfig(parts, text), parseCases(cases, 'standard input', at)),
  answer(tested) {
    const passed = tested.filter((each) => each.passed).length;
    return { passed, failed: tested.length - passed, cases: tested.map(caseAnswer) };
  },
});

function caseAnswer({ of, decision, steps, got, passed }: Tested): object {
  return {
    line: of.line,
    request: of.request,
    passed,
    expected: { outcome: of.expect, rule: of.rule, code: of.code },
    got: { ...got, rule: decision.rule, rule_name: decision.ruleName, reason: decision.reason },
    steps,
  };
}

export const getPaths = reading({
  id: 'config.paths',
  summary: 'Show the paths of the config file, store, key, CA and audit log.',
  scope: 'config:read',
  input: z.strictObject({}),
  output: z.looseObject({ config: z.string() }),
  run: async ({ config }) => ({ file: config.file, places: placesOf(config) }),
  // A running proxy has its config file by name.
  answer: ({ file, places }) => ({ config: file, exists: true, origin: 'option', ...places }),
});

/** Returns where the store, the master key, the CA and the audit log are. */
export function placesOf({
  store,
  key,
  ca,
  audit,
}: Config): Readonly<Record<'store' | 'key' | 'ca' | 'audit', string>> {
  return { store: storeName(store), key: placeOfKey(key), ca: ca.directory, audit: audit.file };
}

function placeOfKey(key: Config['key']): string {
  if ('path' in key) return key.path;
  if (key.source === 'env') return `the environment variable ${key.name}`;
  return key.source === 'keyring' ? 'the keyring' : `the output of ${key.command[0]}`;
}
