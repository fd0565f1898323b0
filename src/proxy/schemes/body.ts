import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { valuesOf } from '../http/fields.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { parseStrictJson } from '../../lib/json.ts';
import { text } from '../../lib/text.ts';
import { endOfQuoted, fold, jsonType, mediaTypeOf, nextOf } from '../policy/text.ts';
import { singleValue } from './credential.ts';
import { forgivingName, parameter, parameterName, parametersOf, replacing } from './parameters.ts';
import { type AuthScheme, factsOf, refused, type RequestHead } from './scheme.ts';

type JsonPlacement = { readonly kind: 'json'; readonly path: readonly string[] };
type FormPlacement = { readonly kind: 'form'; readonly name: string };
type BodyPlacement = JsonPlacement | FormPlacement;

/** A string in the JSON body, named by the members that lead to it. */
export const json: AuthScheme<JsonPlacement, { readonly json: readonly string[] }> = {
  kind: 'json',
  syntax: '{ json: NAME }',
  schemas: [
    z.strictObject({
      json: text<readonly string[]>(
        {
          description:
            'The member of the JSON object in the body; /one/two (RFC 6901) for one within another object.',
          examples: ['api_key', '/auth/token'],
        },
        (value) => {
          const path = value.startsWith('/') ? value.slice(1).split('/') : [value];
          if (path.includes('') || /\p{Cc}/u.test(value)) return { problem: 'is not a name of a member' };
          if (!value.startsWith('/')) return path;
          if (/~(?![01])/.test(value)) return { problem: 'has a ~ that is neither ~0 nor ~1 (RFC 6901)' };
          return path.map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
        },
      ),
    }),
  ],
  parse: ({ json: path }) => ({ kind: 'json', path }),
  format: ({ path }) => ({ json: memberText(path) }),
  describe: ({ path }) => `${memberText(path)} in the JSON body`,
  sample: () => ({ path: '/', fields: ['Content-Type', 'application/json'], body: Buffer.from('{}') }),
  ...inBody(),
};

/** A parameter of the form that is the body. */
export const form: AuthScheme<FormPlacement, { readonly form: string }> = {
  kind: 'form',
  syntax: '{ form: NAME }',
  schemas: [z.strictObject({ form: parameterName('The parameter of the form that is the body.') })],
  parse: ({ form: name }) => ({ kind: 'form', name }),
  format: ({ name }) => ({ form: name }),
  describe: ({ name }) => `${name}=… in the form that is the body`,
  sample: () => ({
    path: '/',
    fields: ['Content-Type', 'application/x-www-form-urlencoded'],
    body: Buffer.from('a=b'),
  }),
  ...inBody(),
};

/** Returns the members that `json` and `form` share. */
function inBody(): Pick<
  AuthScheme<BodyPlacement>,
  'accepts' | 'isRepeated' | 'maskBody' | 'needs' | 'prepare'
> {
  return {
    accepts: () => 'single',
    isRepeated: true,
    maskBody: (body, placement) => bodyWith(body, placement, '(hidden)'),
    needs(request, placement) {
      assertTakes(request, placement);
      return {
        of: 'whole',
        limit: 'injected_body_bytes',
        what: 'A request body that receives the credential',
        check: (body) => void bodyWith(body, placement, 'token'),
      };
    },
    prepare({ credential }, placement) {
      const token = singleValue(credential);
      return {
        fields: [],
        apply(request) {
          const { body, hasBody } = factsOf(request);
          assertTakes({ fields: request.fields, hasBody }, placement);
          if (body === null) throw new SidekeyError('internal', 'The body was not read.');
          return { body: bodyWith(body, placement, token) };
        },
      };
    },
  };
}

