import type { Provider } from '../grants/provider.ts';
import { type RawFields, valuesOf } from '../http/fields.ts';
import type { InboundRequest, ExchangeResult, Reply } from '../http/message.ts';
import { orThrow, SidekeyError } from '../lib/errors.ts';
import { basicPair, type FoundCode, type PlaceholderCodes, placeholdersOf } from '../placeholders/codes.ts';
import { findIn, PlaceholderScanner } from '../placeholders/stream.ts';
import { type Authority, authorityText, parseAbsoluteTarget, sameAuthority } from '../policy/authority.ts';
import {
  type BodySyntax,
  foreign,
  misplaced,
  notFor,
  type PlaceholdersInBody,
  tokenRequestRefused,
  tooLate,
} from '../placeholders/substitute.ts';
import type { AuthorizedRequest } from './authorize.ts';
import { holdersOf, showsGrant } from './grant-candidates.ts';
import { takeLimits } from './limits.ts';
import type { ExchangeRecord } from './record.ts';
import { readAhead } from '../http/read-ahead.ts';
import type { ProxyServices } from './services.ts';
import type { PreparedRequest } from './upstream-request.ts';

/**
 * Refuses a request whose head has placeholders that may not be sent to its upstream.
 *
 * @throws SidekeyError `placeholder_misused`
 */
export function refuseStrayPlaceholders(
  { caller, candidates, grant, received }: AuthorizedRequest,
  codes: PlaceholderCodes,
): void {
  // Placeholders of other grants that are offered here may stand in a field that the credential replaces.
  const offered = grant === null ? [] : [grant, ...(candidates?.candidates ?? [])];
  const { placeholders, target } = received;
  const isStray = placeholders.all.some((found) => !offered.some(showsGrant([found], caller, codes)));
  if (isStray) throw notFor(authorityText(target.authority));
}

/**
 * Looks for placeholders in the body of a request. Returns the very request where it can have none.
 *
 * @throws SidekeyError `placeholder_misused`: one may not be sent there; `bad_request` where the client left in the body
 */
export async function detectPlaceholders(
  request: PreparedRequest,
  { caller, config, received, grant }: AuthorizedRequest,
  reply: Pick<Reply, 'continue'>,
  { placeholders: codes, audit }: Pick<ProxyServices, 'placeholders' | 'audit'>,
  record: Pick<ExchangeRecord, 'unexpectedPlaceholder'>,
): Promise<PreparedRequest> {
  const inHead = received.placeholders;
  const provider = grant === null ? undefined : config.provider(grant.provider);
  const places = provider?.placeholders ?? [];
  const isOwn = (found: FoundCode) => grant !== null && showsGrant([found], caller, codes)(grant);
  const whyNot = (found: readonly FoundCode[]): SidekeyError | null => {
    const isForeign = found.some((each) => !isOwn(each));
    if (!isForeign && places.includes('body')) return null;
    if (provider?.unexpectedPlaceholders === 'pass') {
      audit.note(record.unexpectedPlaceholder());
      return null;
    }
    if (grant === null) return notFor(authorityText(request.authority));
    return isForeign ? foreign('the body') : misplaced('body', 'the body');
  };
  const look = { codes, whyNot, maxBytes: config.limits.placeholder_body_bytes };
  const { body, shown } = await lookIntoBody(request, look, places.includes('body'), reply);
  const looked = body === request.body ? request : { ...request, body };
  if (grant === null || provider === undefined) return looked;
  if (inHead.all.length === 0 && shown === null && !places.includes('websocket')) return looked;
  const texts = () => placeholdersOf({ holders: holdersOf(caller), grant: grant.id }, provider, codes);
  const mayBeInTarget = places.includes('path') || places.includes('query');
  const inContent =
    shown !== null ||
    (mayBeInTarget && inHead.inTarget.length > 0) ||
    (places.includes('header') && inHead.inOtherFields.length > 0);
  return { ...looked, placeholders: { texts, places, codes, inContent, body: shown } };
}

/** How a body is searched. */
interface BodyLook {
  readonly codes: PlaceholderCodes;
  /** Returns why the placeholders that were found may not be there; null: they may. */
  readonly whyNot: (found: readonly FoundCode[]) => SidekeyError | null;
  /** Bytes that are read ahead. */
  readonly maxBytes: number;
}

/** A body that was searched, with all of its bytes. */
interface SearchedBody extends Pick<PreparedRequest, 'body'> {
  /** Null: nothing in it is replaced. */
  readonly shown: PlaceholdersInBody | null;
}

