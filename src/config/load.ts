import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { SidekeyError } from '../errors.ts';
import { shellWord } from '../shell-word.ts';
import { isSystemError, systemCode } from '../system-error.ts';
import { loadCatalog } from './catalog.ts';
import type { Config } from './config.ts';
import { mostConfigBytes, parseConfigDocument, type Position } from './document.ts';
import { deepFreeze } from './frozen.ts';
import { configInvalid, describeProblem, displayName } from './problem.ts';
import { findSameKeys, resolveConfig } from './resolve.ts';
import { configSchema } from './schema.ts';
import { shippedFile } from './shipped.ts';
import { validate } from './validate.ts';

/** What a config file is read with. */
export interface LoadOptions {
  /** Where `env:` references look, when a secret is read. */
  readonly env: NodeJS.ProcessEnv;
  /** What file names in messages are relative to. Default: where the process is. */
  readonly cwd?: string | undefined;
  /** Folder of the built-in providers. Default: the shipped one. */
  readonly catalog?: string | undefined;
}

/**
 * Reads and checks a config file, wholly: either every line of it means something, or this rejects.
 *
 * @throws SidekeyError `config_missing` where there is no file; `config_invalid` with every problem, each with its
 * file, line and column; `listener_open` where other machines could use the proxy without a token.
 */
export async function loadConfig(file: string, options: LoadOptions): Promise<Config> {
  const path = resolve(options.cwd ?? process.cwd(), file);
  return parseConfig(await readConfigText(path, options), path, options);
}

/**
 * The same for a text that is to be, or was, the content of `file`.
 *
 * @throws as `loadConfig`
 */
export async function parseConfig(text: string, file: string, options: LoadOptions): Promise<Config> {
  const cwd = options.cwd ?? process.cwd();
  const path = resolve(cwd, file);
  const name = displayName(path, cwd);
  const document = parseConfigDocument(text);
  if (!document.readable) throw configInvalid(name, document.problems);
  const checked = validate(configSchema, document);
  const found = [...document.problems, ...findSameKeys(document)];
  if ('problems' in checked) throw configInvalid(name, [...found, ...checked.problems]);
  const catalog = await loadCatalog(options.catalog);
  const { config, problems } = resolveConfig(checked.value, {
    document,
    file: path,
    name,
    env: options.env,
    catalog,
  });
  if (found.length + problems.length > 0) throw configInvalid(name, [...found, ...problems]);
  refuseOpenListener(config, name, document.position(['proxy', 'listen']));
  return deepFreeze(config);
}

/**
 * The text of a config file.
 *
 * @throws SidekeyError `config_missing`, `config_invalid`
 */
export async function readConfigText(file: string, { cwd }: Pick<LoadOptions, 'cwd'> = {}): Promise<string> {
  const name = displayName(file, cwd ?? process.cwd());
  const bytes = await readBytes(file, name);
  if (bytes.length > mostConfigBytes) {
    throw configInvalid(name, [{ line: 1, column: 1, path: [], message: 'is larger than 1 MiB' }]);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw configInvalid(name, [{ line: 1, column: 1, path: [], message: 'is not UTF-8 text' }]);
  }
}

/** At most one byte more than a config file may have. */
async function readBytes(file: string, name: string): Promise<Buffer> {
  try {
    const handle = await open(file, 'r');
    try {
      const buffer = Buffer.alloc(mostConfigBytes + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
        length += bytesRead;
        if (bytesRead === 0 || length === buffer.length) return buffer.subarray(0, length);
      }
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (isSystemError(cause, 'ENOENT', 'ENOTDIR')) {
      throw new SidekeyError('config_missing', `There is no config file ${name}.`, {
        hint: `start from the shipped one: cp ${shellWord(shippedFile('sidekey.yaml'))} ${shellWord(file)}`,
        cause,
      });
    }
    throw new SidekeyError(
      'config_invalid',
      `The config file ${name} cannot be read (${systemCode(cause)}).`,
      {
        hint: `make ${name} a file that the user of this process can read`,
        cause,
      },
    );
  }
}

/** An open proxy that adds credentials hands them to whoever finds it. */
function refuseOpenListener({ proxy }: Config, name: string, position: Position): void {
  if (proxy.agents === 'required' || isLoopback(proxy.listen.host)) return;
  const message = `other machines can reach ${proxy.listen.host}, and proxy.agents is optional, so they would need no token`;
  throw new SidekeyError(
    'listener_open',
    describeProblem(name, { ...position, path: ['proxy', 'listen'], message }),
    {
      hint: 'set proxy.agents: required and make tokens with sidekey agent add NAME, or listen on 127.0.0.1',
    },
  );
}

/** RFC 1122 §3.2.1.3 (127/8), RFC 4291 §2.5.3 (::1). Every other way to write them counts as open. */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}
