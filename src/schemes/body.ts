import { randomUUID } from 'node:crypto';
import type { Placement } from '../grants/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import { parseStrictJson } from '../lib/json.ts';
import { endOfQuoted, fold, jsonType, mediaTypeOf, nextOf } from '../policy/text.ts';
import { forgivingName, parameter, parametersOf, replacing } from './parameters.ts';
import { type Carrier, factsOf, refused } from './scheme.ts';

/** The plans whose credential stands in the body. */
type BodyPlanned = Extract<Placement, { kind: 'json' | 'form' }>;

/** A token that is a value of the body, which is known whole. */
export function inBody(plan: BodyPlanned, token: string): Carrier {
  return {
    fields: [],
    into: (request) => {
      const { body, hasBody } = factsOf(request);
      assertTakes({ fields: request.fields, hasBody }, plan);
      if (body === null) throw new SidekeyError('internal', 'The body was not read.');
      return { body: bodyWith(body, plan, token) };
    },
  };
}

/**
 * Sees by its head whether the body of a request may be one that a credential can be written into.
 *
 * @throws SidekeyError `policy_violation`: it is not
 */
export function assertTakes(
  { fields, hasBody }: { readonly fields: readonly string[]; readonly hasBody: boolean },
  plan: BodyPlanned,
): void {
  const { what, type, name } = wordsOf(plan);
  const hint = `send ${what} with Content-Type: ${type}; Sidekey writes ${name} into it`;
  if (!hasBody) {
    throw refused(`The credential of this grant stands in the body, and the request has none.`, hint);
  }
  const codings = valuesOf(fields, 'content-encoding').join(', ').trim().toLowerCase();
  if (codings !== '' && codings !== 'identity') {
    throw refused(
      'The credential of this grant stands in the body, and that of the request is compressed.',
      'send it without Content-Encoding',
    );
  }
  const types = valuesOf(fields, 'content-type');
  const [written = null] = types;
  const found = types.length > 1 ? null : mediaTypeOf(written);
  const fits = plan.kind === 'json' ? jsonType.test(found ?? '') : found === type;
  if (!fits)
    throw refused(`The credential of this grant stands in ${what}, and the request has another body.`, hint);
}

/** A body with room for the credential. */
interface Opened {
  readonly plan: BodyPlanned;
  readonly before: Buffer;
  readonly after: Buffer;
}

/** Bodies are read once, though they are checked long before a credential is written into them. */
const openedBodies = new WeakMap<Buffer, Opened>();

/** @throws SidekeyError `policy_violation`: the credential cannot be written into it */
export function bodyWith(body: Buffer, plan: BodyPlanned, token: string): Buffer {
  const known = openedBodies.get(body);
  const opened = known?.plan === plan ? known : open(body, plan);
  openedBodies.set(body, opened);
  return Buffer.concat([opened.before, Buffer.from(written(token, plan)), opened.after]);
}

function written(value: string, { kind }: BodyPlanned): string {
  return kind === 'json' ? JSON.stringify(value) : encodeURIComponent(value);
}

function open(body: Buffer, plan: BodyPlanned): Opened {
  // Nobody knows it, so it is there once.
  const mark = randomUUID();
  const rewritten = plan.kind === 'json' ? json(body, plan.path, mark) : form(body, plan.name, mark);
  if (Buffer.isBuffer(rewritten)) {
    const room = Buffer.from(written(mark, plan));
    const at = rewritten.indexOf(room);
    return { plan, before: rewritten.subarray(0, at), after: rewritten.subarray(at + room.length) };
  }
  const { what, name } = wordsOf(plan);
  throw refused(
    `The credential of this grant stands in the body, and that of the request ${rewritten.problem}.`,
    `send ${what} that can be read in one way alone; Sidekey writes ${name} into it`,
  );
}

type Problem = Extract<Rewritten, { problem: string }>;