/**
 * Searches a body for placeholders: ahead within bounds where the credential may replace them, and else while it streams.
 *
 * @throws SidekeyError as `detectPlaceholders`
 */
async function lookIntoBody(
  { body, framing, fields, bodyHash, wholeBody }: PreparedRequest,
  look: BodyLook,
  isWritten: boolean,
  reply: Pick<Reply, 'continue'>,
): Promise<SearchedBody> {
  // A body that was read for its scheme is written by the scheme.
  const isTaken = bodyHash !== undefined || wholeBody !== undefined;
  const syntax = body === null || isTaken ? null : syntaxOf(fields);
  if (body === null || syntax === null) return { body, shown: null };
  if (!isWritten) return { body: watched(body, look), shown: null };
  // A chunked body may be a conversation, in which the next piece comes only after a response.
  if (framing.kind === 'chunked') return { body, shown: { syntax, whole: null } };
  reply.continue();
  const read = await readAhead(body[Symbol.asyncIterator]() as AsyncIterableIterator<Buffer>, look.maxBytes);
  const found = findIn(read.bytes, look.codes);
  const wrong = found.length === 0 ? null : look.whyNot(found);
  if (wrong !== null) throw wrong;
  if (found.length > 0)
    return { body: read.body, shown: { syntax, whole: read.isWhole ? read.bytes : null } };
  if (read.isWhole || read.body === null) return { body: read.body, shown: null };
  return { body: watched(read.body, { ...look, whyNot: () => tooLate(look.maxBytes) }), shown: null };
}

/** Passes a body through and fails where a placeholder comes in it, before the upstream has all of it. */
async function* watched(
  body: AsyncIterable<Buffer>,
  { codes, whyNot }: Pick<BodyLook, 'codes' | 'whyNot'>,
): AsyncGenerator<Buffer> {
  const scanner = new PlaceholderScanner(codes);
  for await (const piece of body) {
    const found = scanner.push(piece);
    const wrong = found.length === 0 ? null : whyNot(found);
    if (wrong !== null) throw wrong;
    yield piece;
  }
}

/** Returns how values are written in a body of this media type; null: the body is encoded, or is not searched. */
function syntaxOf(fields: RawFields): BodySyntax | null {
  const encodings = valuesOf(fields, 'content-encoding');
  if (encodings.some((encoding) => encoding.trim().toLowerCase() !== 'identity')) return null;
  const [type = ''] = (valuesOf(fields, 'content-type')[0] ?? '').split(';', 1);
  const media = type.trim().toLowerCase();
  if (media.endsWith('/json') || media.endsWith('+json')) return 'json';
  if (media === 'application/x-www-form-urlencoded') return 'form';
  return media === 'multipart/form-data' || media === 'text/plain' ? 'plain' : null;
}

/** Bytes of a token request that are read; none that is meant for this is as large. */
const maxTokenRequestBytes = 65_536;

/** What a program asks for that renews a token by itself; the rest needs a person, or is no token for a client. */
const renewals: ReadonlySet<string> = new Set([
  'refresh_token',
  'client_credentials',
  'urn:ietf:params:oauth:grant-type:jwt-bearer',
  'urn:ietf:params:oauth:grant-type:token-exchange',
]);

/** Whether a request is for the token endpoint of a provider (RFC 6749 §3.2). */
export function isTokenRequest(
  { authority, path, method }: Pick<PreparedRequest, 'authority' | 'path' | 'method'>,
  provider: Pick<Provider, 'tokenEndpoint'> | undefined,
): boolean {
  const endpoint = method === 'POST' && provider !== undefined ? endpointOf(provider) : null;
  return (
    endpoint !== null && sameAuthority(authority, endpoint.authority) && forgiven(path) === endpoint.path
  );
}

interface Endpoint {
  readonly authority: Authority;
  readonly path: string;
}

/** Read once for each definition: every POST is asked. */
const known = new WeakMap<Pick<Provider, 'tokenEndpoint'>, Endpoint | null>();

function endpointOf(provider: Pick<Provider, 'tokenEndpoint'>): Endpoint | null {
  let endpoint = known.get(provider);
  if (endpoint === undefined) {
    const target = provider.tokenEndpoint === null ? null : parseAbsoluteTarget(provider.tokenEndpoint);
    endpoint = target === null ? null : { authority: target.authority, path: forgiven(target.path) };
    known.set(provider, endpoint);
  }
  return endpoint;
}

/** A path as the most forgiving server reads it: what it takes for the token endpoint would answer with a token. */
function forgiven(path: string): string {
  const [written = ''] = path.split(/[?;]/, 1);
  const decoded = written.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(parseInt(hex, 16)),
  );
  const { pathname } = new URL(decoded.replace(/[/\\]+/g, '/'), 'https://any');
  return pathname.toLowerCase().replace(/\/$/, '');
}

