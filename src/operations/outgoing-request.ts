import { isName, isUserName } from '../domain/grant.ts';
import { inputInvalid } from '../lib/errors.ts';
import { type Hint, remedy } from '../lib/hint.ts';
import { ownUserAgent } from '../lib/package-files.ts';
import { authorityText, parseAbsoluteTarget } from '../proxy/policy/authority.ts';
import { isFieldName } from '../proxy/policy/text.ts';
import type { BodySource, Hop } from '../proxy/upstream/through-proxy.ts';

/** Requests that people and programs send with the credential of a grant. */

/** A request as it was written. */
interface WrittenRequest {
  readonly method?: string | undefined;
  readonly url: string;
  /** `Name: value` */
  readonly headers?: readonly string[] | undefined;
  readonly grant?: string | undefined;
  readonly user?: string | undefined;
  readonly reason?: string | undefined;
}

export interface OutgoingRequest {
  readonly hop: Hop;
  readonly user: string | null;
}

/** @throws SidekeyError `input_invalid` */
export function outgoingRequest(
  { headers = [], ...written }: WrittenRequest,
  body: BodySource | null,
): OutgoingRequest & {
  /** True: an `Authorization` field was given, which is not sent. */
  readonly hadAuthorization: boolean;
} {
  // Header values are bytes; text is sent as UTF-8.
  const given = headers
    .map((header) => parseHeader(header, 'Accept: text/html'))
    .map(([name, value]) => [name, Buffer.from(value, 'utf8').toString('latin1')] as const);
  const fields = given.filter(([name]) => name.toLowerCase() !== 'authorization');
  const type = body === null ? undefined : 'application/json';
  return {
    ...requestWith({ ...written, fields, type }, body),
    hadAuthorization: fields.length < given.length,
  };
}

/** A request whose fields are bytes, one per character. */
interface RequestOfFields extends Omit<WrittenRequest, 'headers'> {
  readonly fields: Hop['fields'];
  /** `Content-Type` if `fields` have none. */
  readonly type: string | undefined;
}

/** @throws SidekeyError `input_invalid` */
export function requestWith(
  { grant, user, reason, method, fields, type, ...written }: RequestOfFields,
  body: BodySource | null,
): OutgoingRequest {
  if (grant !== undefined && !isName(grant))
    throw inputInvalid('The name of the grant is not valid.', remedy('grant.list'));
  if (user !== undefined && !isUserName(user))
    throw inputInvalid('The name of the user is not valid.', remedy('grant.list'));
  if (reason !== undefined && (reason.trim() === '' || /\p{Cc}/u.test(reason))) {
    throw inputInvalid('The reason is empty, or has control characters.', "--reason 'ticket 7'");
  }
  const url = readUrl(written.url);
  for (const field of fields) assertField(field);
  const has = (wanted: string) => fields.some(([name]) => name.toLowerCase() === wanted);
  const add = (name: string, value: string | undefined): Hop['fields'] =>
    value === undefined || has(name.toLowerCase()) ? [] : [[name, value]];
  return {
    hop: {
      method: readMethod(method ?? (body === null ? 'GET' : 'POST')),
      url,
      fields: [
        ...add('User-Agent', ownUserAgent()),
        ...add('Accept', '*/*'),
        ...fields,
        ...add('Content-Type', type),
        ...add('Sidekey-Grant', grant),
        ...add('Sidekey-Reason', reason && Buffer.from(reason.trim(), 'utf8').toString('latin1')),
      ],
      body,
    },
    user: user ?? null,
  };
}

/** Parses a URL; the default scheme is https, as in the map. */
export function readUrl(text: string): string {
  const [whole = ''] = (text.includes('://') ? text : `https://${text}`).split('#', 1);
  const target = parseAbsoluteTarget(whole);
  if (target === null) {
    throw inputInvalid(
      'The URL is not valid, or contains a user name.',
      remedy('fetch', { url: 'https://api.example.com/path' }),
    );
  }
  const { authority, path } = target;
  // Escapes bytes that are invalid in a request line as browsers do. Keeps others.
  const sendable = path.replace(/[^\x21-\x7e]+/gu, (found) => encodeURIComponent(found.toWellFormed()));
  return `${authority.scheme}://${authorityText(authority)}${sendable}`;
}

function readMethod(text: string): string {
  if (/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/.test(text) && text.toUpperCase() !== 'CONNECT') return text;
  throw inputInvalid('The method is not valid.', '--request PATCH');
}

/** Returns the source of a body in memory. */
export function textBody(text: string): BodySource {
  const bytes = Buffer.from(text, 'utf8');
  return { length: bytes.length, repeatable: true, open: () => once(bytes) };
}

export async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

/**
 * Parses a header of the command line, `Name: value`, in linear time. The error omits it, because it may hold
 * a secret.
 */
export function parseHeader(text: string, example: string): readonly [name: string, value: string] {
  const colon = text.indexOf(':');
  const name = text.slice(0, Math.max(0, colon));
  const isBlank = (at: number) => text[at] === ' ' || text[at] === '\t';
  let [from, to] = [colon + 1, text.length];
  while (from < to && isBlank(from)) from += 1;
  while (from < to && isBlank(to - 1)) to -= 1;
  const value = text.slice(from, to);
  if (isFieldName(name) && !/\p{Cc}/u.test(value)) return [name, value];
  throw inputInvalid('A header is not valid.', `--header '${example}'`);
}

/** @throws SidekeyError `input_invalid`, without the value, which may be secret */
function assertField([name, value]: Hop['fields'][number]): void {
  const instead = ofOurs.get(name.toLowerCase());
  if (instead !== undefined) throw inputInvalid(`${name} cannot be set with --header.`, instead);
  if (!isFieldName(name) || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value))
    throw inputInvalid('A header is not valid.', 'send a name, and a value without control characters');
}

/** Fields that Sidekey writes: authentication, address and framing. */
const ofOurs: ReadonlyMap<string, Hint> = new Map(
  Object.entries<Hint>({
    'proxy-authorization': 'use --agent NAME, or put the user into the URL of --proxy',
    'sidekey-grant': remedy('fetch', { grant: null, url: null }),
    'sidekey-reason': '--reason TEXT',
    host: 'the URL sets it',
    'content-length': 'Sidekey sets it',
    'transfer-encoding': 'Sidekey sets it',
    connection: 'leave it out',
    expect: 'leave it out',
    upgrade: 'leave it out, and use a program that supports it, with the proxy',
  }),
);
