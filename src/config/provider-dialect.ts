import { z } from 'zod';
import type { DpopAlgorithm } from '../domain/credential.ts';
import type { Dialect, Flow, InjectPlace, Placement, Provider } from '../domain/provider.ts';
import { optional, text } from '../lib/text.ts';
import { isFieldName, isReservedFieldName } from '../proxy/policy/text.ts';
import { schemes } from '../proxy/schemes/list.ts';
import { pathGlob, some } from './rules.ts';
import { domainPattern, endpoint, endpointTemplate, plainText } from './scalar.ts';

/** Deviations of a provider's OAuth from the RFCs, as its definition has them. `Dialect` explains each. */

const parameterName = text<string>({ description: 'The name of a parameter.' }, (value) =>
  /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/.test(value) ? value : { problem: 'is not a name of a parameter' },
);

const parameters = z.record(parameterName, plainText('Its value.'));

/** Reserved for the flows: a definition that set them would break their checks. */
const reserved = new Set([
  'state',
  'code_challenge',
  'code_challenge_method',
  'redirect_uri',
  'code',
  'code_verifier',
]);

const ownParameters = parameters.superRefine((value, context) => {
  for (const key of Object.keys(value)) {
    if (reserved.has(key))
      context.addIssue({ code: 'custom', path: [key], message: 'is set by the flow itself' });
  }
});

const headers = z.record(
  text<string>({ description: 'A field name.' }, (value) =>
    isFieldName(value) && !isReservedFieldName(value) && value.toLowerCase() !== 'authorization'
      ? value
      : { problem: 'is not a field that can be set here' },
  ),
  plainText('Its value.'),
);

export const answerField = text<string>({ description: 'A field name.' }, (value) =>
  isFieldName(value) ? value : { problem: 'is not a field name' },
);

export const member = text<string>(
  { description: 'A member of a JSON answer; dots lead into objects.' },
  (value) =>
    /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/.test(value) ? value : { problem: 'is not a path of members' },
);

/** Longer than timers allow: refresh tokens expire after months. */
const days = text<number>(
  { description: 'A number of days.', examples: ['90d'], pattern: '^[0-9]+d$' },
  (value) =>
    /^[1-9][0-9]{0,3}d$/.test(value)
      ? Number(value.slice(0, -1)) * 86_400_000
      : { problem: 'is not a number of days such as 90d' },
);

