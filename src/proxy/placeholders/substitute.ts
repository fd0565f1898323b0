import { awsKeysOf, type Credential } from '../../domain/credential.ts';
import type { Placement, PlaceholderPlace } from '../../domain/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { type Hint, hintOf, remedy } from '../../lib/hint.ts';
import { isFieldValue } from '../policy/text.ts';
import { withBody, withStreamedBody } from '../schemes/apply.ts';
import { singleValue } from '../schemes/credential.ts';
import { schemeOf } from '../schemes/placement.ts';
import { type AppliedRequest, conceal, type Replacement } from '../schemes/scheme.ts';
import { basicPair, type PlaceholderCodes, replaceIn } from './codes.ts';
import { findIn, PlaceholderScanner, Replacer } from './stream.ts';

/** The placeholders of a request, and the places where they may become the credential. */
export interface DetectedPlaceholders {
  /** Returns all placeholders of the grant for this caller. */
  readonly texts: () => readonly string[];
  /** Places besides the fields that the scheme writes. */
  readonly places: readonly PlaceholderPlace[];
  readonly codes: Pick<PlaceholderCodes, 'find'>;
  /** True if the credential may be outside `Authorization`, in places that services repeat more often. */
  readonly inContent: boolean;
  /** Null: the body is forwarded unchanged. */
  readonly body: PlaceholdersInBody | null;
}

/** A body with placeholders. */
export interface PlaceholdersInBody {
  readonly syntax: BodySyntax;
  /** The whole body; null: it streams. */
  readonly whole: Buffer | null;
}

/** Syntax in which a value is written in a body. */
export type BodySyntax = 'json' | 'form' | 'plain';

/**
 * Replaces the placeholders of a request by the credential, in addition to the injection of the scheme.
 * @throws SidekeyError `placeholder_misused`; see `substituteInHead` and `substituteInBody`
 */
export function substitutePlaceholders(
  request: AppliedRequest,
  detected: DetectedPlaceholders,
  credential: Credential,
  placement: Placement,
): AppliedRequest {
  const isNeverSent = schemeOf(placement).isNeverSent === true;
  // A body that was read whole has a placeholder, which must not be forwarded either.
  if (isNeverSent && (detected.body?.whole ?? null) !== null) throw misplaced('body', 'the body');
  const allowed = isNeverSent ? { ...detected, places: [], inContent: false, body: null } : detected;
  const value = () => valueOf(credential);
  const head = substituteInHead(request, allowed, value);
  const inTarget = head.path !== request.path;
  const hasMessages = allowed.places.includes('websocket') && hasValue(credential);
  const { conceal: before = (fields) => fields } = request;
  const substituted: AppliedRequest = {
    ...request,
    ...head,
    carriedIn: new Set([...(request.carriedIn ?? []), ...head.carriedIn]),
    messages: hasMessages ? () => messagesWith(allowed, value()) : undefined,
    conceal: inTarget
      ? (fields) =>
          conceal(
            before(fields),
            request.secrets ?? { texts: [value()] },
            // A URL of the response that repeats the placeholder stays valid for the client.
            allowed.texts().find((text) => request.path.includes(text)),
          )
      : request.conceal,
  };
  return allowed.body === null ? substituted : substituteInBody(substituted, allowed, allowed.body, value());
}

/** Returns the replacement in messages, usually JSON. Any text has a value without escapes unchanged. */
function messagesWith({ texts }: DetectedPlaceholders, value: string): Replacement {
  return {
    texts: texts().map((text) => Buffer.from(text)),
    value: Buffer.from(JSON.stringify(value).slice(1, -1)),
  };
}

/**
 * Replaces the placeholders in a body by a value. A body that was read whole gets its new length. A streamed
 * body is sent in chunks, because its new length is unknown.
 *
 * @throws SidekeyError `placeholder_misused`: a placeholder of another grant. A streamed body throws while it
 * is read
 */
function substituteInBody(
  request: AppliedRequest,
  detected: DetectedPlaceholders,
  { syntax, whole }: PlaceholdersInBody,
  value: string,
): AppliedRequest {
  const replacement: Replacement = {
    texts: detected.texts().map((text) => Buffer.from(text)),
    value: Buffer.from(written(value, syntax)),
  };
  if (whole === null) {
    return withStreamedBody(request, (pieces) => replacedIn(pieces, replacement, detected));
  }
  const replacer = new Replacer(replacement);
  const body = Buffer.concat([...replacer.push(whole), ...replacer.end()]);
  if (findIn(body, detected.codes).length > 0) throw foreign('the body');
  return withBody(request, body);
}

/** Writes a value in a syntax. In a form `%20` is the same as `+` (URL Standard, urlencoded). */
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

/** A head after substitution. */
interface SubstitutedHead {
  readonly path: string;
  readonly fields: readonly string[];
  /** Names, in lower case, of the fields that contain the value. */
  readonly carriedIn: readonly string[];
}

/**
 * Replaces the placeholders in a head by a value.
 *
 * @param request without the fields that the scheme writes
 * @param value called where there is a placeholder
 * @throws SidekeyError `placeholder_misused`: a placeholder in a place that is not allowed, a placeholder of
 * another grant, or a value that the place cannot hold
 */
