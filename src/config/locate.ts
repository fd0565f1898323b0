import { existsSync } from 'node:fs';
import { isAbsolute, join, resolve, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { obstacleOf, SidekeyError, systemCode } from '../lib/errors.ts';
import { createFile, makeFolder } from '../lib/os.ts';
import { embeddedText, packageText, shippedFile } from '../lib/package-files.ts';
import { replaceScalar } from './yaml-splice.ts';

/** Location of the config file, and its origin. */
export interface ConfigLocation {
  /** Absolute. */
  readonly file: string;
  /** `option` and `environment` name an existing file; `home` and `default` may be created. */
  readonly origin: 'option' | 'environment' | 'home' | 'default';
  /**
   * For `default`: the folder of the store, the key, the CA and the audit file. Null: state paths are
   * relative to the config file.
   */
  readonly state: string | null;
}

/** Options that determine the location. */
interface LocateOptions {
  /** `--config FILE`. */
  readonly option?: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Default: that of this process. */
  readonly platform?: NodeJS.Platform;
}

/**
 * Finds the config file: `--config`, else `SIDEKEY_CONFIG`, else below `SIDEKEY_HOME`, else at the XDG paths
 * or in AppData (Windows). Only the first applicable source is used, so that a mistyped name never selects
 * another configuration. The program's folder is never searched.
 *
 * @throws SidekeyError `config_missing` if the environment names no home folder.
 */
export function locateConfig(options: LocateOptions): ConfigLocation {
  const { option, env, cwd, platform = process.platform } = options;
  const at = (file: string): string => resolve(cwd, file);
  if (option !== undefined) return { file: at(option), origin: 'option', state: null };
  if (env['SIDEKEY_CONFIG']) return { file: at(env['SIDEKEY_CONFIG']), origin: 'environment', state: null };
  if (env['SIDEKEY_HOME'])
    return { file: join(at(env['SIDEKEY_HOME']), 'config', 'sidekey.yaml'), origin: 'home', state: null };
  const isWindows = platform === 'win32';
  const config = isWindows
    ? folderOf(env, 'APPDATA', join('AppData', 'Roaming'))
    : folderOf(env, 'XDG_CONFIG_HOME', '.config');
  const state = isWindows
    ? folderOf(env, 'LOCALAPPDATA', join('AppData', 'Local'))
    : folderOf(env, 'XDG_STATE_HOME', join('.local', 'state'));
  return { file: join(config, 'sidekey', 'sidekey.yaml'), origin: 'default', state: join(state, 'sidekey') };
}

/** The folder that a variable names. A relative path is ignored (XDG Base Directory Specification 0.8). */
function folderOf(env: NodeJS.ProcessEnv, name: string, fallback: string): string {
  const named = env[name];
  if (named !== undefined && isAbsolute(named)) return named;
  const home = env['HOME'] || env['USERPROFILE'];
  if (home !== undefined && isAbsolute(home)) return join(home, fallback);
  throw new SidekeyError('config_missing', 'Nothing says where the config file is: HOME is not set.', {
    hint: 'set SIDEKEY_HOME to a folder for the configuration and its state, or give --config FILE',
  });
}

/** Reports whether the file is missing at a path where Sidekey creates it. */
export function isToBeMade({ file, origin }: ConfigLocation): boolean {
  return (origin === 'home' || origin === 'default') && !existsSync(file);
}

/**
 * Creates a missing config file at a default path from the template: folders 0700, file 0600. Never changes
 * an existing file, even one created concurrently.
 *
 * @returns whether a file was created
 * @throws SidekeyError `file_unwritable`, and as `defaultConfigText`
 */
export async function ensureConfig(location: ConfigLocation, env: NodeJS.ProcessEnv): Promise<boolean> {
  if (!isToBeMade(location)) return false;
  const { file, state } = location;
  const text = defaultConfigText(location, env);
  try {
    if (state !== null) makeFolder(state, 0o700);
    return await createFile(file, text, 0o600);
  } catch (cause) {
    throw new SidekeyError(
      'file_unwritable',
      `The config file ${file} cannot be made (${obstacleOf(cause)?.why ?? systemCode(cause)}).`,
      { hint: 'make its folder writable, or set SIDEKEY_HOME to one that is', cause },
    );
  }
}

/** Variables that set a key of a new config file, and their values; the first one is the default. */
const creationVariables = {
  SIDEKEY_UNMATCHED: ['proxy.unmatched', 'tunnel', 'deny'],
  SIDEKEY_LOCAL_CALLERS: ['proxy.local_callers', 'same_user', 'any'],
} as const;

/**
 * Returns the template as the text of a new config file. The image sets the variables, so they have no effect
 * on an existing file.
 *
 * @throws SidekeyError `input_invalid` if a variable has another value
 */
export function defaultConfigText({ state }: Pick<ConfigLocation, 'state'>, env: NodeJS.ProcessEnv): string {
  const chosen = Object.entries(creationVariables).map(([name, [path, normal, other]]) => {
    const value = env[name] || normal;
    if (value === normal || value === other) return [path, value] as const;
    throw new SidekeyError('input_invalid', `${name} is neither ${other} nor ${normal}.`, {
      hint: `unset it, or set it to ${other} or ${normal}`,
    });
  });
  const schema = shippedFile('sidekey.schema.json');
  const template = packageText(shippedFile('default.yaml'));
  // An editor cannot read a schema inside of the executable.
  const text =
    embeddedText(schema) === null
      ? template.replace('$schema=sidekey.schema.json', () => `$schema=${pathToFileURL(schema).href}`)
      : template.replace(/^.*\$schema=.*\n/m, '');
  const values = {
    ...Object.fromEntries(chosen),
    ...(state === null
      ? {}
      : {
          store: `sqlite:${join(state, 'data', 'sidekey.db')}`,
          'key.path': join(state, 'data', 'master.key'),
          'ca.directory': join(state, 'certs'),
          'audit.file': join(state, 'data', 'audit.jsonl'),
        }),
  };
  const edited = Object.entries(values).reduce(
    (all, [path, value]) => replaceScalar(all, path.split('.'), value),
    text,
  );
  // The examples in comments name the same files.
  return state === null ? edited : edited.replaceAll('../data/', () => `${join(state, 'data')}${sep}`);
}

/** Shell syntax that is not supported, because no shell runs. */
const shellSyntax = /[|&;<>()$`]/;

/**
 * Splits a command line into words like a shell, without expansions: `'…'` is literal; a backslash escapes
 * `"` and `\` in `"…"`, and any character outside quotes. Text that a shell would expand is a problem.
 */
export function splitCommandLine(text: string): readonly string[] | { readonly problem: string } {
  const words: string[] = [];
  let word: string | null = null;
  let quote: "'" | '"' | null = null;
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charAt(at);
    const next = text.charAt(at + 1);
    if (quote === "'") {
      if (character === quote) quote = null;
      else word = (word ?? '') + character;
    } else if (character === '\\') {
      if (next === '') return { problem: 'ends in a backslash' };
      // POSIX: between double quotes a backslash is kept if it escapes nothing.
      word = (word ?? '') + (quote === '"' && !/["\\]/.test(next) ? character + next : next);
      at += 1;
    } else if (character === quote) {
      quote = null;
    } else if (shellSyntax.test(character) && !(quote === '"' && !/[$`]/.test(character))) {
      return { problem: `has a ${character} for a shell; there is none: quote it, or call sh -c '…'` };
    } else if (quote === null && (character === "'" || character === '"')) {
      quote = character;
      word ??= '';
    } else if (quote === null && /\s/.test(character)) {
      if (word !== null) words.push(word);
      word = null;
    } else {
      word = (word ?? '') + character;
    }
  }
  if (quote !== null) return { problem: 'has a quote that is not closed' };
  if (word !== null) words.push(word);
  return words.length === 0 ? { problem: 'names no command' } : words;
}
