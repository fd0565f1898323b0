import type { Provider } from '../grants/provider.ts';
import { valuesOf } from '../http/fields.ts';
import { type ExchangeResult, type InboundRequest, readAhead, type Reply } from '../http/message.ts';
import { orThrow, SidekeyError } from '../lib/errors.ts';
import { basicPair, type PlaceholderCodes, placeholdersOf } from '../placeholders/codes.ts';
import { holdersOf } from '../placeholders/detect.ts';
import { tokenRequestRefused } from '../placeholders/substitute.ts';
import { type Authority, parseAbsoluteTarget, sameAuthority } from '../policy/authority.ts';
import type { AuthorizedRequest } from './authorize.ts';
import { takeLimits } from './limits.ts';
import type { ExchangeRecord } from './record.ts';
import type { ProxyServices } from './services.ts';
import type { PreparedRequest } from './upstream-request.ts';

/** Bytes of a token request that are read; none that is meant for this is as large. */
const maxTokenRequestBytes = 65_536;

/** Grant types of programs that refresh a token themselves; other types need a person or give no token of a client. */
const renewals: ReadonlySet<string> = new Set([
  'refresh_token',
  'client_credentials',
  'urn:ietf:params:oauth:grant-type:jwt-bearer',
  'urn:ietf:params:oauth:grant-type:token-exchange',
]);

/** Reports whether a request is for the token endpoint of its grant's provider (RFC 6749 §3.2). */
export function isTokenRequest(
  { authority, path, method }: Pick<PreparedRequest, 'authority' | 'path' | 'method'>,
  { grant, provider }: Pick<AuthorizedRequest, 'grant' | 'provider'>,
): boolean {
  if (method !== 'POST' || grant === null) return false;
  const endpoint = provider === undefined ? null : endpointOf(provider);
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

/** A path as the most forgiving server reads it: the assumed token endpoint would answer with a token. */
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
 * that is good for one use is used once. Returns a request without the placeholder as it was, with its body whole.
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
  const { caller, config, grant, provider } = authorized;
  if (grant === null) return request;
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

  takeLimits(authorized, services);
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
    { hint: 'send a smaller request; this limit is fixed' },
  );
}
