import type { InjectPlace, PastedToken } from '../../domain/provider.ts';
import { FieldNames } from '../policy/text.ts';
import { namesIn, parseTemplate } from './parameters.ts';
import { schemeOf } from './placement.ts';

/** Forms by which a credential is recognized, from the definitions of providers. */
export interface CredentialForms {
  /** Beginnings of tokens. */
  readonly prefixes: readonly string[];
  /** Names, in lower case, of header fields that carry a credential. */
  readonly fields: readonly string[];
}

/** The parts of a definition that its forms follow from. */
interface FormSource {
  readonly token?: PastedToken | null | undefined;
  readonly inject?: readonly InjectPlace[] | undefined;
}

/** Returns the forms of providers' credentials, without prefixes that also begin ordinary text (`key`). */
export function formsOf(sources: readonly FormSource[]): CredentialForms {
  const prefixes = sources.flatMap(({ token }) => (token?.parts ?? []).flatMap((part) => part.prefixes));
  return joined(prefixes.map(({ prefix }) => prefix).filter(isTelling), sources.flatMap(fieldsOf));
}

/** Returns the forms of both. */
export function joinForms(one: CredentialForms, other: CredentialForms): CredentialForms {
  return joined([...one.prefixes, ...other.prefixes], [...one.fields, ...other.fields]);
}

function joined(prefixes: readonly string[], fields: readonly string[]): CredentialForms {
  return { prefixes: [...new Set(prefixes)].toSorted(), fields: [...new Set(fields)].toSorted() };
}

/** `ghp_`, `sk-`, `AKIA`. */
function isTelling(prefix: string): boolean {
  return /^[A-Za-z0-9][\w.-]{2,}$/.test(prefix) && (/[_.-]/.test(prefix) || /^(?=.*[A-Z]).{4}/.test(prefix));
}

function fieldsOf({ token, inject = [] }: FormSource): readonly string[] {
  const placed = inject.flatMap(({ as }) => schemeOf(as).fieldNames?.(as) ?? []);
  const isSecret = (name: string) => token?.parts.some((part) => part.name === name && part.secret) === true;
  const pasted = token?.inject.kind === 'headers' ? token.inject.headers : [];
  const filled = pasted.filter(([, value]) => namesIn(parseTemplate(value) ?? []).some(isSecret));
  return [...placed, ...filled.map(([name]) => name)].map((name) => name.toLowerCase());
}

/** Fields, and parameters of a query, that carry a credential at many services. */
const commonFields = 'authorization access-token private-token x-auth-token x-api-key api-key apikey'.split(
  ' ',
);

/** Dummy texts, never issued by a service: SDKs and people write them where a credential is required. */
const dummy = /placeholder|dummy|example|not-needed|no-key|0{12}|x{8}/i;

/** Recognizes credentials by their form. */
export class CredentialFinder {
  readonly #beginning: RegExp;
  readonly #fields: FieldNames;

  constructor({ prefixes, fields }: CredentialForms) {
    const longestFirst = prefixes.toSorted((one, other) => other.length - one.length);
    const all = longestFirst.map((text) => text.replaceAll('.', '\\.')).join('|');
    this.#beginning = new RegExp(`^(?:${all})(?=.*[0-9])`);
    this.#fields = new FieldNames([...commonFields, ...fields]);
  }

  /** Returns the prefix of a token of known form; null: it has none, or is a dummy. */
  prefixOf(token: string): string | null {
    const [prefix = null] = this.#beginning.exec(token) ?? [];
    return prefix === null || dummy.test(token) ? null : prefix;
  }

  /** Reports whether a credential field or parameter has a plausible value, with or without a scheme. */
  isCredentialField(name: string, value: string): boolean {
    if (!this.#fields.has(name)) return false;
    const [, secret = ''] = /^(?:[A-Za-z][\w-]* +)?([^\s,"]{16,})$/.exec(value) ?? [];
    return /\d/.test(secret) && !dummy.test(secret);
  }
}
