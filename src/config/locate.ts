import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { link, mkdir, open, readFile, unlink } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SidekeyError, systemCode } from '../lib/errors.ts';
import { replaceScalar } from './yaml-splice.ts';

/** Where the config file is, and who said so. */
export interface ConfigLocation {
  /** Absolute. */
  readonly file: string;
  /** `option` and `environment` name a file that must be there; `home` and `xdg` may still have to be made. */
  readonly origin: 'option' | 'environment' | 'checkout' | 'home' | 'xdg';
  /**
   * For `xdg`: the folder of the store, the key, the CA and the audit file, which is another than the config's.
   * Null: state lies where the file says, relative to it.
   */
  readonly state: string | null;
}

/** What says where the config file is. */
export interface LocateOptions {
  /** `--config FILE`. */
  readonly option?: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** The package that the program is part of. */
  readonly packageRoot: string;
  /** Reports whether there is a file; the file system's answer unless a test gives another. */
  readonly exists?: (file: string) => boolean;
}

/**
 * Finds the config file: `--config`, else `SIDEKEY_CONFIG`, else the checkout's own, else below `SIDEKEY_HOME`, else
 * the XDG places. The first that applies counts; there is no falling back from one to the next, because a mistyped
 * name would then run another configuration.
 *
 * @throws SidekeyError `config_missing` where the environment does not even say where home is.
 */
export function locateConfig(options: LocateOptions): ConfigLocation {
  const { option, env, cwd, packageRoot, exists = existsSync } = options;
  const at = (file: string): string => resolve(cwd, file);
  if (option !== undefined) return { file: at(option), origin: 'option', state: null };
  if (env['SIDEKEY_CONFIG']) return { file: at(env['SIDEKEY_CONFIG']), origin: 'environment', state: null };
  const own = join(packageRoot, 'config', 'sidekey.yaml');
  if (isCheckout(packageRoot, exists) && exists(own)) return { file: own, origin: 'checkout', state: null };
  if (env['SIDEKEY_HOME']) {
    return { file: join(at(env['SIDEKEY_HOME']), 'config', 'sidekey.yaml'), origin: 'home', state: null };
  }
  return {
    file: join(xdg(env, 'XDG_CONFIG_HOME', '.config'), 'sidekey', 'sidekey.yaml'),
    origin: 'xdg',
    state: join(xdg(env, 'XDG_STATE_HOME', join('.local', 'state')), 'sidekey'),
  };
}

/** Sources, and not what was built and installed from them: a container image has the shipped config too, read-only. */
function isCheckout(packageRoot: string, exists: (file: string) => boolean): boolean {
  const isInstalled = resolve(packageRoot).split(sep).includes('node_modules');
  return !isInstalled && exists(join(packageRoot, 'src', 'cli', 'index.ts'));
}

/** XDG Base Directory Specification 0.8: a path that is not absolute is to be ignored. */
function xdg(env: NodeJS.ProcessEnv, name: string, fallback: string): string {
  const named = env[name];
  if (named !== undefined && isAbsolute(named)) return named;
  const home = env['HOME'] || env['USERPROFILE'];
  if (home !== undefined && isAbsolute(home)) return join(home, fallback);
  throw new SidekeyError('config_missing', 'Nothing says where the config file is: HOME is not set.', {
    hint: 'set SIDEKEY_HOME to a folder for the configuration and its state, or give --config FILE',
  });
}

/**
 * Makes the config file where it is to be made by us and is not there: the shipped default, folders 0700, file 0600.
 * A file that is there is never touched, not even one that appears at the same moment.
 *
 * @returns whether a file was made
 * @throws SidekeyError `file_unwritable`
 */
export async function ensureConfig({ file, origin, state }: ConfigLocation): Promise<boolean> {
  if ((origin !== 'home' && origin !== 'xdg') || existsSync(file)) return false;
  const text = defaultConfigText(await readFile(shippedFile('sidekey.yaml'), 'utf8'), state);
  const temporary = join(dirname(file), `.sidekey.yaml.${randomUUID()}`);
  try {
    for (const folder of [dirname(file), state]) {
      if (folder !== null) await mkdir(folder, { recursive: true, mode: 0o700 });
    }
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // A link, unlike a rename, fails where the name is taken.
    return await link(temporary, file).then(
      () => true,
      (cause: NodeJS.ErrnoException) => {
        if (cause.code === 'EEXIST') return false;
        throw cause;
      },
    );
  } catch (cause) {
    throw new SidekeyError(
      'file_unwritable',
      `The config file ${file} cannot be made (${systemCode(cause)}).`,
      {
        hint: 'make its folder writable, or set SIDEKEY_HOME to one that is',
        cause,
      },
    );
  } finally {
    await unlink(temporary).catch(() => undefined);
  }
}

/**
 * The shipped text for another place: without the line that names the schema beside it, and with state in `state`
 * where that is given.
 */
export function defaultConfigText(shipped: string, state: string | null): string {
  const text = shipped.replace(/^# yaml-language-server:.*\n#?\n?/, '');
  if (state === null) return text;
  return Object.entries({
    store: `sqlite:${join(state, 'data', 'sidekey.db')}`,
    'key.path': join(state, 'data', 'master.key'),
    'ca.directory': join(state, 'certs'),
    'audit.file': join(state, 'data', 'audit.jsonl'),
  }).reduce((edited, [path, value]) => replaceScalar(edited, path.split('.'), value), text);
}

/** What a shell would act on and what is not run here: there is no shell. */
const shellSyntax = /[|&;<>()$`]/;

/**
 * Splits a command line into its words the way a shell splits words, and does nothing else that a shell does:
 * `'…'` is literal, in `"…"` a backslash escapes `"` and `\`, outside of quotes it escapes any one character.
 * Text that a shell would expand or act on is a problem, not a surprise.
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
      // POSIX: between double quotes a backslash stays where it escapes nothing.
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

/**
 * The package that this program is part of: what holds `config/`. The way up is the same from `src/` and from `dist/`.
 */
export const packageRoot: string = fileURLToPath(new URL('../..', import.meta.url));

/** The program's door, in the sources as in what was compiled of them. */
export const door: string = fileURLToPath(new URL('../sidekey.js', import.meta.url));

/** Where a file of the package's `config/` folder is. */
export function shippedFile(name: string): string {
  return fileURLToPath(new URL(`../../config/${name}`, import.meta.url));
}