function json(body: Buffer, path: readonly string[], token: string): Buffer | Problem {
  let text: string;
  try {
    // What begins with a byte order mark is JSON to some alone (RFC 8259 §8.1).
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return { problem: 'is no UTF-8' };
  }
  const rewritten = withMember(text, path, token);
  return 'problem' in rewritten ? rewritten : Buffer.from(rewritten.text);
}

/** Byte by byte, whatever the characters are. */
function form(body: Buffer, name: string, token: string): Buffer | Problem {
  const rewritten = withParameter(body.toString('latin1'), name, token);
  return 'problem' in rewritten ? rewritten : Buffer.from(rewritten.text, 'latin1');
}

function wordsOf(plan: BodyPlanned): { readonly what: string; readonly type: string; readonly name: string } {
  return plan.kind === 'json'
    ? { what: 'a JSON object', type: 'application/json', name: plan.path.join('/') }
    : { what: 'a form', type: 'application/x-www-form-urlencoded', name: plan.name };
}

function valuesOf(fields: readonly string[], name: string): string[] {
  return fields.filter((_, index) => index % 2 === 1 && fields[index - 1]!.toLowerCase() === name);
}

/**
 * A form (application/x-www-form-urlencoded) in which one parameter has a value. It stands in the place of the first of
 * that name, else behind all; others of the name go, as the most forgiving server reads it. The rest stays byte by byte.
 */
export function withParameter(text: string, name: string, value: string): Rewritten {
  const parameters = parametersOf(text, new Set([forgivingName(name)]));
  if ('hidden' in parameters) return { problem: `has a parameter that some servers would read as ${name}` };
  return { text: replacing(parameters, name, parameter(name, value)).join('&') };
}

/** A member of an object of JSON, by where it stands in the text. */
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

/** Where the object begins that is all of a text; the length of the text where that is all there is. */
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
 * JSON in which one member is a string. It stands in the place of the first member of that name; others of the name go,
 * however they are written, and so do those that differ in case alone: Go's parser takes the one for the other. Where
 * there is none it comes first, with the objects around it. All other bytes stay as they are.
 *
 * @param path names from the outermost object on
 */
export function withMember(text: string, path: readonly string[], value: string): Rewritten {
  let isObject = false;
  try {
    JSON.parse(text);
    isObject = text[startOfValue(text)] === '{';
  } catch {
    return { problem: 'is no JSON' };
  }
  if (!isObject) return { problem: 'is no JSON object' };
  const rewritten = placed(text, path, value);
  if ('problem' in rewritten) return rewritten;
  // It has one reading now, and no two servers find different members in it (RFC 8259 §4).
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
    if (first === undefined) return { text: inserted(text, start, members.length === 0, name, rest, value) };
    if (rest.length === 0) return { text: replaced(text, members, alike, name, value) };
    const here = path.slice(0, depth + 1).join('/');
    if (more.length > 0 || first.key !== name) return { problem: `has ${here} in more than one spelling` };
    if (text[first.valueAt] !== '{') return { problem: `has no object at ${here}` };
    start = first.valueAt;
  }
  return { text };
}

/** To a parser in C a key may end at a NUL. */
function upToNul(key: string): string {
  const end = key.indexOf('\0');
  return end < 0 ? key : key.slice(0, end);
}

function inserted(
  text: string,
  start: number,
  isEmpty: boolean,
  name: string,
  rest: readonly string[],
  value: string,
): string {
  const around = rest.reduceRight<unknown>((inner, each) => Object.fromEntries([[each, inner]]), value);
  const member = `${JSON.stringify(name)}:${JSON.stringify(around)}${isEmpty ? '' : ','}`;
  return `${text.slice(0, start + 1)}${member}${text.slice(start + 1)}`;
}

/** The first of those that are alike has the value, and the others go, each with the comma before it. */
function replaced(
  text: string,
  members: readonly Member[],
  alike: readonly Member[],
  name: string,
  value: string,
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
