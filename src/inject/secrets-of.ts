import { secretText, type Credential } from '../grants/credential.ts';
import { basicField } from './basic.ts';

/**
 * The texts of a credential that nobody may see who did not bring them; each a character a byte. Everything that is sealed
 * counts, but for the user name of a password: services show it in what they are asked for.
 */
export function secretsOf(credential: Credential): readonly string[] {
  switch (credential.type) {
    case 'oauth2':
    case 'api_key':
    case 'jwt':
      return [secretText(credential)];
    case 'basic': {
      const { username, password } = credential;
      const [, value] = basicField(username, password);
      return [asBytes(isFiller(password) ? username : password), withoutScheme(value)];
    }
    case 'headers':
      return credential.headers.map(([, value]) => withoutScheme(value));
  }
}

/** `Bot TOKEN` is echoed as `TOKEN` too. */
function withoutScheme(value: string): string {
  return /^[A-Za-z][A-Za-z0-9-]* +(\S.*)$/.exec(value)?.[1] ?? value;
}

/** What stands where a password would: the user name is the key then. */
function isFiller(password: string): boolean {
  return password.length < 8 || ['api_token', 'x-oauth-basic', 'x-token-auth', 'password'].includes(password);
}

/** Basic sends UTF-8 (RFC 7617 §2.1). */
function asBytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}
