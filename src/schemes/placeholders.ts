import { awsKeysOf, type Credential } from '../grants/credential.ts';
import type { PlaceholderPlace } from '../grants/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import { basicPair, type PlaceholderCodes, replaceIn } from '../placeholders/codes.ts';
import { findIn, PlaceholderScanner, type Replacement, Replacer } from '../placeholders/stream.ts';
import { isFieldValue } from '../policy/text.ts';
import { type AppliedRequest, streaming, withBody } from './apply.ts';
import { conceal } from './scheme.ts';
import { singleValue } from './single-value.ts';

/**
 * A request with the credential in the place of its placeholders, besides where its own way put it.
 *
 * @throws SidekeyError `placeholder_misused`; see `placeInHead` and `placeInBody`
 */
export function substitutePlaceholders(
  request: AppliedRequest,
  shown: DetectedPlaceholders,
  credential: Credential,
): AppliedRequest {
  const value = () => valueOf(credential);
  const head = placeInHead(request, shown, value);
  const inTarget = head.path !== request.path;
  const hasMessages = shown.places.includes('websocket') && hasValue(credential);
  const { conceal: before = (fields) => fields } = request;
  const carrying: AppliedRequest = {
    ...request,
    ...head,
    carriedIn: new Set([...(request.carriedIn ?? []), ...head.carriedIn]),
    messages: hasMessages ? () => messagesWith(shown, value()) : undefined,
    conceal: inTarget
      ? (fields) =>
          conceal(before(fields), request.secrets ?? { texts: [value()] }, ownIn(request.path, shown))
      : request.conceal,
  };
  return shown.body === null ? carrying : placeInBody(carrying, shown, shown.body, value());
}

/** The placeholder of a target: with it an address of the response can be asked for. */
function ownIn(target: string, { texts }: DetectedPlaceholders): string | undefined {
  return texts().find((text) => target.includes(text));
}

/** Messages are JSON nearly always; what needs no escape is the same in any text. */
function messagesWith({ texts }: DetectedPlaceholders, value: string): Replacement {
  return {
    texts: texts().map((text) => Buffer.from(text)),
    value: Buffer.from(JSON.stringify(value).slice(1, -1)),
  };
}

/**
 * A request with the credential in the place of the placeholders in its body. What was read whole has a length again. What
 * streams has one no more: how often a placeholder comes in it, nobody knows.
 *
 * @param value what a placeholder stands for
 * @throws SidekeyError `placeholder_misused`: one is not of this grant; of a body that streams, while it is read
 */
function placeInBody(
  request: AppliedRequest,
  shown: DetectedPlaceholders,
  { syntax, whole }: PlaceholdersInBody,
  value: string,
): AppliedRequest {
  const replacement: Replacement = {
    texts: shown.texts().map((text) => Buffer.from(text)),
    value: Buffer.from(written(value, syntax)),
  };
  if (whole === null) {
    return streaming(request, (pieces) => replacedIn(pieces, replacement, shown));
  }
  const replacer = new Replacer(replacement);
  const body = Buffer.concat([...replacer.push(whole), ...replacer.end()]);
  if (findIn(body, shown.codes).length > 0) throw foreign('the body');
  return withBody(request, body);
}

/** A form takes its own encoding (URL Standard, urlencoded); in it `%20` is read as `+` is. */
function written(value: string, syntax: BodySyntax): string {
  switch (syntax) {
    case 'json':
      return JSON.stringify(value).slice(1, -1);
    case 'form':
      return encodeURIComponent(value);
    case 'plain':
      return value;
  }
}

async function* replacedIn(
  pieces: AsyncIterable<Buffer> | Iterable<Buffer>,
  replacement: Replacement,
  { codes }: DetectedPlaceholders,
): AsyncGenerator<Buffer> {
  const replacer = new Replacer(replacement);
  const scanner = new PlaceholderScanner(codes);
  const checked = (done: readonly Buffer[]) => {
    for (const piece of done) if (scanner.push(piece).length > 0) throw foreign('the body');
    return done;
  };
  for await (const piece of pieces) yield* checked(replacer.push(piece));
  yield* checked(replacer.end());
}

/** The head of a request with the credential in the place of its placeholders. */
interface PlacedHead {
  readonly path: string;
  readonly fields: readonly string[];
  /** Names, in lower case, of the fields that have it now. */
  readonly carriedIn: readonly string[];
}

/**
 * @param request without the fields that the credential takes over in any case
 * @param value what a placeholder stands for; asked for where there is one
 * @throws SidekeyError `placeholder_misused`: one stands where it may not, or is not of this grant; or the
 * credential cannot
 */
function placeInHead(
  request: { readonly path: string; readonly fields: readonly string[] },
  shown: DetectedPlaceholders,
  value: () => string,
): PlacedHead {
  const carriedIn: string[] = [];
  const fields: string[] = [];
  for (let i = 0; i < request.fields.length; i += 2) {
    const name = request.fields[i]!;
    const before = request.fields[i + 1]!;
    const after = fieldWith(name, before, shown, value);
    if (after !== before) carriedIn.push(name.toLowerCase());
    fields.push(name, after);
  }
  return { path: targetWith(request.path, shown, value), fields, carriedIn };
}

function targetWith(target: string, shown: DetectedPlaceholders, value: () => string): string {
  const at = target.indexOf('?');
  const path = at < 0 ? target : target.slice(0, at);
  const written = () => encodeURIComponent(value());
  return (
    replaced(path, { place: 'path', where: 'the path' }, shown, written) +
    replaced(target.slice(path.length), { place: 'query', where: 'the query' }, shown, written)
  );
}

