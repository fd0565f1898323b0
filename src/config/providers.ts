import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { InjectPlace, PastedToken, PlaceholderPlace, Provider, Setting } from '../domain/provider.ts';
import { isSystemError, SidekeyError, systemCode } from '../lib/errors.ts';
import { assertUnexposed } from '../lib/exposed.ts';
import { didYouMean } from '../lib/text.ts';
import { canonicalHost } from '../proxy/policy/authority.ts';
import { type CredentialForms, formsOf, joinForms } from '../proxy/schemes/forms.ts';
import { schemeOf } from '../proxy/schemes/placement.ts';
import { deepFreeze } from './problem.ts';

/**
 * The providers of a config. `get` returns the same object each time, so that caches can use its identity.
 */
export interface Providers {
  /** All names, in order. */
  readonly names: readonly string[];
  /** Names of the providers in the config file. */
  readonly own: readonly string[];
  /** Returns the files with client secrets, of the config file and of the user's own definitions. */
  secretFiles(): readonly string[];
  /** @throws SidekeyError `config_invalid` if the file of a built-in provider is invalid */
  get(name: string): Provider | undefined;
  /** Returns its `environment` without resolving the provider. */
  environment(name: string): Provider['environment'];
  /** Returns the forms of credentials of all providers, without resolving those of the catalog. */
  forms(): CredentialForms;
}

/** Source of providers of the catalog. */
interface BuiltIn {
  readonly names: readonly string[];
  /** Names of the user's own definitions. */
  readonly own: readonly string[];
  /** Called once for each name. */
  readonly make: (name: string) => Provider | undefined;
  readonly environment: (name: string) => Provider['environment'];
  readonly forms: () => CredentialForms;
}

/** @param own providers of the config file, which take precedence */
export function createProviders(own: ReadonlyMap<string, Provider>, builtIn: BuiltIn): Providers {
  const made = new Map([...own].map(([name, provider]) => [name, deepFreeze(provider)]));
  const providers: Providers = {
    names: [...new Set([...builtIn.names, ...own.keys()])].toSorted(),
    own: [...own.keys()],
    secretFiles: () =>
      [...own.keys(), ...builtIn.own].flatMap((name) => providers.get(name)?.clientSecretFile ?? []),
    get(name) {
      const existing = made.get(name);
      if (existing !== undefined) return existing;
      const provider = builtIn.make(name);
      if (provider !== undefined) made.set(name, deepFreeze(provider));
      return provider;
    },
    environment: (name) => made.get(name)?.environment ?? builtIn.environment(name),
    forms: () => joinForms(formsOf([...own.values()]), builtIn.forms()),
  };
  return providers;
}

/** Parts of a definition about credentials and their placement. */
interface Carriage {
  readonly inject?: readonly InjectPlace[] | undefined;
  readonly token?: PastedToken | undefined;
  readonly flows?: readonly unknown[] | undefined;
}

/**
 * Returns the reason that the `inject` of a provider suits no credential of `connect`: the end of a sentence.
 * Null: it suits one, or no flow is defined.
 */
export function carriageProblem({ inject = [], token, flows = [] }: Carriage): string | null {
  const carried = token?.inject.kind;
  if (carried === undefined && flows.length === 0) return null;
  const isSingle = flows.length > 0 || carried === 'inject';
  const isPair = carried === 'basic';
  for (const { as: placement } of inject) {
    const wants = schemeOf(placement).accepts?.(placement);
    if (wants === 'pair' && !isPair)
      return 'names a user name and a password, and what is connected has none: write token: { inject: { basic: … } }';
    if (wants === 'single' && !isSingle)
      return 'carries one value, and what is connected is none: leave token.inject out';
    if (wants === 'secret' && !isSingle && !isPair)
      return 'signs with one value, or with a user name and a password, and what is connected is neither';
  }
  return null;
}

/**
 * Returns the reason that the placeholders of a definition cannot be replaced: the end of a sentence. Null:
 * they can. A signature over replaced text would not verify, and signing credentials are not a value.
 */