/**
 * Answers a program that refreshes its token by itself, and sends its placeholder for that, with the placeholder. The token
 * behind it is refreshed when it is due, as for any other request: the new tokens are stored in the grant, and a refresh token
 * that is good for one use is used once. Returns any other request as it was, with its body whole.
 *
 * @throws SidekeyError `body_too_large`, `placeholder_misused`, `rate_limited`; why there is no token
 */
export async function answerTokenRequest(
  request: PreparedRequest,
  authorized: AuthorizedRequest,
  reply: Reply,
  services: ProxyServices,
  record: ExchangeRecord,
): Promise<ExchangeResult | PreparedRequest> {
  const { caller, config, grant } = authorized;
  const provider = grant === null ? undefined : config.provider(grant.provider);
  if (grant === null || !isTokenRequest(request, provider)) return request;
  if (request.body !== null) reply.continue();
  const body = request.body?.[Symbol.asyncIterator]() as InboundRequest['body'] | undefined;
  const read = await readAhead(body ?? null, maxTokenRequestBytes);
  // A placeholder behind the bytes that are read would not be found, and the provider would send the client a real token.
  if (!read.isWhole) throw tokenRequestTooLarge();
  const text = read.bytes.toString('latin1');
  const pairs = valuesOf(request.fields, 'authorization').map((value) => basicPair(value) ?? '');
  const shown = shownIn([text, ...pairs], { grant: grant.id, provider, caller }, services.placeholders);
  if (shown === null) return { ...request, body: read.body };
  const form = readRequest(text, valuesOf(request.fields, 'content-type')[0] ?? '');
  const { grant_type: type } = form;
  if (typeof type !== 'string' || !renewals.has(type)) throw tokenRequestRefused(type);

  await takeLimits(authorized, services);
  const token = await services.tokens.tokenFor(grant.id);
  if (token.kind === 'refused') throw new SidekeyError(token.code, token.message, { hint: token.hint });
  orThrow(await caller.holds(token.grant, { mode: config.agents, used: true }));
  record.grant(token.grant, services.fingerprint(token.sealed));
  record.answersToken();
  const { credential } = token.sealed;
  const { expiresAt = null, scope = null } = credential.type === 'oauth2' ? credential : {};
  const seconds = expiresAt === null ? null : Math.floor((expiresAt - services.now()) / 1_000);
  const answer = {
    access_token: shown,
    token_type: 'Bearer',
    ...(seconds === null ? {} : { expires_in: Math.max(1, seconds) }),
    ...(type === 'refresh_token' ? { refresh_token: shown } : {}),
    ...(scope === null ? {} : { scope }),
  };
  const bytes = Buffer.from(JSON.stringify(answer));
  const about = ['Content-Type', 'application/json', 'Content-Length', String(bytes.length)];
  // RFC 6749 §5.1.
  reply.head(200, 'OK', [...about, 'Cache-Control', 'no-store', 'Pragma', 'no-cache']);
  reply.write(bytes);
  reply.end([]);
  return { status: 200, bytesIn: read.bytes.length, bytesOut: bytes.length, outcome: 'complete' };
}

/** The placeholder of the caller for this grant, as it stands in one of the texts; the longest. */
function shownIn(
  texts: readonly string[],
  held: Pick<AuthorizedRequest, 'caller'> & {
    readonly grant: string;
    readonly provider: Provider | undefined;
  },
  codes: PlaceholderCodes,
): string | null {
  if (texts.every((text) => codes.find(text).length === 0)) return null;
  const { caller, grant, provider = { environment: [] } } = held;
  const all = placeholdersOf({ holders: holdersOf(caller), grant }, provider, codes);
  const found = all.filter((placeholder) => texts.some((text) => text.includes(placeholder)));
  return found.toSorted((one, other) => other.length - one.length)[0] ?? null;
}

/** Forms (RFC 6749 §4), and the JSON that some providers take instead. */
function readRequest(text: string, type: string): Readonly<Record<string, unknown>> {
  if (!/\bjson\b/i.test(type)) return Object.fromEntries(new URLSearchParams(text));
  try {
    return Object(JSON.parse(text)) as Record<string, unknown>;
  } catch {
    return {};
  }
}

function tokenRequestTooLarge(): SidekeyError {
  return new SidekeyError(
    'body_too_large',
    `A request to a token endpoint has at most ${maxTokenRequestBytes} bytes.`,
  );
}
