import { awsKeysOf, type AwsKeys } from '../grants/aws-keys.ts';
import { secretText, type Credential } from '../grants/credential.ts';
import { basicField } from './basic.ts';
import { lineOfKey } from './client-certificate.ts';

/**
 * The texts of a credential that nobody may see who did not bring them; each a character a byte. Everything that is sealed
 * counts, but for the user name of a password: services show it in what they are asked for.
 */
export function secretsOf(credential: Credential): readonly string[] {
  switch (credential.type) {
    case 'aws':
      return ofKeys(credential);
    case 'oauth2': {
      const keys = awsKeysOf(credential);
      if (keys !== null) return ofKeys(keys);
      return credential.dpop === undefined
        ? [secretText(credential)]
        : [secretText(credential), credential.dpop.key.d];
    }
    case 'api_key':
    case 'jwt':
      return [secretText(credential)];
    case 'basic': {
      const { username, password } = credential;
      const [, value] = basicField(username, password);
      const basic = withoutScheme(value);
      if (isFiller(password)) return [asBytes(username), basic];
      // Which of the two is the secret cannot be told of a short one.
      return password.length < 8 ? [asBytes(username), asBytes(password), basic] : [asBytes(password), basic];
    }
    case 'headers':
      return credential.headers.map(([, value]) => withoutScheme(value));
    case 'client_certificate':
      return [lineOfKey(credential)];
  }
}

/** The token of a session leaves in a field. The secret key never leaves, but to who was given it elsewhere. */
function ofKeys({ secretAccessKey, sessionToken }: AwsKeys): readonly string[] {
  return sessionToken === null ? [secretAccessKey] : [secretAccessKey, sessionToken];
}

/** `Bot TOKEN` is echoed as `TOKEN` too. */
function withoutScheme(value: string): string {
  return /^[A-Za-z][A-Za-z0-9-]* +(\S.*)$/.exec(value)?.[1] ?? value;
}

const fillers: ReadonlySet<string> = new Set([
  'api_token',
  'x-oauth-basic',
  'x-token-auth',
  'password',
  'unused',
]);

/** What stands where a password would: the user name is the key then. */
function isFiller(password: string): boolean {
  return password.length < 2 || fillers.has(password);
}

/** Basic sends UTF-8 (RFC 7617 §2.1). */
function asBytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}
