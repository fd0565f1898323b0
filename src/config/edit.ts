import { realpath, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { isName } from '../domain/grant.ts';
import { inputInvalid, SidekeyError, systemCode } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { replaceFile } from '../lib/os.ts';
import { isPattern, parsePattern } from '../proxy/policy/domain-map.ts';
import { parseConfigDocument } from './document.ts';
import { type LoadOptions, parseConfig, readConfigText } from './load.ts';
import { comparable, markedValues } from './marks.ts';
import { configInvalid, displayName, formatPath } from './problem.ts';
import { configSchema } from './schema.ts';
import { itemTexts, putBlock } from './yaml-block.ts';
import { type EntryMap, putValue, removeEntry } from './yaml-splice.ts';

/** Result of an edit of the allowed-domains map. */
export interface DomainEdit {
  /** The whole text after the edit; other lines are unchanged. */
  readonly text: string;
  readonly change: 'added' | 'replaced' | 'unchanged' | 'removed' | 'absent';
  /** The pattern in its canonical form. */
  readonly pattern: string;
  /** The key as written in the file before the edit; null if the key was absent. */
  readonly key: string | null;
}

/** Settings of an entry besides its grant that `allowDomain` writes. */
const settings = ['allow_plain_http', 'eks_cluster'] as const;

/**
 * Allows the hosts of a pattern the credential of a grant. An entry keeps an `eks_cluster` that `more` lacks.
 *
 * @throws SidekeyError `input_invalid` for an invalid pattern or name; `config_invalid` if the text is not
 * YAML, or cannot be edited without changing other parts.
 */
export function allowDomain(
  text: string,
  pattern: string,
  grant: string,
  more: Readonly<Partial<Record<(typeof settings)[number], string | boolean | undefined>>> = {},
): DomainEdit {
  if (!isName(grant)) {
    throw new SidekeyError('input_invalid', 'That is no name of a grant.', {
      hint: hintOf`letters, digits, dots, dashes and underscores; ${remedy('grant.list')} shows the names`,
    });
  }
  const { eks_cluster: kept } = asMap(lookUp(text, pattern).current);
  const all = { ...more, eks_cluster: more.eks_cluster ?? kept };
  const set = Object.entries(all).filter((pair): pair is [string, string | true] => Boolean(pair[1]));
  return put(text, pattern, { grant, ...Object.fromEntries(set) });
}

/** Makes a pattern's hosts a blind tunnel, or denies them. @throws as `allowDomain` */
export function setDomain(text: string, pattern: string, action: 'tunnel' | 'deny'): DomainEdit {
  return put(text, pattern, action);
}

/** Removes a pattern from the map. @throws as `allowDomain` */
export function removeDomain(text: string, pattern: string): DomainEdit {
  const { canonical, key } = lookUp(text, pattern);
  if (key === null) return { text, change: 'absent', pattern: canonical, key };
  return { text: removeEntry(text, 'domains', key), change: 'removed', pattern: canonical, key };
}

/** Writes an entry as data. Rules with the same value as before keep their text. @throws as `allowDomain` */
export function putDomain(text: string, pattern: string, entry: EntryMap): DomainEdit {
  const { canonical, key, current } = lookUp(text, pattern);
  const place = { pattern: canonical, key };
  if (isDeepStrictEqual(current, entry)) return { text, change: 'unchanged', ...place };
  const change = key === null ? 'added' : 'replaced';
  return { text: putBlock(text, 'domains', key ?? canonical, entry), change, ...place };
}

/** Returns the value of an entry, and its rules as written. Null: there is no such entry. */
export function readDomain(text: string, pattern: string) {
  const { key, current } = lookUp(text, pattern);
  return { entry: current ?? null, rules: key === null ? [] : itemTexts(text, ['domains', key, 'rules']) };
}

/** Provider settings of the command line; undefined values are not changed. */
export interface ProviderEdit {
  readonly clientId?: string | undefined;
  /** A reference, never the secret. */
  readonly clientSecret?: string | undefined;
  readonly clientAuth?: 'basic' | 'post' | 'none' | 'private_key_jwt' | undefined;
  readonly redirectUri?: string | undefined;
  readonly settings?: Readonly<Record<string, string>> | undefined;
}

/**
 * Sets values of `providers.NAME`, which is created if it is missing. Other lines are unchanged.
 *
 * @returns the whole text after the edit, and the keys with a new value
 * @throws SidekeyError `input_invalid` for an invalid name; `config_invalid` as `allowDomain`
 */
export function setProvider(
  text: string,
  name: string,
  { clientId, clientSecret, clientAuth, redirectUri, settings = {} }: ProviderEdit,
): { readonly text: string; readonly changed: readonly string[] } {
  if (!isName(name)) {
    throw inputInvalid('That is no name of a provider.', remedy('provider.list'));
  }
  const document = parseConfigDocument(text);
  if (document.problems.length > 0) throw configInvalid('the config file', document.problems);
  const before = asMap(asMap(asMap(document.value)['providers'])[name]);
  const wanted: readonly (readonly [path: readonly string[], value: string | undefined, now: unknown])[] = [
    [['client_id'], clientId, before['client_id']],
    [['client_secret'], clientSecret, before['client_secret']],
    [['client_auth'], clientAuth, before['client_auth']],
    [['redirect_uri'], redirectUri, before['redirect_uri']],
    ...Object.entries(settings).map(
      ([key, value]) => [['settings', key], value, asMap(before['settings'])[key]] as const,
    ),
  ];
  let edited = text;
  const changed: string[] = [];
  for (const [path, value, now] of wanted) {
    if (value === undefined || value === now) continue;
    edited = putValue(edited, ['providers', name, ...path], value);
    changed.push(path.join('.'));
  }
  return { text: edited, changed };
}

/** Value of a domain: `tunnel`, `deny`, or a grant. */
type DomainValue = string | Readonly<Record<string, string | boolean>>;

function put(text: string, pattern: string, value: DomainValue): DomainEdit {
  const { canonical, key, current } = lookUp(text, pattern);
  const place = { pattern: canonical, key };
  if (key !== null && sameValue(current, value)) return { text, change: 'unchanged', ...place };
  if (key !== null && typeof value !== 'string' && hasRules(current))
    return { text: putGrant(text, key, asMap(current), value), change: 'replaced', ...place };
  return {
    text: putValue(text, ['domains', key ?? canonical], value),
    change: key === null ? 'added' : 'replaced',
    ...place,
  };
}

/** Reports whether an entry has more than its grant, such as rules, which a change of the grant must keep. */
function hasRules(current: unknown): boolean {
  return Object.keys(asMap(current)).some(
    (name) => name !== 'grant' && !settings.some((each) => each === name),
  );
}

function putGrant(
  text: string,
  key: string,
  current: Readonly<Record<string, unknown>>,
  wanted: Readonly<Record<string, string | boolean>>,
): string {
  const changed = settings.find((name) => (current[name] ?? false) !== (wanted[name] ?? false));
  if (changed !== undefined) {
    throw new SidekeyError('config_invalid', `The entry ${key} has rules, and ${changed} is to be changed.`, {
      hint: `change ${changed} by hand, beside the rules; nothing was changed`,
    });
  }
  return putValue(text, ['domains', key, 'grant'], String(wanted['grant']));
}

/** Returns the entry with the same canonical pattern. */
function lookUp(text: string, pattern: string): { canonical: string; key: string | null; current: unknown } {
  const wanted = parsePattern(pattern);
  if (!isPattern(wanted)) {
    // The text before an @ may be a password.
    const shown = JSON.stringify(pattern.replace(/^.*@/s, '…@'));
    throw new SidekeyError('input_invalid', `${shown} ${wanted.problem}.`, {
      hint: 'write host, host:port or *.suffix, such as api.example.com',
    });
  }
  const document = parseConfigDocument(text);
  if (document.problems.length > 0) throw configInvalid('the config file', document.problems);
  const domains = asMap(asMap(document.value)['domains']);
  for (const [key, current] of Object.entries(domains)) {
    const parsed = parsePattern(key);
    if (isPattern(parsed) && parsed.text === wanted.text) return { canonical: wanted.text, key, current };
  }
  return { canonical: wanted.text, key: null, current: undefined };
}

function sameValue(current: unknown, value: DomainValue): boolean {
  if (typeof current === 'string' || typeof value === 'string') return current === value;
  const entry = asMap(current);
  return ['grant', ...settings].every((name) => (entry[name] ?? false) === (value[name] ?? false));
}

function asMap(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

/** Options for the validation of the new text. */
interface WriteConfigOptions extends LoadOptions {
  /** The text before the edit. If the file differs from it, nothing is written. */
  readonly previous?: string | undefined;
  /** True if a person at the machine makes the edit, which may then change every key. */
  readonly isLocal?: boolean | undefined;
}

/**
 * Replaces the content of a config file atomically, also across a crash. The new text must load first.
 * Symlinks are followed; mode and owner are kept.
 *
 * @throws SidekeyError as `loadConfig` for the new text; `file_unwritable` if it cannot be written, or has
 * changed since `previous` was read; `config_protected` as `assertSameMachineKeys`.
 */
export async function writeConfigAtomically(
  file: string,
  text: string,
  options: WriteConfigOptions,
): Promise<void> {
  const cwd = options.cwd ?? process.cwd();
  const path = resolve(cwd, file);
  const name = displayName(path, cwd);
  await parseConfig(text, path, options);
  const current = await readConfigText(path, options);
  if (options.previous !== undefined && current !== options.previous) {
    throw new SidekeyError('file_unwritable', `${name} was changed by another program at the same time.`, {
      hint: 'run the command again',
    });
  }
  if (options.isLocal !== true) assertSameMachineKeys(current, text, path);
  try {
    const target = await realpath(path);
    const facts = await stat(target);
    await replaceFile(target, text, facts.mode & 0o777, facts);
  } catch (cause) {
    throw new SidekeyError('file_unwritable', `${name} cannot be written (${systemCode(cause)}).`, {
      hint: 'make the file and its folder writable, or edit the source that it is made from',
      cause,
    });
  }
}

/**
 * Refuses a config text with a new or changed value of a marked key. A removal passes unless a default takes
 * the place of the value. Parsed values are compared, so quotes, anchors and order make no difference.
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
    { hint: hintOf`edit ${file} on its machine: ${remedy('config.edit')}` },
  );
}

const valuesOf = (text: string) => markedValues(configSchema, parseConfigDocument(text).value, []);
