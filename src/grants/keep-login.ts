import type { AuditEvent } from '../domain/event.ts';
import { SidekeyError } from '../lib/errors.ts';
import { withoutStop } from '../lib/text.ts';
import {
  answerObject,
  consented,
  type Consented,
  readTokenAnswer,
  type TokenAnswer,
  type Tokens,
} from './oauth/answer.ts';
import { withDescription } from './oauth/description.ts';
import { askEndpoint, type EndpointAnswer, type JsonObject, type TokenIo } from './oauth/http.ts';
import { failureHint } from './oauth/failure-hint.ts';
import { withoutSecrets } from './oauth/token-endpoint.ts';
import type { ActivityNotes } from './activity.ts';
import { accountOf, withoutToken } from '../domain/credential.ts';
import { jwtExpiry } from './token-expiry.ts';
import { type Grant, titleOf } from '../domain/grant.ts';
import { detailed, keepGrant, type KeepState } from './keep.ts';
import type { Dialect, LoginClient, Provider } from '../domain/provider.ts';

/** A program's request to the token endpoint of its provider. The response becomes a grant. */
export interface LoginExchange {
  readonly provider: Provider & { readonly tokenEndpoint: string };
  /** Name and user of the grant. */
  readonly name: string;
  readonly user: string;
  readonly client: LoginClient;
  /** Client secret in the request, which later refreshes need; null: none. */
  readonly clientSecret: string | null;
  /** Real refresh token in the request; null: it has a code. */
  readonly refreshToken: string | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Caller for the audit log. */
  readonly by: Pick<AuditEvent, 'exchange' | 'agent' | 'lease' | 'subject' | 'client'>;
}

export type LoginOutcome =
  | {
      readonly kind: 'kept';
      readonly grant: Grant;
      readonly accessToken: string;
      readonly refreshToken: string | null;
      /** Members of the response, with the real tokens. */
      readonly answer: JsonObject;
      /** True if the response was a form, as GitHub sends one. */
      readonly isForm: boolean;
    }
  /** No token: no person has answered yet (RFC 8628 §3.5), or the person refused. */
  | {
      readonly kind: 'declined';
      readonly status: number;
      readonly answer: JsonObject;
      readonly isForm: boolean;
    };

interface LoginState extends KeepState {
  readonly activity: Pick<ActivityNotes, 'refreshed'>;
}

/** Name of the flow, stored with the credential. */
const loginFlow = 'login';

/**
 * Sends a token request of a program, and stores the tokens as a grant and nowhere else. Of an unusable
 * response to a refresh token, stores its successor. Replaces only a grant of an earlier login, and records
 * that in the audit log.
 *
 * @throws SidekeyError `already_exists`: another grant has the name, and nothing was sent;
 * `provider_refused`: no token and no error to pass on; errors of `keepGrant`: the tokens are lost
 */
