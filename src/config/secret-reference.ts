import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { inputInvalid, isSystemError, SidekeyError, systemCode } from '../lib/errors.ts';
import { programFailure, runBounded } from '../lib/programs.ts';
import { shellWord } from '../lib/text.ts';
import { splitCommandLine } from './locate.ts';
import { readRegularFile } from './reload.ts';

export type SecretReference =
  | { readonly kind: 'env'; readonly name: string }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'command'; readonly argv: readonly string[] };

/** Reason why a text is no reference, as the end of a sentence. Omits the text: it may be a secret. */
interface ReferenceProblem {
  readonly problem: string;
}

const forms = 'write env:NAME, file:PATH or command:…, never the secret itself';

/** Name of an environment variable, as shells take it (POSIX.1-2024, XBD 3.216). */
export const environmentName = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Parses `env:NAME`, `file:PATH` or `command:WORDS…`. `~/` is the home folder. Rejects literal secrets,
 * because config files are shared.
 */
export function parseSecretReference(text: string): SecretReference | ReferenceProblem {
  const [, kind, rest = ''] = /^(env|file|command):(.*)$/s.exec(text) ?? [];
  if (/\p{Cc}/u.test(rest)) return { problem: 'has a control character' };
  switch (kind) {
    case 'env':
      return environmentName.test(rest)
        ? { kind, name: rest }
        : { problem: 'has no name of an environment variable after env:' };
    case 'file':
      if (rest === '') return { problem: 'has no path after file:' };
      return { kind, path: rest.startsWith('~/') ? join(homedir(), rest.slice(2)) : rest };
    case 'command': {
      const argv = splitCommandLine(rest);
      return 'problem' in argv ? argv : { kind, argv };
    }
    default:
      return { problem: `is not a reference to a secret; ${forms}` };
  }
}

/** Reports whether `parseSecretReference` answered with a reference. */
export function isReference(parsed: SecretReference | ReferenceProblem): parsed is SecretReference {
  return !('problem' in parsed);
}

/**
 * Returns the reference that an option of a command gives.
 * @throws SidekeyError `input_invalid`, which does not repeat the text
 */
export function referenceOption(option: string, text: string): SecretReference {
  const reference = parseSecretReference(text);
  if (isReference(reference)) return reference;
  throw new SidekeyError('input_invalid', `${option} ${reference.problem}.`, {
    hint: `name the place of the secret: ${option} env:NAME, file:PATH or command:…`,
  });
}

/**
 * Reads the secret of a grant's reference (`file:`, `env:`, `command:`).
 *
 * @throws SidekeyError as `readSecret`; `input_invalid` if it is not a reference
 */
export async function readReference(text: string, options: ReadSecretOptions): Promise<string> {
  const reference = parseSecretReference(text);
  if (isReference(reference)) return readSecret(reference, options);
  throw new SidekeyError('input_invalid', `The secret reference of the grant ${reference.problem}.`, {
    hint: 'connect the grant again, with file:PATH, env:NAME or command:… as the reference',
  });
}

export interface ReadSecretOptions {
  readonly env: NodeJS.ProcessEnv;
  /** Base of relative paths, and working directory of commands: the folder of the config file. */
  readonly cwd: string;
  /** Position of the reference, for messages: `config/sidekey.yaml:12:20: providers.acme.client_secret`. */
  readonly where?: string | undefined;
  /** Time-out of a command in milliseconds. Default: 10 s. */
  readonly timeoutMs?: number | undefined;
  /** True: a running proxy checks if it can read the secret. Commands count as readable: they may prompt. */
  readonly isTrial?: boolean | undefined;
}

/** Maximum length of a secret. */
const mostBytes = 65_536;

/**
 * Reads the secret of a reference. Removes one newline at the end of a file, and white space around the
 * output of a command.
 *
 * @throws SidekeyError `secret_missing` if there is none, `permissions_unsafe` if other users can read the
 * file, `input_invalid` if the value is too long or has control characters, which could split a header.
 */
