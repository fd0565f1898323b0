import { grantOf } from '../../store/grants.ts';
import { z } from 'zod';
import type { OAuth2Credential, OpenedGrant } from '../../domain/credential.ts';
import type { Grant } from '../../domain/grant.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { optional } from '../../lib/text.ts';
import { checkedUser, isoOrNull, isoTime, maxSpanMs } from '../../operations/format.ts';
import { stateOf } from '../../operations/grant-answer.ts';
import { removeGrant } from '../../operations/grant-end.ts';
import { addGrant, replaceGrant } from '../../operations/grant-add.ts';
import { getPlaceholder } from '../../operations/grant-placeholder.ts';
import { refreshGrant } from '../../operations/grant-refresh.ts';
import { createFingerprint } from '../../proxy/schemes/apply.ts';
import { callOperation } from '../operation-route.ts';
import type { ServiceParts } from '../parts.ts';
import { type AnyRoute, type Given, originOf, route } from '../route.ts';
import { named, text, time, timeOrNull } from '../../operations/members.ts';

/**
 * Routes of the tokens of users, with the shapes of Agents Gateway: its clients run with another base
 * address. A token is a grant. Its integration key is the grant's name. Only a caller with the scope
 * `tokens:read` gets the value, and each read is recorded.
 */

const member = z.string().nullish();

/** Members of each type of token. Others are dropped. */
const tokenData = z.object({
  access_token: member,
  refresh_token: member,
  token_type: member,
  expires_in: z.int().min(0).max(maxSpanMs).nullish(),
  scope: member,
  client_id: member,
  client_secret: member,
  api_key: member,
  api_secret: member,
  organization_id: member,
  project_id: member,
  token: member,
  jwt: member,
  algorithm: member,
  public_key: member,
  issuer: member,
  audience: member,
});

const key = { integration_key: z.string() };
const facts = { ...key, provider: z.string(), token_type: z.string(), grant_id: z.uuid() };
const message = z.string();

const metadata = {
  ...facts,
  scopes: z.array(z.string()).nullable(),
  expires_at: timeOrNull,
  is_expired: z.boolean().describe('True from a minute before its end.'),
  state: z.string(),
  created_at: time,
  updated_at: time,
};

const token = named('Token', {
  ...metadata,
  refreshed: z.boolean(),
  token_data: optional(z.record(z.string(), z.unknown()), 'Present with the scope `tokens:read`.'),
  placeholder: optional(z.string(), 'Stands for the token in requests through the proxy.'),
});

async function metadataOf(grant: Grant, parts: ServiceParts) {
  const policy = await parts.store.grantPolicies.get(grant.id);
  // A token ends no later than its grant.
  const end = Math.min(grant.expiresAt ?? Infinity, policy?.expiresAt ?? Infinity);
  return {
    integration_key: grant.name,
    provider: grant.provider,
    token_type: grant.type,
    scopes: grant.scopes.length === 0 ? null : grant.scopes,
    expires_at: isoOrNull(end === Infinity ? null : end),
    is_expired: endsBy(end, parts),
    grant_id: grant.id,
    state: stateOf(grant, policy, parts.now()),
    created_at: isoTime(grant.createdAt),
    updated_at: isoTime(grant.updatedAt),
  };
}

/** Returns the token of an integration key, as written or in lower case; null if there is none. */
async function tokenOf(
  { params }: Pick<Given<never, never>, 'params'>,
  { grants }: Pick<ServiceParts, 'grants'>,
): Promise<Grant | null> {
  const user = owner({ params });
  const { integration_key: name = '' } = params;
  return (await grants.named({ name, user })) ?? grants.named({ name: name.trim().toLowerCase(), user });
}

/** @throws SidekeyError `not_found` */
async function find(given: Pick<Given<never, never>, 'params'>, parts: ServiceParts): Promise<Grant> {
  const grant = await tokenOf(given, parts);
  if (grant !== null) return grant;
  throw new SidekeyError('not_found', `Token not found for integration ${given.params['integration_key']}`, {
    hint: 'GET /v2/users/{user}/tokens lists the keys',
  });
}

