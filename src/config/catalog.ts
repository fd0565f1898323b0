import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { isName } from '../domain/grant.ts';
import type { Provider, Setting } from '../domain/provider.ts';
import { isSystemError, SidekeyError, systemCode } from '../lib/errors.ts';
import { isPattern, isWithin, parsePattern } from '../proxy/policy/domain-map.ts';
import { type ConfigDocument, maxConfigBytes, parseConfigDocument } from './document.ts';
import { embeddedFiles, embeddedText, packageText, shippedFile } from '../lib/package-files.ts';
import { configInvalid, displayName, type Path, type Problem } from './problem.ts';
import { dpopMisfit } from './provider-dialect.ts';
import { type CatalogProvider, catalogProviderSchema } from './provider.ts';
import { type CredentialForms, formsOf, joinForms } from '../proxy/schemes/forms.ts';
import { carriageProblem, fillIn, ownProviderFiles, type Providers, readSettings } from './providers.ts';
import { readRegularFile } from './reload.ts';
import { validate } from './validate.ts';

/**
 * Provider definitions by name, each in a file. A file is read at the first use of its provider, because a
 * process needs few of many.
 */
export interface Catalog {
  /** Names of all providers, sorted. */
  readonly names: readonly string[];
  /** Names of the user's definitions. */
  readonly own: readonly string[];
  /**
   * Returns the definition of that name; undefined: there is none.
   *
   * @param values of its settings, if they differ from the default
   * @throws SidekeyError `config_invalid` if the file is invalid
   */
  get(name: string, values?: Readonly<Record<string, string>>): CatalogEntry | undefined;
  /**
   * Returns the `environment` of the definition of that name. Reads an index instead of the file of a shipped
   * definition, because callers need all of them.
   */
  environment(name: string): CatalogProvider['environment'];
  /** Returns the forms of credentials of all definitions; an index has those of the shipped ones. */
  forms(): CredentialForms;
}

/** A definition with the values of its settings. */
export interface CatalogEntry {
  readonly definition: CatalogProvider;
  /**
   * If a setting has no value, URLs and hosts of the definition contain its example, and must not be used.
   */
  readonly settings: readonly Setting[];
  /** Problems with the given values. */
  readonly problems: readonly Omit<Problem, 'line' | 'column'>[];
  /** The file: its absolute path and its text. */
  readonly file: string;
  readonly document: ConfigDocument;
}

/** Folders of definitions. */
interface CatalogFolders {
  /** Shipped definitions. Default: `config/providers` of this package. */
  readonly shipped?: string | undefined;
  /** Definitions of the user, which override the shipped ones; the folder is optional. */
  readonly own?: string | undefined;
}

/**
 * Lists the definitions. Reads those of the user at once, to report errors early.
 *
 * @throws SidekeyError `config_missing` if the shipped ones are missing, `config_invalid` if a file is
 * invalid, `permissions_unsafe` as `ownProviderFiles`
 */
export async function openCatalog({ shipped, own }: CatalogFolders = {}): Promise<Catalog> {
  const folder = shipped ?? shippedFile('providers');
  const shippedFiles = shipped === undefined ? (packageFiles ??= await list(folder)) : await list(folder);
  const isOwn = own !== undefined && own !== folder;
  const ownFiles = isOwn ? named(own, await ownProviderFiles(own)) : new Map<string, string>();
  const all = new Map([...shippedFiles, ...ownFiles]);
  const ownRead = new Map<string, ProviderFile>();

  const catalog: Catalog = {
    names: [...all.keys()].toSorted(),
    own: [...ownFiles.keys()],
    get(name, values = {}) {
      const path = all.get(name);
      if (path === undefined) return undefined;
      const read = shipped === undefined && !ownFiles.has(name) ? packageRead : ownRead;
      const file = read.get(path) ?? readProviderFile(path);
      read.set(path, file);
      return settle(file, values);
    },
    environment(name) {
      const isIndexed = shipped === undefined && !ownFiles.has(name);
      return isIndexed ? readEnvironmentIndex()[name] : catalog.get(name)?.definition.environment;
    },
    forms: () => {
      const isIndexed = shipped === undefined;
      const names = isIndexed ? [...ownFiles.keys()] : catalog.names;
      const read = formsOf(names.map((name) => catalog.get(name)!.definition));
      return isIndexed ? joinForms(read, readFormIndex()) : read;
    },
  };
  for (const name of ownFiles.keys()) catalog.get(name);
  return catalog;
}

/** Definitions of this package that were read, by path: its files do not change while the process runs. */
const packageRead = new Map<string, ProviderFile>();
/** Paths of all definitions of this package, by name; undefined: not listed yet. */
let packageFiles: ReadonlyMap<string, string> | undefined;

