import type { ExpiredSign } from '../domain/provider.ts';
import { contentCodings, decodedBody, unknownCoding } from '../lib/content-coding.ts';
import { isScalar } from '../lib/json.ts';
import { challengesIn } from './http/fields.ts';
import { hasResponseBody } from './http/framing.ts';
import { matchesAny } from './policy/text.ts';

/** Recognizes responses that report an ended token. Pure. */

/** Longest body that is read, in bytes as received. Errors are shorter. */
export const maxExpiredBytes = 8_192;
/** Milliseconds after the head for which a body may be withheld from the client. */
export const maxExpiredMs = 1_000;
/** Limit of the decoded body. */
const decodedLimit = { name: null, bytes: 65_536 } as const;

/** JSON, by the types that APIs send it with. Events and lists of JSON texts have other types. */
const types =
  /^(?:application\/(?:[a-z0-9.+-]*\+json|json|x-amz-json-1\.[01])|text\/(?:json|javascript|plain))$/;

/** A final response head. */
export interface AnsweredHead {
  readonly method: string;
  readonly status: number;
  /** Returns the values of a field, by its name in lower case. */
  readonly values: (name: string) => readonly string[];
}

/** Body that shows whether the token has ended. */
export interface ExpiredBody {
  readonly signs: readonly ExpiredSign[];
  /** Values of `Content-Encoding`. */
  readonly contentEncoding: readonly string[];
}

/** Returns `ended` if a head reports an ended token, or the body to read for that; null: neither. */
export function readExpiredHead(head: AnsweredHead, signs: readonly ExpiredSign[]) {
  const { status, values } = head;
  if (status === 401) return 'ended';
  if (status >= 400 && status < 500 && isInvalidToken(values('www-authenticate'))) return 'ended';
  const fitting = signs.filter(({ statuses }) => statuses.includes(status));
  if (fitting.some((sign) => sign.path === null && isInHead(sign, values))) return 'ended';
  const inBody = fitting.filter(({ path }) => path !== null);
  return inBody.length === 0 ? null : bodyOf(head, inBody);
}

/** RFC 6750 §3.1, RFC 9449 §7.1: the status should be 401, but some servers have another. */
function isInvalidToken(challenges: readonly string[]): boolean {
  return challenges
    .flatMap(challengesIn)
    .some(
      ({ scheme, parameters }) =>
        (scheme === 'bearer' || scheme === 'dpop') && parameters.get('error') === 'invalid_token',
    );
}

function isInHead({ header, values: expected }: ExpiredSign, values: AnsweredHead['values']): boolean {
  return header === null || values(header).some((value) => matchesAny(expected, value));
}

/** Returns null for a body that is absent, long, of another type or coding, or a part of a resource. */
function bodyOf({ method, status, values }: AnsweredHead, signs: readonly ExpiredSign[]): ExpiredBody | null {
  if (!hasResponseBody(method, status) || status === 206) return null;
  const [type = ''] = values('content-type');
  const contentEncoding = values('content-encoding');
  const isShort = values('content-length').every((length) => Number(length) <= maxExpiredBytes);
  const isRead = types.test(type.split(';', 1)[0]!.trim().toLowerCase());
  const isDecodable = unknownCoding(contentCodings(contentEncoding)) === undefined;
  return isShort && isRead && isDecodable ? { signs, contentEncoding } : null;
}

/** Reports whether the first bytes of a body may begin a JSON object or list. */
export function mayBeJson(piece: Buffer, { contentEncoding }: ExpiredBody): boolean {
  return (
    contentCodings(contentEncoding).length > 0 ||
    /^(?:\xef\xbb\xbf)?\s*[{[]/.test(piece.toString('latin1', 0, 256))
  );
}

/** Reports whether a whole body, as received, reports an ended token. */
export function isExpiredBody(bytes: Buffer, { signs, contentEncoding }: ExpiredBody): boolean {
  const decoded = decodedBody(bytes, contentEncoding, decodedLimit);
  if (!Buffer.isBuffer(decoded)) return false;
  let body: unknown;
  try {
    body = JSON.parse(new TextDecoder().decode(decoded));
  } catch {
    return false;
  }
  return signs.some(({ path, values }) =>
    valuesAt(body, path ?? []).some((value) => isScalar(value) && matchesAny(values, String(value))),
  );
}

/** Returns the values at a path. Each name is looked for in every item of a list. */
function valuesAt(body: unknown, path: readonly string[]): readonly unknown[] {
  return path.reduce<readonly unknown[]>(
    (values, name) =>
      values.flatMap((value) =>
        typeof value === 'object' && value !== null
          ? itemsOf((value as Readonly<Record<string, unknown>>)[name])
          : [],
      ),
    itemsOf(body),
  );
}

function itemsOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [value];
}