export function placeholdersProblem({ inject = [], placeholders = [], dpop = null }: Placing): string | null {
  if (placeholders.length === 0) return null;
  const signs = inject.find(({ as }) => schemeOf(as).isNeverSent === true);
  if (signs !== undefined) return `does not go with inject: ${signs.as.kind}, which sends no credential`;
  const inTarget = placeholders.find((place) => place === 'path');
  return inTarget !== undefined && dpop !== null
    ? 'names the path, which the proofs of dpop are signed over'
    : null;
}

/** Parts of a definition about placeholders. */
interface Placing extends Pick<Carriage, 'inject'> {
  readonly placeholders?: readonly PlaceholderPlace[] | undefined;
  readonly dpop?: unknown;
}

/**
 * Lists the files of the user's own provider definitions; empty if there is no such folder. A definition sets
 * where refresh tokens are sent and may name a command, so the folder is protected like the config file:
 * beside a config in a shared folder such as /tmp, another user could create it.
 *
 * @throws SidekeyError `permissions_unsafe` if another user can change the folder or a file; `config_missing`
 * if the folder cannot be read
 */
export async function ownProviderFiles(folder: string): Promise<readonly string[]> {
  let files: readonly string[];
  try {
    files = await readdir(folder);
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return [];
    throw new SidekeyError('config_missing', `The folder ${folder} cannot be read (${systemCode(error)}).`, {
      hint: 'run Sidekey as the user that owns it, or set SIDEKEY_HOME to a folder of your own',
      cause: error,
    });
  }
  for (const path of [folder, ...files.map((file) => join(folder, file))]) assertUnexposed(path);
  return files;
}

/** The settings of a definition with their values, and the problems of the values. */
interface ReadSettings {
  readonly settings: readonly Setting[];
  readonly problems: readonly { readonly path: readonly string[]; readonly message: string }[];
}

const forms: Readonly<Record<string, (value: string) => boolean>> = {
  label: (value) => /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(value),
  host: (value) => {
    const [, host = '', port = '443'] = /^([A-Za-z0-9.-]+)(?::([1-9]\d{0,4}))?$/.exec(value) ?? [];
    return host.includes('.') && canonicalHost(host) !== null && Number(port) <= 65_535;
  },
  segment: (value) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(value) && !value.includes('..'),
};

/**
 * Reads `settings` of an unvalidated definition. Values are inserted into URLs and hosts, so each must have
 * its declared form: a slash or an @ in a value could send tokens to another host.
 */
export function readSettings(definition: unknown, values: Readonly<Record<string, string>>): ReadSettings {
  const declared = Object.entries(mapOf(mapOf(definition)['settings']));
  const names = declared.map(([name]) => name);
  const problems: { path: string[]; message: string }[] = [];
  for (const name of Object.keys(values)) {
    if (names.includes(name)) continue;
    const near = didYouMean(name, names);
    const choices = names.length === 0 ? 'there are none' : `there are ${names.join(', ')}`;
    problems.push({
      path: [name],
      message: `is not a setting of this provider; ${near === null ? choices : `did you mean ${near}?`}`,
    });
  }
  const settings = declared.map(([name, written]): Setting => {
    const { description, example, default: initial, format } = mapOf(written);
    const value = values[name] ?? (typeof initial === 'string' ? initial : null);
    const shape = typeof format === 'string' ? format : 'label';
    if (value !== null && forms[shape]?.(value) !== true)
      problems.push({ path: [name], message: `is not of the form ${shape}, such as ${String(example)}` });
    return { name, description: String(description), example: String(example), value };
  });
  return { settings, problems };
}

/** Returns the definition with `{name}` replaced in every text, except in `settings`. */
export function fillIn(definition: unknown, { settings }: ReadSettings): unknown {
  if (settings.length === 0) return definition;
  const text = (value: string): string => {
    let filled = value;
    for (const { name, value: set, example } of settings)
      filled = filled.replaceAll(`{${name}}`, set ?? example);
    return filled;
  };
  const walk = (value: unknown): unknown => {
    if (typeof value === 'string') return text(value);
    if (Array.isArray(value)) return value.map(walk);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, walk(inner)]));
  };
  const { settings: declared, ...rest } = mapOf(definition);
  return { ...(walk(rest) as object), settings: declared };
}

function mapOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}
