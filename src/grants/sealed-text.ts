/** Serialization of a `SealedCredential` inside the seal. Parsing trusts nothing. */
import { isDpopKey } from '../proxy/schemes/dpop-proof.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Credential, type Renewal, type SealedCredential, sourceForms } from '../domain/credential.ts';

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
  const isOurs = parsed?.['v'] === version || parsed?.['v'] === metadataVersion;
  if (isOurs && isCredential(parsed['credential']) && isStrings(parsed['audience'])) {
    const { credential, audience, details, metadata } = parsed;
    if ((details === undefined || isTexts(details)) && (metadata === undefined || isTexts(metadata)))
      return { credential, audience, ...(details && { details }), ...(metadata && { metadata }) };
  }
  throw new SidekeyError(
    'record_tampered',
    `The sealed credential of grant ${grantId} has a form that this version of Sidekey does not know.`,
    { hint: 'use the version that wrote it, or remove the grant and add it again' },
  );
}

function parse(bytes: Uint8Array): Record<string, unknown> | null {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    return isObject(parsed) ? parsed : null;
  } catch {
    return null;
  }
}

function isCredential(value: unknown): value is Credential {
  if (!isObject(value)) return false;
  switch (value['type']) {
    case 'oauth2':
      return (
        typeof value['obtainedAt'] === 'number' &&
        isTime(value['expiresAt']) &&
        ['accessToken', 'refreshToken', 'scope', 'clientId', 'clientSecret', 'tokenEndpoint'].every((name) =>
          isTextOrNull(value[name]),
        ) &&
        (value['consentedAt'] === undefined || typeof value['consentedAt'] === 'number') &&
        (value['isNarrowed'] === undefined || typeof value['isNarrowed'] === 'boolean') &&
        (value['flow'] === undefined || isText(value['flow'])) &&
        (value['renewal'] === undefined || isRenewal(value['renewal'])) &&
        (value['dpop'] === undefined || isDpopBinding(value['dpop']))
      );
    case 'api_key':
      return typeof value['value'] === 'string';
    case 'jwt':
      return typeof value['value'] === 'string' && isTime(value['expiresAt']);
    case 'basic':
      return typeof value['username'] === 'string' && typeof value['password'] === 'string';
    case 'headers':
      return (
        Array.isArray(value['headers']) &&
        value['headers'].every((field) => isStrings(field) && field.length === 2)
      );
    case 'aws':
      return isAwsKeys(value) && isTextOrNull(value['region']);
    case 'client_certificate':
      return (
        isText(value['certificate']) && isText(value['privateKey']) && typeof value['expiresAt'] === 'number'
      );
    case 'source':
      return (
        isText(value['from']) &&
        (value['form'] === null || sourceForms.some((form) => form === value['form'])) &&
        isTime(value['ttlMs'])
      );
    default:
      return false;
  }
}

function isAwsKeys(value: unknown): boolean {
  return (
    isObject(value) &&
    isText(value['accessKeyId']) &&
    isText(value['secretAccessKey']) &&
    isTextOrNull(value['sessionToken'])
  );
}

function isRenewal(value: unknown): value is Renewal {
  if (!isObject(value)) return false;
  const are = (check: (inner: unknown) => boolean, ...names: readonly string[]) =>
    names.every((name) => check(value[name]));
  switch (value['kind']) {
    case 'client_credentials':
      return are(isTextOrNull, 'scope') && isTexts(value['parameters']);
    case 'jwt_bearer':
      return (
        isSigningKey(value['key']) &&
        are(isText, 'issuer') &&
        are(isTextOrNull, 'subject', 'audience', 'scope') &&
        isTexts(value['parameters'])
      );
    case 'token_exchange':
      return (
        isTokenOrReference(value['subjectToken']) &&
        (value['actorToken'] === null || isTokenOrReference(value['actorToken'])) &&
        are(isText, 'subjectTokenType') &&
        are(isTextOrNull, 'actorTokenType', 'requestedTokenType', 'scope') &&
        isTexts(value['parameters'])
      );
    case 'auth0_connection':
      return are(isText, 'via', 'connection') && are(isTextOrNull, 'loginHint');
    case 'github_installation':
      return isSigningKey(value['key']) && are(isText, 'appId', 'installationId');
    case 'aws_role':
      return (
        isAwsKeys(value['keys']) &&
        are(isText, 'roleArn', 'sessionName') &&
        are(isTextOrNull, 'externalId', 'region') &&
        (value['durationSeconds'] === null || typeof value['durationSeconds'] === 'number')
      );
    default:
      return false;
  }
}

function isSigningKey(value: unknown): boolean {
  return (
    isObject(value) &&
    isText(value['privateKey']) &&
    isTextOrNull(value['keyId']) &&
    isText(value['algorithm'])
  );
}

function isDpopBinding(value: unknown): boolean {
  return isObject(value) && isDpopKey(value['key']) && typeof value['isBound'] === 'boolean';
}

function isTokenOrReference(value: unknown): boolean {
  return isObject(value) && (isText(value['value']) || isText(value['reference']));
}

function isTexts(value: unknown): value is Record<string, string> {
  return isObject(value) && !Array.isArray(value) && Object.values(value).every(isText);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || typeof value === 'string';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function isTime(value: unknown): value is number | null {
  return value === null || typeof value === 'number';
}
