/** Serialization of a `SealedCredential` inside the seal. Parsing trusts nothing. */
import { z } from 'zod';
import { isDpopKey } from '../proxy/schemes/dpop-proof.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Grant } from '../domain/grant.ts';
import { type Credential, type SealedCredential, sourceForms } from '../domain/credential.ts';

const version = 1;
/** Format version with metadata, which an earlier program would drop at its next write. */
const metadataVersion = 2;

/** Serializes the content of a seal. */
export function writeSealed({ credential, audience, details, metadata }: SealedCredential): Uint8Array {
  const v = metadata === undefined ? version : metadataVersion;
  return Buffer.from(JSON.stringify({ v, credential, audience, details, metadata }), 'utf8');
}

/**
 * Parses the content of a seal.
 * @throws SidekeyError `record_tampered`: another format, from a newer version or not from Sidekey
 */
export function readSealed(bytes: Uint8Array, grantId: string): SealedCredential {
  const parsed = parse(bytes);
  if (shape.safeParse(parsed).success) {
    const { credential, audience, details, metadata } = parsed as SealedCredential;
    return { credential, audience, ...(details && { details }), ...(metadata && { metadata }) };
  }
  throw new SidekeyError(
    'record_tampered',
    `The sealed credential of grant ${grantId} has a form that this version of Sidekey does not know.`,
    { hint: 'use the version that wrote it, or remove the grant and add it again' },
  );
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return null;
  }
}

const text = z.string();
const textOrNull = text.nullable();
const time = z.number().nullable();
const texts = z.record(text, text);
const awsKeys = { accessKeyId: text, secretAccessKey: text, sessionToken: textOrNull };
const signingKey = z.object({ privateKey: text, keyId: textOrNull, algorithm: text });
const tokenOrReference = z.union([z.object({ value: text }), z.object({ reference: text })]);

const renewal = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('client_credentials'), scope: textOrNull, parameters: texts }),
  z.object({
    kind: z.literal('jwt_bearer'),
    key: signingKey,
    issuer: text,
    subject: textOrNull,
    audience: textOrNull,
    scope: textOrNull,
    parameters: texts,
  }),
  z.object({
    kind: z.literal('token_exchange'),
    subjectToken: tokenOrReference,
    subjectTokenType: text,
    actorToken: tokenOrReference.nullable(),
    actorTokenType: textOrNull,
    requestedTokenType: textOrNull,
    scope: textOrNull,
    parameters: texts,
  }),
  z.object({
    kind: z.literal('id_jag'),
    user: text,
    identity: text,
    scope: textOrNull,
    actorToken: z.object({ reference: text }).nullable(),
    actorTokenType: textOrNull,
  }),
  z.object({ kind: z.literal('auth0_connection'), via: text, connection: text, loginHint: textOrNull }),
  z.object({ kind: z.literal('github_installation'), key: signingKey, appId: text, installationId: text }),
  z.object({
    kind: z.literal('aws_role'),
    keys: z.object(awsKeys),
    roleArn: text,
    sessionName: text,
    externalId: textOrNull,
    durationSeconds: time,
    region: textOrNull,
  }),
]);

/** See `RegisteredByItself`. */
export const registeredShape = z.object({
  at: z.number(),
  auth: z.enum(['basic', 'post', 'none']),
  secretExpiresAt: time,
});

const credential = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('oauth2'),
    accessToken: textOrNull,
    refreshToken: textOrNull,
    expiresAt: time,
    obtainedAt: z.number(),
    scope: textOrNull,
    isNarrowed: z.boolean().optional(),
    refreshNeeds: z.array(z.literal(['scope', 'resource'])).optional(),
    clientId: textOrNull,
    clientSecret: textOrNull,
    tokenEndpoint: textOrNull,
    registered: registeredShape.optional(),
    consentedAt: z.number().optional(),
    flow: text.optional(),
    renewal: renewal.optional(),
    dpop: z.object({ key: z.custom(isDpopKey), isBound: z.boolean() }).optional(),
  }),
  z.object({
    type: z.literal(['api_key', 'jwt']),
    value: text,
    expiresAt: time.optional(),
    extra: texts.optional(),
  }),
  z.object({ type: z.literal('basic'), username: text, password: text, expiresAt: time.optional() }),
  z.object({ type: z.literal('headers'), headers: z.array(z.tuple([text, text])) }),
  z.object({ type: z.literal('aws'), ...awsKeys, region: textOrNull, expiresAt: time.optional() }),
  z.object({
    type: z.literal('client_certificate'),
    certificate: text,
    privateKey: text,
    expiresAt: z.number(),
  }),
  z.object({ type: z.literal('source'), from: text, form: z.enum(sourceForms).nullable(), ttlMs: time }),
]) satisfies z.ZodType<{ readonly type: Credential['type'] }>;

const shape = z.object({
  v: z.literal([version, metadataVersion]),
  credential,
  audience: z.array(text),
  details: texts.optional(),
  metadata: texts.optional(),
});

/**
 * Returns the context of a seal: it opens only for this grant and revision, and with the names that decide
 * who may use the grant and where its refresh token is sent.
 */
export function sealContext(grant: Pick<Grant, 'id' | 'revision' | 'name' | 'user' | 'provider'>): string {
  const { id, revision, name, user, provider } = grant;
  return `grant/${id}/${revision}/${name}/${user}/${provider}`;
}
