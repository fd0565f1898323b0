import { LRUCache } from 'lru-cache';
import type { Grant } from '../../domain/grant.ts';
import type { Provider } from '../../domain/provider.ts';

/** A placeholder that this Sidekey made and that was detected in a text. */
export interface FoundCode {
  readonly alphabet: Alphabet;
  readonly code: string;
}

/** The holder of a placeholder. */
export type Holder = `lease ${string}` | `agent ${string}` | 'anyone';

/** Returns the holder for a lease (its UUID). */
export const leaseHolder = (id: string): Holder => `lease ${id}`;
/** Returns the holder for an agent, with its own token or any of its leases. */
export const agentHolder = (name: string): Holder => `agent ${name}`;
/** Holder for callers without a token. */
export const anyone: Holder = 'anyone';

/** Makes and recognizes placeholders without storing them. */
export interface PlaceholderCodes {
  /** Returns the placeholder of this form for a grant and a holder, which is always the same. */
  make(form: PlaceholderForm, holder: Holder, grant: string): string;
  /** Returns the placeholders in a text of one character per byte. Ignores unknown codes. */
  find(text: string, budget?: Budget): readonly FoundCode[];
  /** Reports whether a placeholder was made for this holder and this grant. */
  isOf(found: FoundCode, holder: Holder, grant: string): boolean;
}

const nothing: readonly FoundCode[] = [];
/** Limits the candidates of a search: each costs a hash, and the author of a text can add any number. */
export interface Budget {
  left: number;
}

/** Maximum candidates in a complete text. */
const mostTried = 100;
/** Maximum cached hashes, of some 200 bytes each. */
const mostKept = 1_000;

/** Creates the placeholder codes of a vault's key. All processes with that key share them. */
export function placeholderCodes(vault: {
  readonly mac: (purpose: 'placeholder', text: string) => string;
}): PlaceholderCodes {
  return createPlaceholderCodes((text) => vault.mac('placeholder', text));
}

/**
 * Makes and finds codes. A code is a keyed hash of its holder and grant, then a keyed hash of that hash, by
 * which every process with the key recognizes it, also a code of another lease or a deleted grant.
 *
 * @param mac a keyed hash; hex digits
 */
export function createPlaceholderCodes(mac: (text: string) => string): PlaceholderCodes {
  // A program sends its placeholder with every request.
  const hashes = new LRUCache<string, string>({ max: mostKept });
  const hashOf = (text: string): string => {
    let hash = hashes.get(text);
    if (hash === undefined) hashes.set(text, (hash = mac(text)));
    return hash;
  };
  const codeOf = (alphabet: Alphabet, holder: Holder, grant: string) => {
    const name = digitsOf(hashOf(`${alphabet.mark}\n${holder}\n${grant}`), alphabet, alphabet.nameLength);
    return name + checkOf(alphabet, name);
  };
  const checkOf = (alphabet: Alphabet, name: string) =>
    digitsOf(hashOf(`${alphabet.mark}\n${name}`), alphabet, alphabet.checkLength);
  return {
    make: (form, holder, grant) =>
      `${form.before}${form.alphabet.mark}${codeOf(form.alphabet, holder, grant)}${form.padding}${form.after}`,
    find(text, budget = { left: mostTried }) {
      let codes: FoundCode[] | null = null;
      for (const alphabet of alphabets) {
        const { mark, nameLength } = alphabet;
        for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + 1)) {
          const start = at + mark.length;
          const code = text.slice(start, start + codeLength(alphabet));
          if (code.length < codeLength(alphabet) || !isWritten(alphabet, code)) continue;
          if ((budget.left -= 1) < 0) break;
          if (checkOf(alphabet, code.slice(0, nameLength)) === code.slice(nameLength))
            (codes ??= []).push({ alphabet, code });
        }
      }
      return codes ?? nothing;
    },
    isOf: ({ alphabet, code }, holder, grant) => codeOf(alphabet, holder, grant) === code,
  };
}

function isWritten({ digits }: Alphabet, code: string): boolean {
  for (const character of code) if (!digits.includes(character)) return false;
  return true;
}

function digitsOf(hex: string, { digits }: Alphabet, length: number): string {
  return Array.from(Buffer.from(hex, 'hex').subarray(0, length), (byte) => digits[byte % digits.length]).join(
    '',
  );
}

/** Replaces each of `texts` by `value`. If two of them start at one place, replaces the longer one. */
export function replaceIn(text: string, texts: readonly string[], value: string): string {
  const longestFirst = texts.toSorted((one, other) => other.length - one.length);
  return longestFirst.reduce((kept, each) => kept.replaceAll(each, () => value), text);
}

/** Returns `user:password` of `Basic` credentials (RFC 7617 §2), a character per byte; null: not `Basic`. */
export function basicPair(value: string): string | null {
  const [, encoded] = /^basic +([A-Za-z0-9+/_-]+=*) *$/i.exec(value) ?? [];
  return encoded === undefined ? null : Buffer.from(encoded, 'base64').toString('latin1');
}

/** A grant, and the holders of its placeholders. */
interface HeldGrant {
  readonly holders: readonly Holder[];
  /** Id of the grant. */
  readonly grant: string;
}