async function list(folder: string): Promise<ReadonlyMap<string, string>> {
  const files = await Promise.resolve(embeddedFiles(folder) ?? readdir(folder)).catch((cause: unknown) => {
    throw new SidekeyError('config_missing', `The built-in providers are not in ${folder}.`, {
      hint: 'install Sidekey again; the folder is part of it',
      cause,
    });
  });
  return named(folder, files);
}

/** Paths of definitions, by the names of their providers. */
function named(folder: string, files: readonly string[]): Map<string, string> {
  return new Map(
    files
      .filter((file) => !file.startsWith('.'))
      .map((file) => {
        const name = file.replace(/\.yaml$/, '');
        if (name === file || !isName(name)) {
          const message = 'is not a provider file: its name must be NAME.yaml';
          throw wrong(join(folder, file), [{ line: 1, column: 1, path: [], message }]);
        }
        return [name, join(folder, file)] as const;
      }),
  );
}

/** A file that matches the schema. */
interface ProviderFile {
  readonly path: string;
  readonly document: ConfigDocument;
  /** The definition with the defaults and examples of its settings. */
  readonly plain: Settled;
}

type Settled = Pick<CatalogEntry, 'definition' | 'settings'>;

/**
 * Reads a provider file, and checks it with the defaults and examples of its settings.
 *
 * @throws SidekeyError `config_invalid`, `config_missing`
 */
export function readProviderFile(path: string): ProviderFile {
  const document = parseConfigDocument(
    readText(path),
    'is empty; it needs at least audience, and endpoints or a token',
  );
  if (!document.readable || document.problems.length > 0) throw wrong(path, document.problems);
  const plain = checked(document, {});
  if ('problems' in plain) throw wrong(path, plain.problems);
  return { path, document, plain };
}

function readText(path: string): string {
  const embedded = embeddedText(path);
  if (embedded !== null) return embedded;
  let content: ReturnType<typeof readRegularFile>;
  try {
    content = readRegularFile(path, maxConfigBytes);
  } catch (cause) {
    const shown = displayName(path);
    if (isSystemError(cause, 'ENOENT', 'ENOTDIR')) {
      throw new SidekeyError('config_missing', `There is no provider file ${shown}.`, {
        hint: 'check the path',
        cause,
      });
    }
    throw unreadable(shown, `cannot be read (${systemCode(cause)})`, cause);
  }
  if (content === null) throw unreadable(displayName(path), 'is not a regular file');
  try {
    if (content.bytes.length <= maxConfigBytes)
      return new TextDecoder('utf-8', { fatal: true }).decode(content.bytes);
  } catch {
    // Reported below.
  }
  throw wrong(path, [{ line: 1, column: 1, path: [], message: 'is not UTF-8 text, or larger than 1 MiB' }]);
}

function unreadable(shown: string, what: string, cause?: unknown): SidekeyError {
  return new SidekeyError('config_invalid', `${shown} ${what}.`, {
    hint: 'make it a file that the user of this process can read',
    cause,
  });
}

function checked(
  document: ConfigDocument,
  values: Readonly<Record<string, string>>,
): Settled | { readonly problems: readonly Problem[] } {
  const settings = readSettings(document.value, values);
  const value = fillIn(document.value, settings);
  const result = validate(catalogProviderSchema as z.ZodType<CatalogProvider>, { ...document, value });
  return 'problems' in result ? result : { definition: result.value, settings: settings.settings };
}

/** Returns the definition of a file with these values of its settings. Invalid values: with the examples. */
export function settle(
  { path: file, document, plain }: ProviderFile,
  values: Readonly<Record<string, string>>,
): CatalogEntry {
  const { problems } = readSettings(document.value, values);
  const isPlain = problems.length > 0 || Object.keys(values).length === 0;
  const result = isPlain ? plain : checked(document, values);
  if (!('problems' in result)) return { ...result, problems, file, document };
  // The file is valid by itself, so the values do not fit.
  const messages = result.problems.map(({ message }) => ({ path: [], message }));
  return { ...plain, problems: messages, file, document };
}

function wrong(path: string, problems: readonly Problem[]): SidekeyError {
  return configInvalid(displayName(path), problems);
}

/** An inconsistency between the parts of a definition, which the schema cannot check. */
interface Misfit {
  readonly path: Path;
  /** The end of a sentence that begins with the path. */
  readonly message: string;
}

type Check = (definition: CatalogProvider, entry: CatalogEntry) => Misfit | false;