const owner = ({ params }: Pick<Given<never, never>, 'params'>): string => checkedUser(params['user'] ?? '');

const every = { tag: 'Tokens', path: '/v2/users/{user}/tokens', owner } as const;
const one = { tag: 'Tokens', path: '/v2/users/{user}/tokens/{integration_key}', owner } as const;

/** Reports whether a token counts as expired: from a minute before its end. */
function endsBy(end: number | null, { now }: Pick<ServiceParts, 'now'>): boolean {
  return (end ?? Infinity) <= now() + 60_000;
}

const isKey = ({ type }: Pick<Grant, 'type'>): boolean => type === 'api_key' || type === 'jwt';

/** Returns a token, after a refresh if it is due or ends within a minute. */
async function openToken({ signal }: Given<unknown, unknown>, parts: ServiceParts, grant: Grant) {
  const { tokens, grants } = parts;
  const held = await tokens.tokenFor(grant.id, { signal });
  if (held.kind === 'ready') {
    const isDue = held.grant.refreshable && endsBy(held.grant.expiresAt, parts);
    const next = isDue ? await tokens.forceRefresh(held, { signal }) : held;
    return next.kind === 'ready' ? next : held;
  }
  // An ended key is returned with `is_expired`. Only the proxy refuses to send it.
  const ended = held.code === 'grant_expired' && isKey(grant) ? await grants.read(grant.id) : null;
  if (ended !== null) return ended;
  throw new SidekeyError(held.code, held.message, { hint: held.hint });
}

/** Records the read and returns the value, if the caller may read it; else returns a placeholder. */
async function valueOf(
  { caller }: Given<unknown, unknown>,
  parts: ServiceParts,
  { grant, sealed }: OpenedGrant,
) {
  const { credential } = sealed;
  if (!caller.scopes.has('tokens:read')) {
    return callOperation(getPlaceholder, { grant: grant.id }, caller, parts);
  }
  const { id, user, provider } = grant;
  const fingerprint = createFingerprint((secret) => parts.vault.mac('credential-fingerprint', secret));
  const isOAuth = credential.type === 'oauth2';
  const refreshToken = isOAuth && caller.scopes.has('tokens:refresh_token') ? credential.refreshToken : null;
  const reason = refreshToken === null ? undefined : 'with the refresh token';
  const read = { event: 'token.read', grant: id, user, provider, credential: fingerprint(sealed) } as const;
  await parts.audit.append({ ...read, reason, ...originOf(caller) });
  if (isOAuth) return { token_data: oauthData(credential, refreshToken, parts.now()) };
  if (credential.type === 'api_key' || credential.type === 'jwt') {
    const name = credential.type === 'jwt' ? 'token' : 'api_key';
    return { token_data: { [name]: credential.value, ...credential.extra } };
  }
  const { type: _type, ...values } = credential;
  return { token_data: values };
}

/** Returns the members of a token, without the client secret: it could renew all tokens of the client. */
function oauthData(credential: OAuth2Credential, refreshToken: string | null, now: number) {
  const { accessToken, clientId, dpop, expiresAt, scope } = credential;
  return {
    access_token: accessToken,
    token_type: dpop === undefined ? 'Bearer' : 'DPoP',
    ...(refreshToken !== null && { refresh_token: refreshToken }),
    ...(expiresAt !== null && { expires_in: Math.max(0, Math.ceil((expiresAt - now) / 1_000)) }),
    ...(scope !== null && { scope }),
    ...(clientId !== null && { client_id: clientId }),
  };
}

