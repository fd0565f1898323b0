import { z } from 'zod';
import { optional } from '../../lib/text.ts';
import { isScope } from '../../grants/oauth/scopes.ts';
import { createDeviceSession } from '../connect/device.ts';
import { createSession, statusOf } from '../connect/sessions.ts';
import { type AnyRoute, type Given, route } from '../route.ts';
import { assertOwnSettings } from '../../operations/grant-settings.ts';
import { duration, name, named, text, time, userName } from '../../operations/members.ts';

/** Routes of connect sessions. */

const scope = z.string().refine(isScope, 'is not a scope (RFC 6749 §3.3)');

const grantPolicy = z
  .strictObject({
    ttl: duration.optional(),
    max_ttl: duration.optional(),
    lease_ttl: duration.optional(),
    max_lease_ttl: duration.optional(),
    labels: z.array(name).optional(),
    metadata: z.record(name, z.string().regex(/^[ -~\u00a0-\uffff]{0,256}$/)).optional(),
  })
  .refine(({ ttl, max_ttl: max }) => ttl === undefined || max === undefined || ttl <= max, {
    error: 'has a ttl that is longer than its max_ttl',
  });

const wanted = z.strictObject({
  provider: name,
  user: userName,
  scopes: z.array(scope).min(1).max(100).optional(),
  name: optional(name, 'Name of the grant; default: that of the provider.'),
  grant_policy: grantPolicy.optional(),
});

/** @throws SidekeyError `scope_missing` */
function wantedOf({ body, caller }: Pick<Given<never, z.output<typeof wanted>>, 'body' | 'caller'>) {
  const { provider, user, scopes, name: grant, grant_policy: policy = {} } = body;
  assertOwnSettings(policy, caller);
  return { provider, user, scopes, name: grant, by: caller.name, owner: caller.owner, policy };
}

const base = { tag: 'Connect sessions', path: '/v2/connect-sessions' } as const;

export const connectRoutes: readonly AnyRoute[] = [
  route({
    ...base,
    method: 'post',
    id: 'createConnectSession',
    summary: 'Begin a session in which a person connects an account in a browser.',
    scope: 'grants:write',
    owner: ({ body }) => body.user,
    body: wanted.extend({
      return_url: optional(text, 'One of `admin.return_urls`, with a path and a query of your own.'),
      popup_origin: text
        .optional()
        .describe('Origin of the page that opens a popup: of Sidekey, or of `admin.return_urls`.'),
    }),
    status: 201,
    result: named('CreatedConnectSession', {
      id: z.string(),
      connect_url: z.url().describe('Works once.'),
      session_token: z.string(),
      expires_at: time,
    }),
    async handle(given, parts) {
      const { return_url: returnUrl, popup_origin: popupOrigin } = given.body;
      // The origin of a session's request is that of a page of Sidekey (`assertSameOrigin`).
      const pageOrigin = given.caller.person === null ? null : given.origin;
      const wants = { ...wantedOf(given), returnUrl, popupOrigin, pageOrigin };
      const { session, token } = await createSession(wants, parts);
      return {
        id: session.id,
        connect_url: `${parts.url()}/connect/${token}`,
        session_token: token,
        expires_at: new Date(session.expiresAt).toISOString(),
      };
    },
  }),
  route({
    ...base,
    path: '/v2/connect-sessions/device',
    method: 'post',
    id: 'createDeviceSession',
    summary: 'Begin a session in which a person types a code on another device.',
    scope: 'grants:write',
    owner: ({ body }) => body.user,
    body: wanted,
    status: 201,
    result: named('DeviceSession', {
      id: z.string(),
      user_code: z.string(),
      verification_uri: z.url().describe('The person opens it, and types the code.'),
      verification_uri_complete: z.url().nullable().describe('The same with the code in it.'),
      expires_at: time,
      interval: z.number().describe('Seconds between two questions to the provider.'),
    }),
    async handle(given, parts) {
      const { session, codes } = await createDeviceSession(wantedOf(given), given.caller.address, parts);
      return {
        id: session.id,
        user_code: codes.userCode,
        verification_uri: codes.verificationUri,
        verification_uri_complete: codes.verificationUriComplete,
        expires_at: new Date(session.expiresAt).toISOString(),
        interval: codes.intervalMs / 1_000,
      };
    },
  }),
  route({
    ...base,
    path: '/v2/connect-sessions/{id}',
    method: 'get',
    id: 'getConnectSession',
    summary: 'Show the state of a session; it can be read for a day.',
    scope: 'grants:read',
    owner: async ({ params }, parts) => (await statusOf(params['id'] ?? '', parts)).session.user,
    result: named('ConnectSession', {
      id: z.string(),
      status: z.enum(['pending', 'connected', 'failed', 'expired']),
      provider: z.string(),
      user: z.string(),
      grant_id: z.uuid().optional(),
      error: z.strictObject({ code: z.string(), detail: z.string() }).optional(),
    }),
    async handle({ params }, parts) {
      const { session, status, end } = await statusOf(params['id'] ?? '', parts);
      const { id, provider, user } = session;
      const outcome = end === null ? {} : 'grantId' in end ? { grant_id: end.grantId } : end;
      return { id, status, provider, user, ...outcome };
    },
  }),
];