const checks: readonly Check[] = [
  ({ flows, token, token_endpoint: endpoint, authorization_endpoint: start }) =>
    flows === undefined &&
    token === undefined &&
    endpoint === undefined &&
    (start === undefined
      ? misfit([], 'offers no way in: it needs endpoints and flows, or a token')
      : misfit(['authorization_endpoint'], 'needs a token_endpoint beside it')),
  ({ flows, token_endpoint: endpoint }) =>
    flows?.some((flow) => flow !== 'auth0_connection') === true &&
    endpoint === undefined &&
    misfit(['flows'], 'need a token_endpoint'),
  ({ flows, authorization_endpoint: endpoint }) =>
    flows !== undefined &&
    flows.includes('authorization_code') !== (endpoint !== undefined) &&
    misfit(
      ['authorization_endpoint'],
      'goes with the flow authorization_code, and neither without the other',
    ),
  ({ flows, device_authorization_endpoint: endpoint }) =>
    flows !== undefined &&
    flows.includes('device_code') !== (endpoint !== undefined) &&
    misfit(
      ['device_authorization_endpoint'],
      'goes with the flow device_code, and neither without the other',
    ),
  ({ scopes = [], known_scopes: known }) => {
    const unknown = known === undefined ? [] : scopes.filter((scope) => known[scope] === undefined);
    return unknown.length > 0 && misfit(['known_scopes'], `does not say what ${unknown.join(', ')} is for`);
  },
  ({ inject = [], audience }) => {
    const texts = audience.map(({ text }) => text);
    const hosts = inject.flatMap((place) => (place.as.kind === 'own' ? [] : (place.hosts ?? [])));
    const beyond = hosts.find((host) => !isWithinText(texts, host));
    return beyond !== undefined && misfit(['inject'], `names ${beyond}, which is not in the audience`);
  },
  (definition) => {
    const problem = dpopMisfit(definition);
    return problem !== null && misfit(['dpop'], problem);
  },
  ({ domains = [], inject = [], audience }) => {
    // Hosts for which the client has its own credential need not be in the audience.
    const clientHosts = inject.flatMap((place) => (place.as.kind === 'own' ? (place.hosts ?? []) : []));
    const texts = [...audience.map(({ text }) => text), ...clientHosts];
    const beyond = domains.filter((pattern) => !isWithin(texts, pattern));
    return beyond.length > 0 && misfit(['domains'], `names ${beyond[0]?.text}, which is not in the audience`);
  },
  ({ probe, audience }) => {
    if (probe === undefined) return false;
    const pattern = parsePattern(new URL(probe.url).host);
    const texts = audience.map(({ text }) => text);
    const fits = isPattern(pattern) && isWithin(texts, pattern);
    return (
      !fits && misfit(['probe', 'url'], 'is not in the audience, so the credential would not be sent there')
    );
  },
  (definition) => {
    const problem = carriageProblem(definition);
    return problem !== null && misfit(['inject'], problem);
  },
  (_definition, { document, settings }) => {
    const written = JSON.stringify(document.value);
    const unused = settings.find(({ name }) => !written.includes(`{${name}}`));
    return unused !== undefined && misfit(['settings', unused.name], 'is used nowhere');
  },
];

/** Returns all inconsistencies of a definition. */
export function checkProvider(entry: CatalogEntry): readonly Misfit[] {
  return checks.map((check) => check(entry.definition, entry)).filter((found) => found !== false);
}

function isWithinText(audience: readonly string[], host: string): boolean {
  const pattern = parsePattern(host);
  return isPattern(pattern) && isWithin(audience, pattern);
}

function misfit(path: Path, message: string): Misfit {
  return { path, message };
}

/** The `environment` of each shipped provider that has one, by name. */
type EnvironmentIndex = Readonly<Record<string, CatalogProvider['environment']>>;

/** Generated by `npm run pages`, because reading all definitions takes half a second. */
export const environmentIndexFile = 'environment-index.json';

let index: EnvironmentIndex | undefined;

/** Reads the index once; it is part of the program. */
function readEnvironmentIndex(): EnvironmentIndex {
  index ??= JSON.parse(packageText(shippedFile(environmentIndexFile))) as EnvironmentIndex;
  return index;
}

/** The forms of credentials of the shipped providers. Generated by `npm run pages`. */
export const formIndexFile = 'form-index.json';

let formIndex: CredentialForms | undefined;

function readFormIndex(): CredentialForms {
  formIndex ??= JSON.parse(packageText(shippedFile(formIndexFile))) as CredentialForms;
  return formIndex;
}

/** Returns the environment variables for the credential of each provider; omits providers without any. */
export function credentialVariables(providers: Providers): readonly Pick<Provider, 'name' | 'environment'>[] {
  return providers.names
    .map((name) => ({ name, environment: providers.environment(name) }))
    .filter(({ environment }) => environment.length > 0);
}
