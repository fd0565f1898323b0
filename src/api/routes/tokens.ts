import { grantOf } from '../../store/grants.ts';
import { z } from 'zod';
import type { OAuth2Credential, OpenedGrant } from '../../domain/credential.ts';
import type { Grant } from '../../domain/grant.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { checkedUser, isoOrNull, isoTime, maxSpanMs } from '../../operations/format.ts';
import { changeGrant } from '../../operations/grant.ts';
import { stateOf } from '../../operations/grant-answer.ts';
import { removeGrant } from '../../operations/grant-end.ts';
import { addGrant } from '../../operations/grant-add.ts';
import { getPlaceholder } from '../../operations/grant-placeholder.ts';
import { refreshGrant } from '../../operations/grant-refresh.ts';
import { createFingerprint } from '../../proxy/schemes/apply.ts';
import { callOperation } from '../operation-route.ts';
import type { ServiceParts } from '../parts.ts';
import { type AnyRoute, type Given, originOf, route } from '../route.ts';
import { name, text, time, timeOrNull } from '../../operations/members.ts';

/**
 * Routes of the tokens of users, with the shapes of Agents Gateway: its clients run with another base
 * address. A token is a grant. Its integration key is the grant's name. Only a caller with the scope
 * `tokens:read` gets the value, and each read is recorded.
 */

const tokenData = z.looseObject({
  access_token: text.optional(),
  refresh_token: text.optional(),
  token_type: text.optional(),
  expires_in: z.number().optional(),
  scope: text.optional(),
  client_id: text.optional(),
  client_secret: text.optional(),
  api_key: text.optional(),
  jwt: text.optional(),
});

const metadata = {
  user_id: z.string(),
  integration_key: z.string(),
  grant_id: z.uuid(),
  provider: z.string(),
  token_type: z.string(),
  scopes: z.array(z.string()),
  state: z.string(),
  expires_at: timeOrNull,
  is_expired: z.boolean(),
  created_at: time,
  updated_at: time,
};

const tokenMetadata = z.strictObject(metadata).meta({ id: 'TokenMetadata' });

const token = z
  .strictObject({
    ...metadata,
    refreshed: z.boolean(),
    token_data: z
      .record(z.string(), z.unknown())
      .optional()
      .describe('Present with the scope `tokens:read`.'),
    placeholder: z.string().optional().describe('Stands for the token in requests through the proxy.'),
  })
  .meta({ id: 'Token' });

async function metadataOf(grant: Grant, { store, now }: Pick<ServiceParts, 'store' | 'now'>) {
  const policy = await store.grantPolicies.get(grant.id);
  // A token ends no later than its grant.
  const end = Math.min(grant.expiresAt ?? Infinity, policy?.expiresAt ?? Infinity);
  return {
    user_id: grant.user,
    integration_key: grant.name,
    grant_id: grant.id,
    provider: grant.provider,
    token_type: grant.type,
    scopes: grant.scopes,
    state: stateOf(grant, policy, now()),
    expires_at: isoOrNull(end === Infinity ? null : end),
    is_expired: end <= now(),
    created_at: isoTime(grant.createdAt),
    updated_at: isoTime(grant.updatedAt),
  };
}

/** @throws SidekeyError `not_found` */
async function find(
  { params }: Pick<Given<never, never>, 'params'>,
  { grants }: Pick<ServiceParts, 'grants'>,
): Promise<Grant> {
  const found = await grants.named({ name: params['integration_key'] ?? '', user: owner({ params }) });
  if (found !== null) return found;
  throw new SidekeyError('not_found', 'The user has no token of that integration key.', {
    hint: 'GET /v2/users/{user}/tokens lists the keys',
  });
}

const owner = ({ params }: Pick<Given<never, never>, 'params'>): string => checkedUser(params['user'] ?? '');

const every = { tag: 'Tokens', path: '/v2/users/{user}/tokens', owner } as const;
const one = { tag: 'Tokens', path: '/v2/users/{user}/tokens/{integration_key}', owner } as const;

