import type { Credential } from './credential.ts';

/** What signs requests to AWS. Never sent, but for the id and the session token. */
export interface AwsKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of temporary keys, which are good for nothing without it; null: they are a user's own. */
  readonly sessionToken: string | null;
}

/** Temporary keys as one text, as an access token is kept. None of the three can hold a colon. */
export function keysText({ accessKeyId, secretAccessKey, sessionToken }: AwsKeys): string {
  return `${accessKeyId}:${secretAccessKey}:${sessionToken ?? ''}`;
}

/** Letters, digits, `_`; 16 to 128 of them (AWS's own words for it). */
export function isAccessKeyId(text: string): boolean {
  return /^\w{16,128}$/.test(text);
}

/** Base64, and the few characters that S3-compatible services add to it. */
export function isAwsSecret(text: string): boolean {
  return /^[A-Za-z0-9+/=_.~-]+$/.test(text);
}

/** The keys in a text; null where it has none. */
export function parseKeys(text: string): AwsKeys | null {
  const [accessKeyId = '', secretAccessKey = '', sessionToken = '', ...more] = text.split(':');
  if (accessKeyId === '' || secretAccessKey === '' || more.length > 0) return null;
  return { accessKeyId, secretAccessKey, sessionToken: sessionToken === '' ? null : sessionToken };
}

/** The keys of a credential: its own, or the temporary ones of a role; null: it has none. */
export function awsKeysOf(credential: Credential): AwsKeys | null {
  if (credential.type === 'aws') return credential;
  if (credential.type !== 'oauth2' || credential.renewal?.kind !== 'aws_role') return null;
  return credential.accessToken === null ? null : parseKeys(credential.accessToken);
}