/** Writes the names of members as `inject: { json: … }` has them. */
function memberText(path: readonly string[]): string {
  const [only = '', ...more] = path;
  if (more.length === 0 && !only.startsWith('/')) return only;
  return path.map((name) => `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/**
 * Checks by its head whether a request has a body that a credential can be written into.
 *
 * @throws SidekeyError `policy_violation` if it has no such body
 */
function assertTakes(
  { fields, hasBody }: Pick<RequestHead, 'fields' | 'hasBody'>,
  placement: BodyPlacement,
): void {
  const { what, type, name } = wordsOf(placement);
  const hint = `send ${what} with Content-Type: ${type}; Sidekey writes ${name} into it`;
  if (!hasBody) {
    throw refused(`The credential of this grant goes into the body, and the request has none.`, hint);
  }
  const codings = valuesOf(fields, 'content-encoding').join(', ').trim().toLowerCase();
  if (codings !== '' && codings !== 'identity') {
    throw refused(
      'The credential of this grant goes into the body, and the body of the request is compressed.',
      'send it without Content-Encoding',
    );
  }
  const types = valuesOf(fields, 'content-type');
  const [written = null] = types;
  const found = types.length > 1 ? null : mediaTypeOf(written);
  const fits = placement.kind === 'json' ? jsonType.test(found ?? '') : found === type;
  if (!fits)
    throw refused(`The credential of this grant goes into ${what}, and the request has another body.`, hint);
}

/** A body with room for the credential. */
interface Opened {
  readonly placement: BodyPlacement;
  readonly before: Buffer;
  readonly after: Buffer;
}

/** Caches parsed bodies, which are checked long before a credential is written into them. */
const openedBodies = new WeakMap<Buffer, Opened>();

/** @throws SidekeyError `policy_violation` if the credential cannot be written into the body */
export function bodyWith(body: Buffer, placement: BodyPlacement, token: string): Buffer {
  const known = openedBodies.get(body);
  const opened = known?.placement === placement ? known : open(body, placement);
  openedBodies.set(body, opened);
  return Buffer.concat([opened.before, Buffer.from(written(token, placement)), opened.after]);
}

function written(value: string, { kind }: BodyPlacement): string {
  return kind === 'json' ? JSON.stringify(value) : encodeURIComponent(value);
}

function open(body: Buffer, placement: BodyPlacement): Opened {
  // The mark is random, so it appears once in the result.
  const mark = randomUUID();
  const rewritten =
    placement.kind === 'json' ? jsonWith(body, placement.path, mark) : formWith(body, placement.name, mark);
  if (Buffer.isBuffer(rewritten)) {
    const room = Buffer.from(written(mark, placement));
    const at = rewritten.indexOf(room);
    return { placement, before: rewritten.subarray(0, at), after: rewritten.subarray(at + room.length) };
  }
  const { what, name } = wordsOf(placement);
  const sentence = `The credential of this grant goes into the body, and the body of the request ${rewritten.problem}.`;
  throw refused(sentence, `send ${what} that can be read in one way alone; Sidekey writes ${name} into it`);
}

type Problem = Extract<Rewritten, { problem: string }>;

function jsonWith(body: Buffer, path: readonly string[], token: string): Buffer | Problem {
  let text: string;
  try {
    // Only some parsers accept JSON with a byte order mark (RFC 8259 §8.1).
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return { problem: 'is not UTF-8' };
  }
  const rewritten = withMember(text, path, token);
  return 'problem' in rewritten ? rewritten : Buffer.from(rewritten.text);
}

/** Byte by byte, for all characters. */
function formWith(body: Buffer, name: string, token: string): Buffer | Problem {
  const rewritten = withParameter(body.toString('latin1'), name, token);
  return 'problem' in rewritten ? rewritten : Buffer.from(rewritten.text, 'latin1');
}

function wordsOf(placement: BodyPlacement): {
  readonly what: string;
  readonly type: string;
  readonly name: string;
} {
  return placement.kind === 'json'
    ? { what: 'a JSON object', type: 'application/json', name: placement.path.join('/') }
    : { what: 'a form', type: 'application/x-www-form-urlencoded', name: placement.name };
}

/**
 * Returns a form (application/x-www-form-urlencoded) with a parameter in place of the first of its name, else
 * at the end. Removes others of the name, as the most forgiving server reads it. All other bytes stay.
 */
export function withParameter(text: string, name: string, value: string): Rewritten {
  const parameters = parametersOf(text, new Set([forgivingName(name)]));
  if ('hidden' in parameters) return { problem: `has a parameter that some servers would read as ${name}` };
  return { text: replacing(parameters, name, parameter(name, value)).join('&') };
}

/** A member of a JSON object, with its offsets in the text. */
interface Member {
  readonly key: string;
  readonly keyAt: number;
  readonly keyEnd: number;
  readonly valueAt: number;
  readonly valueEnd: number;
}

const notBlank = /[^ \t\n\r]/g;
const bracket = /["{}[\]]/g;
const endOfPlain = /[,}\] \t\n\r]/g;

/**
 * The members of the object that begins at `start`.
 *
 * @param text known to be JSON
 */
function membersAt(text: string, start: number): readonly Member[] {
  const members: Member[] = [];
  let at = nextOf(notBlank, text, start + 1);
  while (text[at] === '"') {
    const keyEnd = endOfQuoted(text, at);
    const colon = nextOf(notBlank, text, keyEnd);
    const valueAt = nextOf(notBlank, text, colon + 1);
    const valueEnd = endOfValue(text, valueAt);
    const written = text.slice(at, keyEnd);
    const key = written.includes('\\') ? (JSON.parse(written) as string) : written.slice(1, -1);
    members.push({ key, keyAt: at, keyEnd, valueAt, valueEnd });
    const comma = nextOf(notBlank, text, valueEnd);
    if (text[comma] !== ',') break;
    at = nextOf(notBlank, text, comma + 1);
  }
  return members;
}

/** Returns the start of the value of a text; the length of a blank text. */
function startOfValue(text: string): number {
  return nextOf(notBlank, text, 0);
}

function endOfValue(text: string, start: number): number {
  const first = text[start]!;
  if (first === '"') return endOfQuoted(text, start);
  if (first !== '{' && first !== '[') return nextOf(endOfPlain, text, start);
  let depth = 0;
  let at = start;
  for (;;) {
    const found = text[at]!;
    if (found === '"') at = endOfQuoted(text, at);
    else {
      depth += found === '{' || found === '[' ? 1 : -1;
      at += 1;
      if (depth === 0) return at;
    }
    at = nextOf(bracket, text, at);
  }
}

/** A text, or why there is none: the end of a sentence about the body. */
type Rewritten = { readonly text: string } | { readonly problem: string };

/**
 * Returns JSON in which one member is a string, in place of the first member of that name. Removes others of
 * the name, in any encoding and any letter case, because Go's parser ignores case. If there is none, the
 * member comes first, with the objects around it. All other bytes stay.
 *
 * @param path names from the outermost object on
 */
export function withMember(text: string, path: readonly string[], value: string): Rewritten {
  let isObject = false;
  try {
    JSON.parse(text);
    isObject = text[startOfValue(text)] === '{';
  } catch {
    return { problem: 'is not JSON' };
  }
  if (!isObject) return { problem: 'is not a JSON object' };
  const rewritten = placed(text, path, value);
  if ('problem' in rewritten) return rewritten;
  // Rejects repeated keys elsewhere too: servers would read different values (RFC 8259 §4).
  return parseStrictJson(rewritten.text) === undefined ? { problem: 'has a key twice' } : rewritten;
}

function placed(text: string, path: readonly string[], value: string): Rewritten {
  let start = startOfValue(text);
  for (const [depth, name] of path.entries()) {
    const members = membersAt(text, start);
    const folded = fold(name);
    const alike = members.filter(({ key }) => fold(upToNul(key)) === folded);
    const [first, ...more] = alike;
    const rest = path.slice(depth + 1);
    if (first === undefined) {
      const around = rest.reduceRight<unknown>((inner, each) => Object.fromEntries([[each, inner]]), value);
      const comma = members.length === 0 ? '' : ',';
      const member = `${JSON.stringify(name)}:${JSON.stringify(around)}${comma}`;
      return { text: `${text.slice(0, start + 1)}${member}${text.slice(start + 1)}` };
    }
    if (rest.length === 0) return { text: replaced(text, members, alike, { name, value }) };
    const here = path.slice(0, depth + 1).join('/');
    if (more.length > 0 || first.key !== name) return { problem: `has ${here} in more than one spelling` };
    if (text[first.valueAt] !== '{') return { problem: `has no object at ${here}` };
    start = first.valueAt;
  }
  return { text };
}

/** Returns the key up to a NUL, where parsers in C may end it. */
function upToNul(key: string): string {
  const end = key.indexOf('\0');
  return end < 0 ? key : key.slice(0, end);
}

/** Sets the value of the first equal member, and removes the others, each with the comma before it. */
function replaced(
  text: string,
  members: readonly Member[],
  alike: readonly Member[],
  { name, value }: { readonly name: string; readonly value: string },
): string {
  const [first] = alike;
  const gone = new Set(alike);
  const pieces: string[] = [];
  let at = 0;
  for (const [index, member] of members.entries()) {
    if (!gone.has(member)) continue;
    if (member === first) {
      pieces.push(
        text.slice(at, member.keyAt),
        JSON.stringify(name),
        text.slice(member.keyEnd, member.valueAt),
      );
      pieces.push(JSON.stringify(value));
    } else pieces.push(text.slice(at, Math.max(at, members[index - 1]!.valueEnd)));
    at = member.valueEnd;
  }
  return [...pieces, text.slice(at)].join('');
}