/** Returns a token, after a refresh if it is due. */
async function readToken(given: Given<unknown, unknown>, parts: ServiceParts, { id, revision }: Grant) {
  const held = await parts.tokens.tokenFor(id, { signal: given.signal });
  if (held.kind === 'refused') throw new SidekeyError(held.code, held.message, { hint: held.hint });
  const { grant } = held;
  return {
    ...(await metadataOf(grant, parts)),
    refreshed: grant.revision !== revision,
    ...(await valueOf(given, parts, held)),
  };
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
  const read = { event: 'token.read', grant: id, user, provider, credential: fingerprint(sealed) } as const;
  await parts.audit.append({ ...read, ...originOf(caller) });
  if (credential.type === 'oauth2') return { token_data: oauthData(credential, grant, parts.now()) };
  if (credential.type === 'api_key' || credential.type === 'jwt')
    return { token_data: { [credential.type]: credential.value } };
  const { type: _type, ...values } = credential;
  return { token_data: values };
}

/** Omits the refresh token, because it alone renews the grant. */
function oauthData({ accessToken, dpop }: OAuth2Credential, { scopes, expiresAt }: Grant, now: number) {
  return {
    access_token: accessToken,
    token_type: dpop === undefined ? 'Bearer' : 'DPoP',
    scope: scopes.join(' '),
    expires_at: isoOrNull(expiresAt),
    ...(expiresAt === null ? {} : { expires_in: Math.max(0, Math.ceil((expiresAt - now) / 1_000)) }),
  };
}

export const tokenRoutes: readonly AnyRoute[] = [
  route({
    ...every,
    method: 'post',
    id: 'createToken',
    summary: 'Store a token of a user.',
    scope: 'tokens:write',
    body: z.strictObject({
      integration_key: name,
      provider: name,
      token_type: z.enum(['oauth2', 'api_key', 'jwt']),
      token_data: tokenData,
      scopes: z.array(text).optional(),
      expires_at: time.optional(),
    }),
    status: 201,
    result: tokenMetadata,
    async handle({ params, body, caller }, parts) {
      const { integration_key, provider, token_type, token_data, scopes, expires_at } = body;
      if (expires_at !== undefined && Date.parse(expires_at) <= parts.now()) {
        throw inputInvalid('expires_at is in the past.', 'leave it out for a token without an end');
      }
      const isOAuth = token_type === 'oauth2';
      // A key has no expiry of its own: the grant gets it.
      const end = isOAuth || expires_at === undefined ? null : { expires: expires_at };
      // Refused before the token is stored, which would have no end otherwise.
      if (end !== null && Date.parse(end.expires) > parts.now() + maxSpanMs) {
        const hint = 'name an earlier time, or leave it out for a token without an end';
        throw inputInvalid('expires_at is more than ten years away.', hint);
      }
      const { scope = scopes?.join(' '), ...data } = token_data;
      const secret = token_type === 'jwt' && data.jwt === undefined ? { jwt: data.access_token } : data;
      const optional = { ...(scope === undefined ? {} : { scope }), ...(isOAuth ? { expires_at } : {}) };
      const credential = { type: token_type, ...secret, ...optional };
      // Clients of Agents Gateway do not expect this call to wait for a provider.
      const input = { name: integration_key, provider, user: params['user'], credential, verify: false };
      await callOperation(addGrant, input, caller, parts);
      const created = await find({ params: { ...params, integration_key } }, parts);
      if (end !== null) await callOperation(changeGrant, { grant: created.id, ...end }, caller, parts);
      return metadataOf(created, parts);
    },
  }),
  route({
    ...every,
    method: 'get',
    id: 'listTokens',
    summary: 'List the tokens of a user, without their values.',
    scope: 'grants:read',
    result: tokenMetadata,
    list: ({ grant_id }: z.output<typeof tokenMetadata>) => grant_id,
    async handle({ params }, parts) {
      const ownGrants = (await parts.store.grants.find({ users: [owner({ params })] })).map(grantOf);
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
    handle: async (given, parts) => readToken(given, parts, await find(given, parts)),
  }),
  route({
    ...one,
    method: 'post',
    path: '/v2/users/{user}/tokens/{integration_key}/refresh',
    id: 'refreshToken',
    summary: 'Get a new token from the provider in any case.',
    scope: 'tokens:write',
    isRepeatable: true,
    result: token,
    async handle(given, parts) {
      const before = await find(given, parts);
      await callOperation(refreshGrant, { grant: before.id, force: true }, given.caller, parts);
      return readToken(given, parts, before);
    },
  }),
  route({
    ...one,
    method: 'delete',
    id: 'deleteToken',
    summary: 'End a token, here and at the provider, and delete it.',
    scope: 'tokens:write',
    status: 204,
    async handle(given, parts) {
      const { id } = await find(given, parts);
      await callOperation(removeGrant, { grant: id }, given.caller, parts);
    },
  }),
];