export const tokenRoutes: readonly AnyRoute[] = [
  route({
    ...every,
    method: 'post',
    id: 'createToken',
    summary: 'Store a token of a user, or replace the one of its integration key.',
    scope: 'tokens:write',
    body: z.strictObject({
      integration_key: z.string(),
      provider: z.string(),
      token_type: z.string().toLowerCase().describe('oauth2, api_key or jwt.'),
      token_data: tokenData,
      scopes: z.array(text).nullish(),
      expires_at: z.iso.datetime({ offset: true, local: true }).nullish().describe('Without a zone: UTC.'),
    }),
    status: 201,
    result: named('StoredToken', { ...facts, message, created_at: time }),
    async handle({ params, body, caller }, parts) {
      const { integration_key, token_type: type, token_data, scopes, expires_at } = body;
      const { expires_in: lifetime, token: jwt = token_data.jwt, ...data } = token_data;
      const end = expires_at ? utcTime(expires_at) : lifetime ? parts.now() + lifetime * 1_000 : null;
      const credential = { ...data, type, jwt, scopes, expires_at: isoOrNull(end) };
      const { providers } = await parts.config();
      const { name: provider } =
        providers.get(body.provider) ?? providers.get(body.provider.toLowerCase()) ?? {};
      if (provider === undefined) {
        throw inputInvalid('provider: there is none of that name.', 'GET /v2/providers lists them');
      }
      const existing = await tokenOf({ params: { ...params, integration_key } }, parts);
      const name = existing?.name ?? integration_key.trim().toLowerCase();
      // Clients of Agents Gateway do not expect this call to wait for a provider.
      const given = { credential, verify: false };
      const input = { ...given, name, provider, user: params['user'], replace: true };
      const { id, created_at } =
        existing?.provider === provider
          ? await callOperation(replaceGrant, { ...given, grant: existing.id }, caller, parts)
          : await callOperation(addGrant, input, caller, parts);
      const message = `Token stored successfully for ${name}`;
      return { integration_key: name, provider, token_type: type, grant_id: id, message, created_at };
    },
  }),
  route({
    ...every,
    method: 'get',
    id: 'listTokens',
    summary: 'List the tokens of a user, without their values.',
    scope: 'grants:read',
    result: z.array(named('TokenMetadata', metadata)),
    async handle({ params }, parts) {
      const ownGrants = (await parts.store.grants.find({ users: [owner({ params })], unminted: true })).map(
        grantOf,
      );
      return Promise.all(ownGrants.map((grant) => metadataOf(grant, parts)));
    },
  }),
  route({
    ...one,
    method: 'get',
    id: 'getToken',
    summary: 'Show a token, refreshed first where it is due.',
    scope: 'grants:read',
    result: token,
    async handle(given, parts) {
      const before = await find(given, parts);
      const opened = await openToken(given, parts, before);
      return {
        ...(await metadataOf(opened.grant, parts)),
        refreshed: !isKey(before) && opened.grant.revision !== before.revision,
        ...(await valueOf(given, parts, opened)),
      };
    },
  }),
  route({
    ...one,
    method: 'post',
    path: '/v2/users/{user}/tokens/{integration_key}/refresh',
    id: 'refreshToken',
    summary: 'Get a new token from the provider in any case.',
    scope: 'tokens:write',
    isRepeatable: true,
    result: named('RefreshedToken', { ...key, success: z.literal(true), message, refreshed_at: time }),
    async handle(given, parts) {
      const grant = await find(given, parts);
      if (isKey(grant)) {
        throw inputInvalid(`Token type ${grant.type} does not support refresh`, 'store a new one');
      }
      await callOperation(refreshGrant, { grant: grant.id, force: true }, given.caller, parts);
      const message = 'Token refreshed successfully';
      const refreshed_at = isoTime(parts.now());
      return { integration_key: grant.name, success: true, message, refreshed_at };
    },
  }),
  route({
    ...one,
    method: 'delete',
    id: 'deleteToken',
    summary: 'End a token, here and at the provider, and delete it.',
    scope: 'tokens:write',
    result: named('DeletedToken', { ...key, message }),
    async handle(given, parts) {
      const { id, name } = await find(given, parts);
      await callOperation(removeGrant, { grant: id }, given.caller, parts);
      return { integration_key: name, message: `Token for ${name} deleted successfully` };
    },
  }),
];

/** Parses a time, which is UTC if it has no zone. @returns milliseconds since the epoch */
function utcTime(written: string): number {
  return Date.parse(/(?:Z|[+-]\d\d:?\d\d)$/.test(written) ? written : `${written}Z`);
}