export async function keepLogin(
  exchange: LoginExchange,
  state: LoginState,
  io: TokenIo,
): Promise<LoginOutcome> {
  const { provider, name, user, client, headers, body } = exchange;
  const replaced = await replaceable(exchange, state);
  const obtainedAt = io.now();
  const question = {
    name: 'the token endpoint',
    url: provider.tokenEndpoint,
    method: 'POST',
    headers,
    body,
  } as const;
  const answer = await askEndpoint(question, io);
  const secrets = [exchange.clientSecret ?? '', exchange.refreshToken ?? ''];
  if (answer.kind !== 'answer') throw noToken(provider, withoutSecrets(answer, secrets));
  const read = readTokenAnswer(answer, { dialect: provider.dialect, obtainedAt, secrets });
  const members = membersOf(answer, provider.dialect);
  if (read.kind === 'later') throw noToken(provider, read);
  const keep = async (tokens: Consented): Promise<Grant> => {
    const { credential, scopes, details, identity } = tokens;
    const named = { ...identity, ...details };
    const account = accountOf(named);
    const { clientSecret } = exchange;
    const sealed = { ...credential, clientId: client.clientId, clientSecret, flow: loginFlow };
    const { grant } = await keepGrant(
      state,
      {
        wanted: { name, user, provider: provider.name, scopes },
        sealed: { credential: sealed, audience: provider.audience, ...detailed(named) },
      },
      {
        event: 'grant.connected',
        by: exchange.by,
        reason: `login of ${client.program}${account === null ? '' : `; account ${account}`}`,
        keepsOut: (existing) => (existing.id === replaced?.id ? null : taken(existing)),
        now: io.now,
      },
    );
    return grant;
  };
  if (read.kind === 'error') {
    const { refreshToken: sent } = exchange;
    const rotated = read.unusable?.refreshToken ?? null;
    // After a code, the person can log in again.
    if (sent === null || rotated === null || rotated === sent) return declined(answer.status, members, read);
    // The refresh token of the request is used up, and this is its only successor.
    const credential = withoutToken({ refreshToken: rotated }, obtainedAt);
    const grant = await keep({ credential, scopes: replaced?.scopes ?? [], details: {} });
    const description = `${read.description}; its refresh token was stored as the grant ${titleOf(grant)}`;
    return declined(answer.status, members, { ...read, description });
  }
  const refreshToken = read.refreshToken ?? exchange.refreshToken;
  const tokens = consented({ ...read, refreshToken }, []);
  const expiresAt = read.expiresAt ?? jwtExpiry(read.accessToken);
  const grant = await keep({ ...tokens, credential: { ...tokens.credential, expiresAt } });
  if (replaced !== null) void state.activity.refreshed(grant.id);
  return { kind: 'kept', grant, accessToken: read.accessToken, refreshToken, ...members };
}

/** Returns the grant of an earlier login; null: no grant of the name. */
async function replaceable(
  { name, user, provider, client }: LoginExchange,
  { grants }: LoginState,
): Promise<Grant | null> {
  const existing = await grants.named({ name, user });
  if (existing === null) return null;
  const credential = (await grants.read(existing.id))?.sealed.credential;
  const isLogin = credential?.type === 'oauth2' && credential.flow === loginFlow;
  if (!isLogin || credential.clientId !== client.clientId || existing.provider !== provider.name)
    throw taken(existing);
  return existing;
}

function taken(existing: Grant): SidekeyError {
  return new SidekeyError(
    'already_exists',
    `There is a grant ${titleOf(existing)} already, which no login of this program made.`,
    { hint: 'remove it, or log in under another name: +grant=NAME in the proxy user name' },
  );
}

type Members = Pick<LoginOutcome, 'answer' | 'isForm'>;

function membersOf({ text }: EndpointAnswer, dialect: Dialect): Members {
  const object = answerObject(text, dialect);
  return { answer: object ?? Object.fromEntries(new URLSearchParams(text.trim())), isForm: object === null };
}

/** Passes on only members of RFC 6749 §5.2 and RFC 8628 §3.5. */
function declined(
  status: number,
  { answer: members, isForm }: Members,
  { error, description }: Extract<TokenAnswer, { readonly kind: 'error' }>,
): LoginOutcome {
  const { interval } = members;
  return {
    kind: 'declined',
    status,
    answer: {
      error,
      ...(description === '' ? {} : { error_description: description }),
      ...(Number.isSafeInteger(Number(interval ?? NaN)) ? { interval } : {}),
    },
    isForm,
  };
}

function noToken({ name, title }: Provider, failure: Exclude<TokenAnswer, Tokens>): SidekeyError {
  const why =
    failure.kind === 'error'
      ? withDescription(failure.error, failure.description)
      : withoutStop(failure.reason);
  return new SidekeyError(
    'provider_refused',
    `${title} gave the login no token (${why}); nothing was stored.`,
    { hint: (failure.kind === 'error' ? failureHint(name, failure) : null) ?? 'log in again' },
  );
}