export const dialectDefinition = z
  .strictObject({
    scope_separator: optional(z.enum([' ', ',', '+']), 'Between scopes. Default: a space.'),
    scope_parameter: optional(parameterName, 'Default: scope.'),
    client_id_parameter: optional(parameterName, 'Default: client_id.'),
    pkce: optional(z.boolean(), 'false: the provider refuses PKCE (RFC 7636).'),
    authorization_parameters: ownParameters
      .optional()
      .meta({ description: 'Additional parameters for the authorization endpoint.' }),
    token_parameters: optional(ownParameters, 'Additional parameters of every token request.'),
    token_headers: optional(headers, 'Sent with every token request.'),
    token_body: optional(z.enum(['form', 'json']), 'Default: form (RFC 6749 §4.1.3).'),
    send_scope_on_refresh: optional(
      z.boolean(),
      'true: a refresh names the granted scopes, or it loses them.',
    ),
    refresh_endpoint: endpoint('Where tokens are refreshed, if it is not the token endpoint.').optional(),
    token_response: optional(
      z.strictObject({
        root: optional(member, 'Where in the answer the tokens are, where not at the top.'),
        ok_field: optional(member, 'A member that is false in an answer that is an error.'),
        error: optional(member, 'Where the error code is. Default: error.'),
        access_token: member.optional(),
        refresh_token: member.optional(),
        expires_in: member.optional(),
        expires_at: member
          .optional()
          .meta({ description: 'Where a time is, not a lifetime: ISO 8601, or seconds since the epoch.' }),
        scope: member.optional(),
        scope_separator: optional(
          z.enum([' ', ',', '+']),
          'Between scopes in answers. Default: as in requests.',
        ),
        token_types: optional(
          z.array(plainText('A token_type.')),
          'Values of token_type that mean bearer here.',
        ),
      }),
      'How the answer of the token endpoint is read.',
    ),
    account_parameters: optional(
      z.array(parameterName),
      'Parameters of the redirect that say which account it is, such as realmId.',
    ),
    account_fields: optional(
      z.array(member),
      'Members of the token answer that say which account it is, such as team.name.',
    ),
    refresh_token_idle_timeout: days
      .optional()
      .meta({ description: 'After this time without a refresh the refresh token is dead.' }),
    refresh_token_lifetime: optional(days, 'After this time a new consent is needed, whatever was done.'),
    revocation: optional(
      z.strictObject({
        method: optional(z.enum(['POST', 'DELETE', 'GET']), 'Default: POST.'),
        url: endpointTemplate(
          'Where, if it is not the revocation_endpoint; {client_id} is replaced by the client ID.',
          'client_id',
        ).optional(),
        body: optional(z.enum(['form', 'json', 'none']), 'Default: form.'),
        token_parameter: optional(parameterName, 'The name of the token. Default: token.'),
        auth: optional(
          z.enum(['client', 'basic', 'bearer', 'none']),
          'client: as at the token endpoint. basic: client id and secret. bearer: the access token itself.',
        ),
        token: z.enum(['refresh_token', 'access_token']).optional().meta({
          description: 'Which token is sent to end the grant. Default: the refresh token.',
        }),
        ends_grant: optional(
          z.boolean(),
          'true: an access token that is revoked takes the grant with it. Default: true with token: access_token.',
        ),
        ok_field: optional(member, 'A member of the answer that is true where it worked.'),
      }),
      'How revoking differs from RFC 7009.',
    ),
    insufficient_scope: optional(
      z.strictObject({
        challenge: z.enum(['all', 'any']).optional().meta({
          description: 'any: the scope of a challenge lists what would each do. Default: what is needed.',
        }),
        granted_scopes_header: optional(answerField, 'The field that lists the scopes of the token.'),
        accepted_scopes_header: optional(answerField, 'The field that lists scopes of which one is needed.'),
        unless_headers: optional(
          z.record(answerField, plainText('Its value.')),
          'Fields with which the refusal is for something else.',
        ),
      }),
      'How the API reports that a token lacks a scope, in addition to RFC 6750.',
    ),
  })
  .transform((written): Dialect => ({
    scopeSeparator: written.scope_separator ?? ' ',
    scopeParameter: written.scope_parameter ?? 'scope',
    clientIdParameter: written.client_id_parameter ?? 'client_id',
    pkce: written.pkce ?? true,
    authorizationParameters: written.authorization_parameters ?? {},
    tokenParameters: written.token_parameters ?? {},
    tokenHeaders: written.token_headers ?? {},
    tokenBody: written.token_body ?? 'form',
    sendScopeOnRefresh: written.send_scope_on_refresh ?? false,
    refreshEndpoint: written.refresh_endpoint ?? null,
    tokenResponse: {
      root: written.token_response?.root ?? null,
      okField: written.token_response?.ok_field ?? null,
      error: written.token_response?.error ?? 'error',
      accessToken: written.token_response?.access_token ?? 'access_token',
      refreshToken: written.token_response?.refresh_token ?? 'refresh_token',
      expiresIn: written.token_response?.expires_in ?? 'expires_in',
      expiresAt: written.token_response?.expires_at ?? null,
      scope: written.token_response?.scope ?? 'scope',
      scopeSeparator: written.token_response?.scope_separator ?? null,
      tokenTypes: written.token_response?.token_types ?? [],
    },
    accountParameters: written.account_parameters ?? [],
    accountFields: written.account_fields ?? [],
    refreshTokenIdleTimeoutMs: written.refresh_token_idle_timeout ?? null,
    refreshTokenLifetimeMs: written.refresh_token_lifetime ?? null,
    revocation: {
      method: written.revocation?.method ?? 'POST',
      url: written.revocation?.url ?? null,
      body: written.revocation?.body ?? 'form',
      tokenParameter: written.revocation?.token_parameter ?? 'token',
      auth: written.revocation?.auth ?? 'client',
      token: written.revocation?.token ?? 'refresh_token',
      endsGrant: written.revocation?.ends_grant ?? written.revocation?.token === 'access_token',
      okField: written.revocation?.ok_field ?? null,
    },
    insufficientScope: {
      challenge: written.insufficient_scope?.challenge ?? 'all',
      grantedScopesHeader: written.insufficient_scope?.granted_scopes_header ?? null,
      acceptedScopesHeader: written.insufficient_scope?.accepted_scopes_header ?? null,
      unlessHeaders: written.insufficient_scope?.unless_headers ?? {},
    },
  }))
  .meta({ description: 'Where the provider’s OAuth differs from the RFCs.' });

/** The dialect of a provider that follows the RFCs. */
export const plainDialect: Dialect = dialectDefinition.parse({});