/** Returns all placeholders of a grant for its holders, in the forms of its provider and the common forms. */
export function placeholdersOf(
  { holders, grant }: HeldGrant,
  { environment }: Pick<Provider, 'environment'>,
  codes: Pick<PlaceholderCodes, 'make'>,
): readonly string[] {
  const variableForms = environment.flatMap(({ placeholder }) =>
    placeholder === null ? [] : (readForm(placeholder) ?? []),
  );
  const forms = [...variableForms, plainForm, jwtForm];
  return [...new Set(forms.flatMap((form) => holders.map((holder) => codes.make(form, holder, grant))))];
}

/** Makes the placeholder for a provider in the environment of a program. */
export type Mint = (provider: string, template: string) => string;

/**
 * Makes placeholders for a holder, each for its first grant of the provider. Grants that the domain map
 * offers come first. A template stays unchanged if it has no room for a code or the provider has no grant.
 *
 * The key ID of AWS also stays unchanged if there are several grants: clients sign every request with it, so
 * it must be valid at the hosts of all of them.
 */
export function mintFor(
  holder: Holder,
  grants: readonly Pick<Grant, 'id' | 'provider'>[],
  codes: Pick<PlaceholderCodes, 'make'>,
): Mint {
  return (provider, template) => {
    const form = readForm(template);
    const [grant, other] = grants.filter((each) => each.provider === provider);
    if (form === null || grant === undefined) return template;
    return form.alphabet === accessKey && other !== undefined ? template : codes.make(form, holder, grant.id);
  };
}

/**
 * Form of a placeholder: the form of its credential, with room for a code. Provider definitions write a form
 * as a placeholder without a code: `ghp_sidekeyPlaceholder000000000000000000`.
 */
export interface PlaceholderForm {
  readonly before: string;
  readonly alphabet: Alphabet;
  /** Zeros after the code, which keep the length. */
  readonly padding: string;
  readonly after: string;
}

/** Alphabet of a code. `mark` starts the code and is the text that the search looks for. */
interface Alphabet {
  readonly mark: string;
  readonly digits: string;
  /** Characters of the code that name its holder and grant. */
  readonly nameLength: number;
  /** Following characters, which prove that this Sidekey made the code. */
  readonly checkLength: number;
}

/** Alphabet that most credentials allow. */
const word: Alphabet = {
  mark: 'sidekey',
  digits: '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz',
  nameLength: 8,
  checkLength: 4,
};

/** Alphabet for credentials that consist of hexadecimal digits. */
const hexadecimal: Alphabet = {
  mark: '51dec0de',
  digits: '0123456789abcdef',
  nameLength: 10,
  checkLength: 6,
};

/** Alphabet for access key IDs of AWS, which name the grant of a signature. */
const accessKey: Alphabet = {
  mark: 'ASIASIDE',
  digits: 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567',
  nameLength: 8,
  checkLength: 4,
};

/** Form for access key IDs of AWS. */
export const accessKeyForm: PlaceholderForm = { before: '', alphabet: accessKey, padding: '', after: '' };

/** All alphabets. */
export const alphabets: readonly Alphabet[] = [word, hexadecimal, accessKey];

/** Form for credentials whose form is unknown or irrelevant. */
export const plainForm: PlaceholderForm = { before: '', alphabet: word, padding: '0', after: '' };

/** Returns the form of an unsigned JSON Web Token (RFC 7519), for clients that decode their token. */
export function jwtFormOf(claims: object): PlaceholderForm {
  const before = `${segment({ alg: 'none', typ: 'JWT' })}.${segment(claims)}.`;
  return { before, alphabet: word, padding: '0'.repeat(24), after: '' };
}

/** JSON Web Token that expires in 2100. */
export const jwtForm = jwtFormOf({ iss: 'sidekey', sub: 'placeholder', exp: 4_102_444_800 });

/** Parses a template. Null: the template has no room for a code, so it stays the same for every holder. */
export function readForm(template: string): PlaceholderForm | null {
  const [, before = '', room, after = ''] = /^(.*?)sidekey(Placeholder0*)(.*)$/.exec(template) ?? [];
  if (room !== undefined) return formOf({ before, after }, word, room.length);
  const [, start = '', end] = /^(.*?)ASIASIDE0{12}(.*)$/.exec(template) ?? [];
  if (end !== undefined) return formOf({ before: start, after: end }, accessKey, codeLength(accessKey));
  const [, first = '', zeros, last = ''] = /^(.*?)(0{24,})(.*)$/.exec(template) ?? [];
  if (zeros === undefined) return null;
  return formOf({ before: first, after: last }, hexadecimal, zeros.length - hexadecimal.mark.length);
}

/** Returns the number of characters of a code. */
export function codeLength({ nameLength, checkLength }: Alphabet): number {
  return nameLength + checkLength;
}

function formOf(
  around: Pick<PlaceholderForm, 'before' | 'after'>,
  alphabet: Alphabet,
  room: number,
): PlaceholderForm | null {
  const left = room - codeLength(alphabet);
  return left < 0 ? null : { ...around, alphabet, padding: '0'.repeat(left) };
}

function segment(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