function substituteInHead(
  request: { readonly path: string; readonly fields: readonly string[] },
  detected: DetectedPlaceholders,
  value: () => string,
): SubstitutedHead {
  const carriedIn: string[] = [];
  const fields: string[] = [];
  for (let i = 0; i < request.fields.length; i += 2) {
    const name = request.fields[i]!;
    const before = request.fields[i + 1]!;
    const after = fieldWith(name, before, detected, value);
    if (after !== before) carriedIn.push(name.toLowerCase());
    fields.push(name, after);
  }
  return { path: targetWith(request.path, detected, value), fields, carriedIn };
}

function targetWith(target: string, detected: DetectedPlaceholders, value: () => string): string {
  const at = target.indexOf('?');
  const path = at < 0 ? target : target.slice(0, at);
  const written = () => encodeURIComponent(value());
  return (
    replaced(path, { place: 'path', where: 'the path' }, detected, written) +
    replaced(target.slice(path.length), { place: 'query', where: 'the query' }, detected, written)
  );
}

function fieldWith(
  name: string,
  before: string,
  detected: DetectedPlaceholders,
  value: () => string,
): string {
  const spot = { place: 'header', where: `the header ${name}` } as const;
  // A field is a text of one character a byte.
  const bytes = () => Buffer.from(value()).toString('latin1');
  const after = replaced(before, spot, detected, bytes);
  const pair = after === before && name.toLowerCase() === 'authorization' ? basicPair(before) : null;
  if (pair !== null) {
    const filled = replaced(pair, spot, detected, bytes);
    return filled === pair ? before : `Basic ${Buffer.from(filled, 'latin1').toString('base64')}`;
  }
  if (after !== before && !isFieldValue(after)) {
    throw misused(`The credential of this grant has a byte that ${spot.where} cannot have.`);
  }
  return after;
}

interface Spot {
  readonly place: PlaceholderPlace;
  /** Description of the place, for people. */
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

/**
 * Returns the value of a placeholder: the one value of a credential, or the password of a pair.
 *
 * @throws SidekeyError `placeholder_misused`: the credential has no such value
 */
export function valueOf(credential: Credential): string {
  if (credential.type === 'basic') return credential.password;
  if (!hasValue(credential)) throw withoutValue();
  return singleValue(credential);
}

/** Reports whether a credential can have a placeholder. The keys of an AWS role cannot. */
export function hasValue(credential: Credential): boolean {
  return credential.type !== 'headers' && awsKeysOf(credential) === null;
}

/** Refusal: a placeholder in a place that its provider does not allow. */
export function misplaced(place: PlaceholderPlace, where: string): SidekeyError {
  return misused(
    `A placeholder is in ${where}, where the credential of this grant is not used.`,
    // A body may be a prompt: a replaced placeholder would give the credential to a model.
    place === 'body'
      ? 'leave it out: Sidekey puts the credential where the API reads it; to forward such text with the placeholder as it is, set unexpected_placeholders: pass in the provider'
      : `leave it out, or where the API wants it there, say so in the provider: placeholders: [${place}]`,
  );
}

/** Refusal: a placeholder is of another grant or another lease, or was changed. */
export function foreign(where: string): SidekeyError {
  return misused(
    `A placeholder in ${where} is not the one that this caller has for the grant of this request.`,
    hintOf`use the one that was given for this grant and this lease: ${remedy('run', { command: null })} and ${remedy('environment.get')} set it`,
  );
}

/** Refusal: a placeholder was sent to a host where its grant is not used. */
export function notFor(host: string): SidekeyError {
  return misused(
    `A placeholder was sent to ${host}, where Sidekey does not replace it.`,
    hintOf`send it to the hosts of its grant alone (http://sidekey.internal/ lists them); if this is one: ${remedy('domain.allow', { host: null, grant: null })}`,
  );
}

/** Refusal: the length of the body was sent before its placeholder was found. */
export function tooLate(bytes: number): SidekeyError {
  return misused(
    `A placeholder is after the first ${bytes} bytes of a body with a length.`,
    'send it before, or the body in chunks, or raise limits.placeholder_body_bytes',
  );
}

/** Refusal: a token request asks for a value without a placeholder. */
export function tokenRequestRefused(grantType: unknown): SidekeyError {
  const isNamed = typeof grantType === 'string' && /^[\w:.-]{1,80}$/.test(grantType);
  const what = isNamed ? `grant_type ${grantType}` : 'no grant_type that is known';
  return misused(
    `A token request with ${what} has a placeholder, and the token that it replaces exists already.`,
    hintOf`use the placeholder as the token; a person consents with ${remedy('connect')}`,
  );
}

/** Refusal: the credential has no single value. */
function withoutValue(): SidekeyError {
  return misused(
    'The credential of this grant is no single value, so no placeholder can stand for it here.',
    'leave the placeholder out: Sidekey adds the credential in its own way',
  );
}

function misused(sentence: string, hint?: Hint): SidekeyError {
  return new SidekeyError('placeholder_misused', sentence, { hint });
}
