import { hash } from 'node:crypto';
import { dirname, join, resolve } from 'node:path';
import { isSystemError, SidekeyError, systemCode } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { assertUnexposed } from '../lib/exposed.ts';
import { shellWord } from '../lib/text.ts';
import { openCatalog } from './catalog.ts';
import { maxConfigBytes, parseConfigDocument, type Position } from './document.ts';
import { embeddedText, shippedFile } from '../lib/package-files.ts';
import { configInvalid, deepFreeze, describeProblem, displayName } from './problem.ts';
import { readRegularFile } from './reload.ts';
import { type Config, findOwnHost, findSameKeys, resolveConfig } from './config.ts';
import { isLoopbackListen } from './scalar.ts';
import { configSchema } from './schema.ts';
import { validate } from './validate.ts';

/** Options for reading a config file. */
export interface LoadOptions {
  /** Variables for `env:` references, when a secret is read. */
  readonly env: NodeJS.ProcessEnv;
  /** Base of file names in messages. Default: the working directory. */
  readonly cwd?: string | undefined;
  /**
   * Folder of the built-in providers. Default: the shipped one. Definitions in `providers` beside the config
   * file override them.
   */
  readonly catalog?: string | undefined;
}

/**
 * Reads and validates a config file completely.
 *
 * @throws SidekeyError `config_missing` if there is no file; `config_invalid` with every problem, each with
 * its file, line and column; `listener_open` if other machines could use the proxy without a token;
 * `permissions_unsafe` if another user can change the file.
 */
export async function loadConfig(file: string, options: LoadOptions): Promise<Config> {
  const path = resolve(options.cwd ?? process.cwd(), file);
  return parseConfig(await readConfigText(path, options), path, options);
}

/**
 * Validates a text as the content of `file`.
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
  const inText = [...document.problems, ...findSameKeys(document), ...findOwnHost(document)];
  if ('problems' in checked) throw configInvalid(name, [...inText, ...checked.problems]);
  const catalog = await openCatalog({ shipped: options.catalog, own: join(dirname(path), 'providers') });
  const { config, problems } = resolveConfig(checked.value, {
    document,
    file: path,
    name,
    env: options.env,
    digest: digestOf(text),
    catalog,
  });
  if (inText.length + problems.length > 0) throw configInvalid(name, [...inText, ...problems]);
  refuseOpenListener(config, name, document.position(['proxy', 'listen']));
  texts.set(config, text);
  return deepFreeze(config);
}

/** Returns the hash of a config text: `digest` of its config. */
export function digestOf(text: string): string {
  return hash('sha256', text);
}

const texts = new WeakMap<Config, string>();

/** Returns the text of a config, for another process; null: it has none. */
export function textOf(config: Config): string | null {
  return texts.get(config) ?? null;
}

/**
 * Returns the text of a config file.
 *
 * @throws SidekeyError `config_missing`, `config_invalid`; `permissions_unsafe` as `exposureOf`
 */
export async function readConfigText(file: string, { cwd }: Pick<LoadOptions, 'cwd'> = {}): Promise<string> {
  const name = displayName(file, cwd);
  const bytes = readBytes(file, name);
  assertUnexposed(resolve(cwd ?? process.cwd(), file));
  if (bytes.length > maxConfigBytes)
    throw configInvalid(name, [{ line: 1, column: 1, path: [], message: 'is larger than 1 MiB' }]);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw configInvalid(name, [{ line: 1, column: 1, path: [], message: 'is not UTF-8 text' }]);
  }
}

/** Returns how to make a config file. The executable has no file to copy. */
function startOf(file: string): string {
  const template = shippedFile('default.yaml');
  return embeddedText(template) === null
    ? `start from the template: cp ${shellWord(template)} ${shellWord(file)}`
    : `make it with the line "version: 1": ${shellWord(file)}`;
}

/** Reads at most one byte more than the maximum size. */
function readBytes(file: string, name: string): Buffer {
  let content: ReturnType<typeof readRegularFile>;
  try {
    content = readRegularFile(file, maxConfigBytes);
  } catch (cause) {
    if (isSystemError(cause, 'ENOENT', 'ENOTDIR')) {
      throw new SidekeyError('config_missing', `There is no config file ${name}.`, {
        hint: startOf(file),
        cause,
      });
    }
    throw unreadable(name, `cannot be read (${systemCode(cause)})`, cause);
  }
  if (content === null) throw unreadable(name, 'is not a regular file');
  return content.bytes;
}

function unreadable(name: string, what: string, cause?: unknown): SidekeyError {
  return new SidekeyError('config_invalid', `The config file ${name} ${what}.`, {
    hint: `make ${name} a file that the user of this process can read`,
    cause,
  });
}

