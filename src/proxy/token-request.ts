import { secretText } from '../domain/credential.ts';
import type { LoginClient, Provider } from '../domain/provider.ts';
import { plainRequest, type RawFields, valuesOf } from './http/fields.ts';
import { type ExchangeResult, readAhead, type Reply } from './http/message.ts';
import { orThrow, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import {
  basicPair,
  type PlaceholderCodes,
  type PlaceholderForm,
  placeholdersOf,
} from './placeholders/codes.ts';
import { holderOf, holdersOf } from './placeholders/detect.ts';
import {
  accessPlaceholder,
  answerWithPlaceholders,
  refreshPlaceholder,
} from './placeholders/login-answer.ts';
import { foreign, tokenRequestRefused } from './placeholders/substitute.ts';
import type { LoginGrant } from './login-grant.ts';
import { takeLimits } from './rule-limits.ts';
import type { Request } from './request.ts';

/** Maximum bytes of a token request. Requests for this purpose are smaller. */
const maxTokenRequestBytes = 65_536;

/** Grant types of programs that refresh a token themselves. Other types need a person or a login. */
const renewals: ReadonlySet<unknown> = new Set([
  'refresh_token',
  'client_credentials',
  'urn:ietf:params:oauth:grant-type:jwt-bearer',
  'urn:ietf:params:oauth:grant-type:token-exchange',
]);

/**
 * Answers a program that refreshes its token with a placeholder. The answer has the placeholder again. The
 * token behind it is refreshed when it is due, as for any other request: the new tokens are stored in the
 * grant, and a one-time refresh token is used once. Null: the request has no placeholder.
 *
 * @throws SidekeyError `body_too_large`, `placeholder_misused`, `rate_limited`; why there is no token
 */
export async function answerTokenRequest(request: Request): Promise<ExchangeResult | null> {
  const { caller, config, grant, provider, login, reply, services, record } = request;
  if (request.body !== null) reply.continue();
  const read = await readAhead(request.body, maxTokenRequestBytes);
  // A placeholder in unread bytes would be missed, and the provider would send the client a real token.
  if (!read.isWhole) throw tokenRequestTooLarge();
  const text = read.bytes.toString('latin1');
  const pairs = valuesOf(request.fields, 'authorization').map((value) => basicPair(value) ?? '');
  const shown =
    grant === null
      ? null
      : shownIn([text, ...pairs], { grant: grant.id, provider, caller }, services.placeholders);
  if (grant === null || shown === null) {
    if (login !== null) return captureLogin(login, read.bytes, request);
    if (provider?.capturesLogins === true)
      throw new SidekeyError(
        'policy_violation',
        'This login would become no grant that the caller may use, and a program gets no real token.',
        {
          hint: hintOf`bind the provider to the agent: ${remedy('agent.bind', { agent: null, providers: null })}`,
        },
      );
    request.body = read.body;
    return null;
  }
  const { grant_type: type, client_id: clientId } = readTokenRequest(text, request);
  const client = clientOf(provider, clientId);
  // Other answers have tokens of other kinds: a program would take a placeholder for an API key.
  const isRenewal = client === null ? renewals.has(type) : type === 'refresh_token';
  if (!isRenewal) throw tokenRequestRefused(type);

  takeLimits(request, services);
  const token = await services.tokens.tokenFor(grant.id);
  if (token.kind === 'refused') throw new SidekeyError(token.code, token.message, { hint: token.hint });
  orThrow(await caller.holds(token.grant, { mode: config.agents, used: true }));
  record.grant(token.grant, services.fingerprint(token.sealed));
  record.answersToken();
  const { credential } = token.sealed;
  const { expiresAt = null, scope = null } = credential.type === 'oauth2' ? credential : {};
  const seconds = expiresAt === null ? null : Math.floor((expiresAt - services.now()) / 1_000);
  const make = (form: PlaceholderForm) => services.placeholders.make(form, holderOf(caller), token.grant.id);
  const members = {
    access_token: client === null ? shown : accessPlaceholder(secretText(credential), client, make),
    token_type: 'Bearer',
    ...(seconds === null ? {} : { expires_in: Math.max(1, seconds) }),
    ...(type === 'refresh_token'
      ? { refresh_token: client === null ? shown : refreshPlaceholder(client, make) }
      : {}),
    ...(scope === null ? {} : { scope }),
  };
  return replyToTokenRequest(reply, { status: 200, members, isForm: false }, read.bytes.length);
}

/** The program whose login became the grant; null: the grant was made in another way. */
function clientOf(provider: Provider | undefined, clientId: unknown): LoginClient | null {
  if (provider?.capturesLogins !== true) return null;
  return provider.logins.find((client) => client.clientId === clientId) ?? provider.logins[0] ?? null;
}

/** Returns the longest placeholder of the caller for this grant that one of the texts contains. */
function shownIn(
  texts: readonly string[],
  held: Pick<Request, 'caller' | 'provider'> & { readonly grant: string },
  codes: PlaceholderCodes,
): string | null {
  if (texts.every((text) => codes.find(text).length === 0)) return null;
  const { caller, grant, provider = { environment: [] } } = held;
  const all = placeholdersOf({ holders: holdersOf(caller), grant }, provider, codes);
  const shown = all.filter((placeholder) => texts.some((text) => text.includes(placeholder)));
  return shown.toSorted((one, other) => other.length - one.length)[0] ?? null;
}

function tokenRequestTooLarge(): SidekeyError {
  const sentence = `A request to a token endpoint has at most ${maxTokenRequestBytes} bytes.`;
  const hint = 'send a smaller request; this limit is fixed';
  return new SidekeyError('body_too_large', sentence, { hint });
}

/** Grant types with which programs log in (RFC 6749 §4.1.3, §6, RFC 8628 §3.4). */
const captured: ReadonlySet<unknown> = new Set([
  'authorization_code',
  'refresh_token',
  'urn:ietf:params:oauth:grant-type:device_code',
]);

/** Fields that are of the message and not of the request. */
const ofMessage = ['host', 'content-length', 'transfer-encoding', 'expect', 'te', 'trailer'];

/**
 * Sends the token request of a program that logs in, stores the tokens as a grant, and answers with
 * placeholders. The answer of the provider is never passed on.
 *
 * @param bytes the body
 * @throws SidekeyError `policy_violation`: the request is not captured; errors of `ProxyServices.keepLogin`
 */
async function captureLogin(login: LoginGrant, bytes: Buffer, request: Request): Promise<ExchangeResult> {
  const { caller, config, decision, reply, services, record } = request;
  const { provider, name, user } = login;
  const { tokenEndpoint } = provider;
  if (request.body === null) throw withoutBody();
  if (services.placeholders.find(bytes.toString('latin1')).length > 0) throw foreign('the body');
  const body = bytes.toString('utf8');
  const parameters = readTokenRequest(body, request);
  const text = (name: string) => (typeof parameters[name] === 'string' ? parameters[name] : null);
  const [basicId = null, basicSecret = null] = basicClient(request.fields);
  const client = provider.logins.find(({ clientId }) => clientId === (text('client_id') ?? basicId));
  if (client === undefined || tokenEndpoint === null) throw unknownClient(login);
  const { grant_type: type } = parameters;
  if (!captured.has(type)) throw notCaptured(client);
  if (decision.outcome === 'approve') throw waitsForPerson(client);
  takeLimits(request, services);
  orThrow(await caller.holds(login.existing, { mode: config.agents, used: true }));
  // The code is good for one use: what cannot be recorded is not sent.
  await services.audit.append(record.access());
  const outcome = await services.keepLogin({
    provider: { ...provider, tokenEndpoint },
    name,
    user,
    client,
    clientSecret: text('client_secret') ?? basicSecret,
    refreshToken: type === 'refresh_token' ? text('refresh_token') : null,
    headers: headersOf(request.fields),
    body,
    by: record.caller(),
  });
  const { isForm } = outcome;
  if (outcome.kind === 'declined')
    return replyToTokenRequest(
      reply,
      { status: outcome.status, members: outcome.answer, isForm },
      bytes.length,
    );
  const { grant, answer } = outcome;
  const make = (form: PlaceholderForm) => services.placeholders.make(form, holderOf(caller), grant.id);
  const members = answerWithPlaceholders(answer, client, outcome, make);
  return replyToTokenRequest(reply, { status: 200, members, isForm }, bytes.length);
}

/** Returns the id and the secret of a client with `Basic` (RFC 6749 §2.3.1); empty: none. */
function basicClient(fields: RawFields): readonly string[] {
  const pair = basicPair(valuesOf(fields, 'authorization')[0] ?? '');
  const parts = /^([^:]*):(.*)$/s.exec(pair ?? '')?.slice(1) ?? [];
  return parts.map((part) => new URLSearchParams(`=${part.replaceAll('&', '%26')}`).get('') ?? '');
}

/** Fields of the request for a message of Sidekey's own, whose answer is read without unpacking. */
function headersOf(fields: RawFields): Readonly<Record<string, string>> {
  const headers = new Headers();
  const plain = plainRequest(fields);
  for (let i = 0; i < plain.length; i += 2)
    if (!ofMessage.includes(plain[i]!.toLowerCase())) headers.append(plain[i]!, plain[i + 1]!);
  return Object.fromEntries(headers);
}

function withoutBody(): SidekeyError {
  return new SidekeyError('bad_request', 'A request for tokens has no body.', {
    hint: 'send its parameters; for explain: --data "grant_type=authorization_code&client_id=ID" with the header Content-Type: application/x-www-form-urlencoded',
  });
}

function unknownClient({ provider: { name, logins } }: LoginGrant): SidekeyError {
  const programs = logins.map(({ program }) => program).join(', ');
  const sentence = `Logins of the provider ${name} are captured, and this client is none of its programs${programs === '' ? '' : ` (${programs})`}.`;
  const hint = `add its client_id to providers.${name}.logins`;
  return new SidekeyError('policy_violation', sentence, { hint });
}

function notCaptured({ program }: LoginClient): SidekeyError {
  const sentence = `A token request of ${program} has a grant type that is not captured, so it is not sent.`;
  const hint = 'log in with the browser or with a device code';
  return new SidekeyError('policy_violation', sentence, { hint });
}

function waitsForPerson({ program }: LoginClient): SidekeyError {
  const sentence = `A rule asks a person for the login of ${program}, and a login does not wait for one.`;
  const hint = 'allow POST to the token endpoint in the rules of the domain';
  return new SidekeyError('approval_missing', sentence, { hint });
}

/** The parameters of a token request, by name. JSON may have values of any type. */
type TokenParameters = Readonly<Record<string, unknown>>;

/** Reads a token request: a form (RFC 6749 §4), or the JSON that some providers take instead. */
function readTokenRequest(text: string, { fields }: Pick<Request, 'fields'>): TokenParameters {
  const type = valuesOf(fields, 'content-type')[0] ?? '';
  if (!/\bjson\b/i.test(type)) return Object.fromEntries(new URLSearchParams(text));
  try {
    return Object(JSON.parse(text)) as TokenParameters;
  } catch {
    return {};
  }
}

/**
 * Answers a token request (RFC 6749 §5.1).
 *
 * @param bytesIn bytes of its body
 */
function replyToTokenRequest(
  reply: Reply,
  { status, members, isForm }: TokenReply,
  bytesIn: number,
): ExchangeResult {
  const entries = Object.entries(members).map(([name, value]) => [name, String(value)]);
  const bytes = Buffer.from(isForm ? new URLSearchParams(entries).toString() : JSON.stringify(members));
  const type = isForm ? 'application/x-www-form-urlencoded; charset=utf-8' : 'application/json';
  const about = ['Content-Type', type, 'Content-Length', String(bytes.length)];
  const fields = [...about, 'Cache-Control', 'no-store', 'Pragma', 'no-cache'];
  reply.head(status, status === 200 ? 'OK' : 'Declined', fields);
  reply.write(bytes);
  reply.end([]);
  return { status, bytesIn, bytesOut: bytes.length, outcome: 'complete' };
}

interface TokenReply {
  readonly status: number;
  readonly members: TokenParameters;
  readonly isForm: boolean;
}