function fieldWith(name: string, before: string, shown: DetectedPlaceholders, value: () => string): string {
  const spot = { place: 'header', where: `the header ${name}` } as const;
  // Text of a field is a character a byte.
  const bytes = () => Buffer.from(value()).toString('latin1');
  const after = replaced(before, spot, shown, bytes);
  const pair = after === before && name.toLowerCase() === 'authorization' ? basicPair(before) : null;
  if (pair !== null) {
    const filled = replaced(pair, spot, shown, bytes);
    return filled === pair ? before : `Basic ${Buffer.from(filled, 'latin1').toString('base64')}`;
  }
  if (after !== before && !isFieldValue(after)) {
    throw unfit(spot.where);
  }
  return after;
}

interface Spot {
  readonly place: PlaceholderPlace;
  /** For people. */
  readonly where: string;
}

function replaced(
  text: string,
  { place, where }: Spot,
  { codes, places, texts }: DetectedPlaceholders,
  value: () => string,
): string {
  if (codes.find(text).length === 0) return text;
  if (!places.includes(place)) throw misplaced(place, where);
  const done = replaceIn(text, texts(), value());
  if (codes.find(done).length > 0) throw foreign(where);
  return done;
}

/** A placeholder stands where its provider has none. */
export function misplaced(place: PlaceholderPlace, where: string): SidekeyError {
  return misused(
    `A placeholder stands in ${where}, where the credential of this grant is not put.`,
    `leave it out, or where the API wants it there, say so in the provider: placeholders: [${place}]`,
  );
}

/** A placeholder is of another grant or another lease, or was changed. */
export function foreign(where: string): SidekeyError {
  return misused(
    `A placeholder in ${where} is not the one that this caller has for the grant of this request.`,
    'use the one that was given for this grant and this lease: sidekey run and sidekey env set it',
  );
}

/** A placeholder was sent to a host where no grant of it is used. */
export function notFor(host: string): SidekeyError {
  return misused(
    `A placeholder was sent to ${host}, and it stands for nothing there.`,
    'send it to the hosts of its grant alone (http://sidekey.internal/ lists them); if this is one: sidekey domain allow HOST --grant NAME',
  );
}

/** Of a body whose length is said already, so that nothing can take the place of a placeholder in it. */
export function tooLate(bytes: number): SidekeyError {
  return misused(
    `A placeholder stands behind the first ${bytes} bytes of a body whose length was given.`,
    'send it before, or the body in chunks, or raise limits.placeholder_body_bytes',
  );
}

/** A program asks the token endpoint of its provider for something that no placeholder stands for. */
export function tokenRequestRefused(grantType: unknown): SidekeyError {
  const isNamed = typeof grantType === 'string' && /^[\w:.-]{1,80}$/.test(grantType);
  const what = isNamed ? `grant_type ${grantType}` : 'no grant_type that is known';
  return misused(
    `A token request with ${what} shows a placeholder, which stands for a token that is there already.`,
    'use the placeholder as the token; a person consents with sidekey connect',
  );
}

/** The credential has no value that could take the place of a placeholder. */
function withoutValue(): SidekeyError {
  return misused(
    'The credential of this grant is no single value, so its placeholder stands for nothing here.',
    'leave the placeholder out: Sidekey adds the credential in its own way',
  );
}

/** The credential cannot be written where its placeholder stands. */
function unfit(where: string): SidekeyError {
  return misused(`The credential of this grant holds a byte that must not stand in ${where}.`);
}

function misused(sentence: string, hint?: string): SidekeyError {
  return new SidekeyError('placeholder_misused', sentence, { hint });
}

/** The placeholders of a request, and where they may become the credential. */
export interface DetectedPlaceholders {
  /** All texts that stand for the grant in the hands of the caller. */
  readonly texts: () => readonly string[];
  /** Where they may stand besides the fields that the credential takes over in any case. */
  readonly places: readonly PlaceholderPlace[];
  readonly codes: Pick<PlaceholderCodes, 'find'>;
  /**
   * Whether it may put the credential into the path, the query, the body or a field other than `Authorization`, which
   * services show more readily than that.
   */
  readonly inContent: boolean;
  /** Null: the body goes on as it is. */
  readonly body: PlaceholdersInBody | null;
}

/** A body that has some. */
export interface PlaceholdersInBody {
  readonly syntax: BodySyntax;
  /** All of it, where it was read; null: it streams. */
  readonly whole: Buffer | null;
}

/** The same placeholders, where none may become the credential. */
export function withoutPlaces(shown: DetectedPlaceholders | undefined): DetectedPlaceholders | undefined {
  return shown && { ...shown, places: [], inContent: false, body: null };
}

/** How a value is written in a body. */
export type BodySyntax = 'json' | 'form' | 'plain';

/**
 * What a placeholder stands for: the one value of a credential, or the password of a pair.
 *
 * @throws SidekeyError `placeholder_misused`: the credential has no such value
 */
export function valueOf(credential: Credential): string {
  if (credential.type === 'basic') return credential.password;
  if (!hasValue(credential)) throw withoutValue();
  return singleValue(credential);
}

/** Whether a credential has a value that can take the place of a placeholder: the keys of a role are no token. */
export function hasValue(credential: Credential): boolean {
  return credential.type !== 'headers' && awsKeysOf(credential) === null;
}