/** Schema of a provider's `dpop`: tokens that are bound to a key (RFC 9449). */
export const dpopDefinition = z
  .union(
    [
      z.boolean(),
      z.strictObject({
        algorithm: z
          .enum(['ES256', 'EdDSA'])
          .prefault('ES256')
          .meta({ description: 'How proofs are signed. Default: ES256, which every server takes.' }),
      }),
    ],
    { error: 'must be true, false or { algorithm: ES256 | EdDSA }' },
  )
  .transform((written): DpopAlgorithm | null =>
    typeof written === 'object' ? written.algorithm : written ? 'ES256' : null,
  )
  .meta({
    description:
      'Tokens are bound to a key that stays in Sidekey, and each request carries a proof of it (DPoP, RFC 9449). A token that is not bound is refused.',
  });

/** Parts of a definition that `dpop` must fit. */
interface Bound {
  readonly dpop?: DpopAlgorithm | null | undefined;
  readonly flows?: readonly Flow[] | undefined;
  readonly inject?: readonly InjectPlace[] | undefined;
}

/** Flows whose tokens come from another service, or are not OAuth tokens. */
const unboundFlows: readonly Flow[] = ['auth0_connection', 'github_installation', 'aws_role'];

/** Returns the end of a sentence: the tokens of a definition cannot be bound to a key. Null: they can. */
export function dpopMisfit({ dpop, flows = [], inject = [] }: Bound): string | null {
  if (dpop === undefined || dpop === null) return null;
  const flow = flows.find((each) => unboundFlows.includes(each));
  if (flow !== undefined) return `does not go with the flow ${flow}, whose tokens are bound to no key`;
  const isElsewhere = inject.some(({ as: { kind } }) => kind !== 'bearer' && kind !== 'own');
  return isElsewhere
    ? 'goes with inject: bearer; a token that is bound to a key is carried in no other way'
    : null;
}

/** Replaces `bearer` by `dpop` in the places of a provider with bound tokens. */
export function dpopPlaces(places: readonly InjectPlace[], dpop: Provider['dpop']): readonly InjectPlace[] {
  if (dpop === null) return places;
  return places.map((place) => (place.as.kind === 'bearer' ? { ...place, as: { kind: 'dpop' } } : place));
}

const named = schemes.filter(({ syntax }) => syntax !== null);
/** `own` does not carry a credential. */
const everywhere = named.filter(({ kind }) => kind !== 'own');

const schemasOf = (all: typeof schemes) => all.flatMap(({ schemas }) => schemas);
const formsOf = (all: typeof schemes) => all.map(({ syntax }) => syntax).join(', ');

/** Parses a checked `inject`: its text, or its first key, is the kind of a scheme. */
function placementOf(written: unknown): Placement {
  const scheme = named.find(
    ({ kind }) => written === kind || (typeof written === 'object' && written !== null && kind in written),
  );
  return scheme!.parse(written);
}

const place = z
  .strictObject({
    hosts: some(domainPattern('host, host:port or *.suffix'), 'The hosts; default: all.').optional(),
    paths: some(
      pathGlob('A path. One that two servers would read differently is none of them.'),
      'The paths; default: all.',
    ).optional(),
    as: z
      .union(schemasOf(named), { error: `must be ${formsOf(everywhere)} or own` })
      .meta({ description: 'How the credential is carried there.' }),
  })
  .transform(({ hosts, paths, as }): InjectPlace => ({
    hosts: hosts?.map((pattern) => pattern.text) ?? null,
    paths: paths?.map((glob) => glob.text) ?? null,
    as: placementOf(as),
  }));

const beside = named.filter(({ kind }) => kind === 'header' || kind === 'query');

/** Schema of the place of an additional credential. */
export const fieldPlacement = z
  .union(schemasOf(beside), { error: `must be ${formsOf(beside)}` })
  .transform(placementOf)
  .meta({ description: 'The field or the parameter of the query that carries it.' });

/** Schema of the placement of a credential that an answer hands out. */
export const mintedPlacement = z
  .union(schemasOf(everywhere), { error: `must be ${formsOf(everywhere)}` })
  .transform(placementOf)
  .meta({ description: 'How the credential is carried. Default: as inject of the provider says.' });

/** Schema of a provider's `inject`. */
export const injectDefinition = z
  .union(
    [
      ...schemasOf(everywhere),
      some(place, 'The first place that has the request says; elsewhere it does not go.'),
    ],
    {
      error: `must be ${formsOf(everywhere)}, or a list of { hosts, paths, as }`,
    },
  )
  .transform((written): readonly InjectPlace[] =>
    Array.isArray(written)
      ? (written as readonly InjectPlace[])
      : [{ hosts: null, paths: null, as: placementOf(written) }],
  )
  .meta({
    description:
      'The place of the credential in a request; a list has one entry for each place. Default: bearer.',
  });
