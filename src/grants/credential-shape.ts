/** The forms that a credential may be handed over in, and the checks that every text in it has to pass. */
import { SidekeyError } from '../errors.ts';
import { isAccessKeyId, isAwsSecret, type AwsKeys } from './aws-keys.ts';
import { isFieldValue } from '../policy/field.ts';
import type { Json } from './json-text.ts';

const maxValue = 65_536;

/**
 * The types of credentials, as a token file names them. The order counts where the fields have to tell the type.
 */
export const types = ['oauth2', 'api_key', 'jwt', 'basic', 'headers', 'aws', 'client_certificate'] as const;
/** One of `types`. */
export type Type = (typeof types)[number];

/** What each type looks like, for people. */
export const shapes: Readonly<Record<Type, string>> = {
  oauth2: '{"type":"oauth2","access_token":"…","refresh_token":"…","expires_in":3600}',
  api_key: '{"type":"api_key","value":"…"}',
  jwt: '{"type":"jwt","value":"…"}',
  basic: '{"type":"basic","username":"…","password":"…"}',
  headers: '{"type":"headers","headers":{"X-Api-Key":"…"}}',
  aws: '{"type":"aws","access_key_id":"AKIA…","secret_access_key":"…"}',
  client_certificate: '{"type":"client_certificate","certificate":"PEM…","private_key":"PEM…"}',
};

/** A text that will stand in a header field. */
export function checkedToken(value: string, place: string, shape: string): string {
  if (!isFieldValue(value)) {
    throw invalid(
      `${place} holds a character that cannot stand in a header field; only visible ASCII can`,
      shape,
    );
  }
  return value;
}

/** A text of a credential: not empty, not huge, without control characters. */
export function checkedString(
  value: Json | undefined,
  place: string,
  shape: string,
  allowed: 'spaces around it' | null = null,
): string {
  if (typeof value !== 'string') throw invalid(`${place} must be a string`, shape);
  if (value.trim() === '') throw invalid(`${place} is empty`, shape);
  if (Buffer.byteLength(value) > maxValue) throw invalid(`${place} is larger than 64 KiB`, shape);
  // Also unpaired surrogates: they have no UTF-8.
  if (/[\p{Cc}\p{Cs}]/u.test(value)) {
    throw invalid(`${place} holds a control character, such as a line break at its end`, shape);
  }
  if (value !== value.trim() && allowed === null)
    throw invalid(`${place} begins or ends with a space`, shape);
  return value;
}

/** Keys of AWS, as a person handed them over. None of the three is shown. */
export function checkedKeys({ accessKeyId, secretAccessKey, sessionToken }: AwsKeys): AwsKeys {
  if (!isAccessKeyId(accessKeyId)) {
    throw invalid('the access key id must be 16 to 128 letters and digits', shapes.aws);
  }
  if (!isAwsSecret(secretAccessKey)) {
    throw invalid('the secret access key holds a character that none has', shapes.aws);
  }
  if (sessionToken !== null && !isAwsSecret(sessionToken)) {
    throw invalid('the session token holds a character that none has', shapes.aws);
  }
  return { accessKeyId, secretAccessKey, sessionToken };
}

/** The name of a region, `eu-west-1`; S3-compatible services have their own, such as `auto`. */
export function checkedRegion(region: string): string {
  if (/^[a-z0-9-]{1,64}$/.test(region)) return region;
  throw invalid('the region is no name of one, such as eu-west-1', shapes.aws);
}

/** `input_invalid`, with a hint that shows the shape. */
export function invalid(message: string, shape?: string, verb = 'expected'): SidekeyError {
  const sentence = `${message.charAt(0).toUpperCase()}${message.slice(1)}${message.endsWith('?') ? '' : '.'}`;
  return new SidekeyError('input_invalid', sentence, {
    hint: shape === undefined ? `expected one of: ${Object.values(shapes).join(' ')}` : `${verb}: ${shape}`,
  });
}
