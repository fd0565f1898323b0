import { SidekeyError } from '../errors.ts';
import { isName } from '../grants/grant.ts';
import { isPattern, parsePattern } from '../policy/pattern.ts';
import { parseConfigDocument } from './document.ts';
import { configInvalid } from './problem.ts';
import { putEntry, removeEntry, type EntryValue } from './yaml-splice.ts';

/** What an edit did to the allowed-domains map. */
export interface DomainEdit {
  /** The whole text after the edit; every line that was not meant is the same. */
  readonly text: string;
  readonly change: 'added' | 'replaced' | 'unchanged' | 'removed' | 'absent';
  /** The pattern in its canonical form. */
  readonly pattern: string;
  /** The key as it stands, or stood, in the file, where it was there before. */
  readonly key: string | null;
}

/**
 * Lets a pattern's hosts have the credential of a grant.
 *
 * @throws SidekeyError `input_invalid` for a pattern or a name that is none; `config_invalid` where the text is not
 * YAML, or is written in a way that cannot be edited without touching the rest.
 */
export function allowDomain(
  text: string,
  pattern: string,
  grant: string,
  { insecure = false }: { readonly insecure?: boolean } = {},
): DomainEdit {
  if (!isName(grant)) {
    throw new SidekeyError('input_invalid', `${JSON.stringify(grant)} is no name of a grant.`, {
      hint: 'letters, digits, dots, dashes and underscores; sidekey grant list shows the names',
    });
  }
  return put(text, pattern, insecure ? { grant, insecure } : { grant });
}

/** Makes a pattern's hosts a blind tunnel, or denies them. @throws as `allowDomain` */
export function setDomain(text: string, pattern: string, action: 'tunnel' | 'deny'): DomainEdit {
  return put(text, pattern, action);
}

/** Takes a pattern out of the map. @throws as `allowDomain` */
export function removeDomain(text: string, pattern: string): DomainEdit {
  const { canonical, key } = lookUp(text, pattern);
  if (key === null) return { text, change: 'absent', pattern: canonical, key };
  return { text: removeEntry(text, 'domains', key), change: 'removed', pattern: canonical, key };
}

function put(text: string, pattern: string, value: EntryValue): DomainEdit {
  const { canonical, key, current } = lookUp(text, pattern);
  const said = { pattern: canonical, key };
  if (key !== null && sameValue(current, value)) return { text, change: 'unchanged', ...said };
  return {
    text: putEntry(text, 'domains', key ?? canonical, value),
    change: key === null ? 'added' : 'replaced',
    ...said,
  };
}

/** The entry that means the same as the pattern, however it is written. */
function lookUp(text: string, pattern: string): { canonical: string; key: string | null; current: unknown } {
  const wanted = parsePattern(pattern);
  if (!isPattern(wanted)) {
    throw new SidekeyError('input_invalid', `${JSON.stringify(pattern)} ${wanted.problem}.`, {
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

function sameValue(current: unknown, value: EntryValue): boolean {
  if (typeof current === 'string' || typeof value === 'string') return current === value;
  const { grant, insecure = false, ...others } = asMap(current);
  return (
    grant === value['grant'] && insecure === (value['insecure'] ?? false) && Object.keys(others).length === 0
  );
}

function asMap(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}
