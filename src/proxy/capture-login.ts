import type { LoginClient } from '../domain/provider.ts';
import { valuesOf, type RawFields } from './http/fields.ts';
import type { ExchangeResult } from './http/message.ts';
import { orThrow, SidekeyError } from '../lib/errors.ts';
import { basicPair, type PlaceholderForm } from './placeholders/codes.ts';
import { holderOf } from './placeholders/detect.ts';
import { answerWithPlaceholders } from './placeholders/login-answer.ts';
import { foreign } from './placeholders/substitute.ts';
import { takeLimits } from './rule-limits.ts';
import type { LoginGrant } from './login-grant.ts';
import type { Request } from './request.ts';
import { readTokenRequest, replyToTokenRequest } from './token-message.ts';

/** Grant types with which programs log in (RFC 6749 §4.1.3, §6, RFC 8628 §3.4). */
const captured: ReadonlySet<unknown> = new Set([
  'authorization_code',
  'refresh_token',
  'urn:ietf:params:oauth:grant-type:device_code',
]);

/** Fields that are of the message and not of the request. */
const ofMessage = [
  'host',
  'content-length',
  'transfer-encoding',
  'accept-encoding',
  'expect',
  'te',
  'trailer',
];

/**
 * Sends the token request of a program that logs in, stores the tokens as a grant, and answers with
 * placeholders. The answer of the provider is never passed on.
 *
 * @param bytes the body
 * @throws SidekeyError `policy_violation`: the request is not captured; errors of `ProxyServices.keepLogin`
 */
export async function captureLogin(
  login: LoginGrant,
  bytes: Buffer,
  request: Request,
): Promise<ExchangeResult> {
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
  for (let i = 0; i < fields.length; i += 2)
    if (!ofMessage.includes(fields[i]!.toLowerCase())) headers.append(fields[i]!, fields[i + 1]!);
  headers.set('accept-encoding', 'identity');
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