/** Refuses an open proxy that adds credentials: any host could use them. */
function refuseOpenListener({ proxy }: Config, name: string, position: Position): void {
  if (proxy.authentication === 'required' || isLoopbackListen(proxy.listen)) return;
  const message = `other machines can reach ${proxy.listen.host}, and proxy.authentication is optional, so they would need no token`;
  throw new SidekeyError(
    'listener_open',
    describeProblem(name, { ...position, path: ['proxy', 'listen'], message }),
    {
      hint: hintOf`set proxy.authentication: required and make tokens with ${remedy('agent.create', { name: null })}, or listen on 127.0.0.1`,
    },
  );
}

/**
 * Names of the environment variables for secrets of a config: the master key, the proxy password, the webhook
 * secret. `Provider.environment` has those of client secrets. In order, each once.
 */
export function environmentReferences(config: Omit<Config, 'providers'>): readonly string[] {
  return [...new Set(namesIn({ ...config, providers: null }))].toSorted();
}

/**
 * Returns the paths of the files with secrets that a config refers to: `file:PATH`, except client secrets.
 */
export function fileReferences(config: Config): readonly string[] {
  const folder = dirname(config.file);
  const paths = valuesIn({ ...config, providers: null }).flatMap(({ kind, path }) =>
    kind === 'file' && typeof path === 'string' ? [path] : [],
  );
  return [...new Set(paths.map((path) => resolve(folder, path)))].toSorted();
}

/** Returns the paths of the files with client secrets, and with private keys of certificates. */
export function secretFiles(config: Config): readonly string[] {
  const keys = valuesIn({ ...config, providers: null }).flatMap(({ cert, key, pfx }) =>
    typeof cert === 'string' ? [key] : [pfx],
  );
  const paths = keys.filter((path) => typeof path === 'string');
  return [...new Set([...config.providers.secretFiles(), ...paths])].toSorted();
}

function namesIn(value: unknown): string[] {
  return valuesIn(value).flatMap(({ kind, source, name }) =>
    (kind === 'env' || source === 'env') && typeof name === 'string' ? [name] : [],
  );
}

/** Visits all objects, so that later settings are included. */
function valuesIn(value: unknown): readonly Readonly<Record<string, unknown>>[] {
  if (typeof value !== 'object' || value === null) return [];
  return [value as Readonly<Record<string, unknown>>, ...Object.values(value).flatMap(valuesIn)];
}

/** Valid parts of an invalid file. For reports only: they must not be served or changed. */
export interface PartialConfig {
  /** The config of the valid parts; the others have their defaults. */
  readonly config: Config;
  /** Keys of the top level whose part is not valid. */
  readonly lost: ReadonlySet<string>;
}

/**
 * Parses each top-level key by itself, and leaves out those that make the file invalid. Returns null if the
 * text cannot be split into keys.
 */
export async function parsePartialConfig(
  text: string,
  file: string,
  options: LoadOptions,
): Promise<PartialConfig | null> {
  const parts = partsOf(text);
  const lost = new Set<string>();
  let good: Readonly<Record<string, unknown>> = { version: 1 };
  let config: Config | null = await parse(good);
  for (const { key, value } of parts) {
    if (key === 'version') continue;
    const wider = { ...good, [key]: value };
    const parsed = value === undefined || key in good ? null : await parse(wider);
    if (parsed === null) lost.add(key);
    else [good, config] = [wider, parsed];
  }
  return config === null || parts.length === 0 ? null : { config, lost };

  function parse(value: object): Promise<Config | null> {
    return parseConfig(JSON.stringify(value), file, options).catch((error: unknown) => {
      if (error instanceof SidekeyError) return null;
      throw error;
    });
  }
}

interface Part {
  readonly key: string;
  /** Undefined if it cannot be parsed. */
  readonly value: unknown;
}

/** Splits a file at unindented lines. `domains`, which refers to policies and providers, comes last. */
function partsOf(text: string): readonly Part[] {
  const parts = text.split(/^(?=["']?[A-Za-z_][\w-]*["']?\s*:(?:\s|$))/m).flatMap((lines): Part[] => {
    const [, key] = /^["']?([A-Za-z_][\w-]*)/.exec(lines) ?? [];
    // An unknown key is not repeated, because it may be a misplaced secret.
    if (key === undefined || !Object.hasOwn(configSchema.shape, key)) return [];
    const document = parseConfigDocument(lines);
    const value =
      document.problems.length === 0 ? (document.value as Record<string, unknown>)[key] : undefined;
    return [{ key, value: value ?? undefined }];
  });
  return parts.toSorted((a, b) => Number(a.key === 'domains') - Number(b.key === 'domains'));
}
