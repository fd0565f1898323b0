import { secretText } from '../domain/credential.ts';
import type { LoginClient, Provider } from '../domain/provider.ts';
import { valuesOf } from './http/fields.ts';
import { type ExchangeResult, readAhead } from './http/message.ts';
import { orThrow, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import {
  basicPair,
  type PlaceholderCodes,
  type PlaceholderForm,
  placeholdersOf,
} from './placeholders/codes.ts';
import { holderOf, holdersOf } from './placeholders/detect.ts';
import { accessPlaceholder, refreshPlaceholder } from './placeholders/login-answer.ts';
import { tokenRequestRefused } from './placeholders/substitute.ts';
import { captureLogin } from './capture-login.ts';
import { takeLimits } from './rule-limits.ts';
import type { Request } from './request.ts';
import { readTokenRequest, replyToTokenRequest } from './token-message.ts';

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