export async function readSecret(reference: SecretReference, options: ReadSecretOptions): Promise<string> {
  const say = (what: string): string => {
    const where = options.where === undefined ? '' : `${options.where}: `;
    return `${where}${describeReference(reference)} ${what}.`;
  };
  const value = await read(reference, options, say);
  if (value === '')
    throw new SidekeyError('secret_missing', say('is empty'), { hint: 'it is empty: put the secret there' });
  if (/\p{Cc}/u.test(value)) {
    throw new SidekeyError('input_invalid', say('holds a control character, such as a line break'), {
      hint: 'a secret is one line of text; check how it was put there',
    });
  }
  return value;
}

/**
 * Formats the reference for messages; of a command only the program, because its arguments may contain
 * secrets.
 */
function describeReference(reference: SecretReference): string {
  switch (reference.kind) {
    case 'env':
      return `env:${reference.name}`;
    case 'file':
      return `file:${reference.path}`;
    case 'command':
      return `command:${reference.argv[0] ?? ''}`;
  }
}

type Say = (what: string) => string;

async function read(reference: SecretReference, options: ReadSecretOptions, say: Say): Promise<string> {
  switch (reference.kind) {
    case 'env': {
      const value = options.env[reference.name];
      if (value === undefined) {
        const where =
          options.isTrial === true ? 'of the proxy, and start it again' : 'that Sidekey starts in';
        throw new SidekeyError('secret_missing', say('is not set'), {
          hint: `set ${reference.name} in the environment ${where}`,
        });
      }
      return value;
    }
    case 'file':
      return decode(readSecretFile(resolve(options.cwd, reference.path), say), say).replace(/\r?\n$/, '');
    case 'command':
      if (options.isTrial === true) return 'not run';
      return decode(await runSecretCommand(reference.argv, options, say), say).trim();
  }
}

/**
 * Reads a file with a secret.
 *
 * @throws SidekeyError `secret_missing`, `permissions_unsafe`, `input_invalid`
 */
export function readSecretFile(path: string, say: Say): Buffer {
  let content: ReturnType<typeof readRegularFile>;
  try {
    content = readRegularFile(path, mostBytes);
  } catch (cause) {
    throw new SidekeyError('secret_missing', say(`cannot be read (${systemCode(cause)})`), {
      hint: isSystemError(cause, 'ENOENT', 'ENOTDIR')
        ? `write the secret to ${path} and run: chmod 600 ${shellWord(path)}`
        : `let the user that runs Sidekey read ${path}`,
      cause,
    });
  }
  if (content === null)
    throw new SidekeyError('secret_missing', say('is not a file'), { hint: 'name a file after file:' });
  // Windows has no file modes.
  if (process.platform !== 'win32' && (content.mode & 0o007) !== 0) {
    throw new SidekeyError('permissions_unsafe', say('is open to every user of this machine'), {
      hint: `run: chmod 600 ${shellWord(path)}`,
    });
  }
  if (content.bytes.length > mostBytes) throw tooLong(say);
  return content.bytes;
}

/** Runs the command; discards its stderr. */
async function runSecretCommand(
  argv: readonly string[],
  { cwd, env, timeoutMs = 10_000 }: ReadSecretOptions,
  say: Say,
): Promise<Buffer> {
  const end = await runBounded({ argv, cwd, env, timeoutMs, maxBytes: mostBytes });
  if (end.kind === 'too_long') throw tooLong(say);
  if (end.kind === 'ended' && end.code === 0) return end.output;
  throw new SidekeyError('secret_missing', say(programFailure(end, timeoutMs)), {
    hint: 'run the command by hand, as the user that runs Sidekey: it must print the secret and end',
  });
}

function decode(bytes: Buffer, say: Say): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw inputInvalid(say('is not UTF-8 text'), 'a secret is one line of text; check how it was put there');
  }
}

function tooLong(say: Say): SidekeyError {
  return new SidekeyError('input_invalid', say(`is longer than ${mostBytes} bytes`), {
    hint: 'check that the reference names the secret and nothing else',
  });
}
