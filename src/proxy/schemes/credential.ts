import { type AwsKeys, awsKeysOf, type Credential } from '../../domain/credential.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { conceal, type Field, type PreparedCredential, refused } from './scheme.ts';

/**
 * Returns the value of a credential that is one value.
 *
 * @throws SidekeyError `policy_violation`: it has several, or is never sent; `internal`: there is none yet
 */
export function singleValue(credential: Credential): string {
  switch (credential.type) {
    case 'oauth2':
      if (credential.accessToken === null) {
        throw new SidekeyError('internal', 'The grant has no access token yet.');
      }
      return credential.accessToken;
    case 'api_key':
    case 'jwt':
      return credential.value;
    case 'basic':
    case 'headers':
      throw refused(
        `The provider of this grant carries one value, and its credential is ${several[credential.type]}.`,
        'add the grant again with --replace: {"type":"api_key","value":"…"}',
      );
    case 'aws':
      throw refused(
        'The keys of this grant sign requests, and are never sent themselves.',
        'in the provider: inject: aws_sigv4',
      );
    case 'client_certificate':
      throw refused(
        'The certificate of this grant is shown in TLS handshakes only, not in requests.',
        'in the provider: inject: client_certificate',
      );
    case 'source':
      throw new SidekeyError('internal', 'The source of the grant was not asked.');
  }
}

const several = { basic: 'a user name and a password', headers: 'fields of its own' } as const;

/**
 * Returns the fields of a credential of several values, which cannot be in the path; null for one value.
 *
 * @param username replaces the user name of a pair; null: it stays
 */
export function ownFields(credential: Credential, username: string | null = null): readonly Field[] | null {
  switch (credential.type) {
    case 'basic':
      return [basicField(username ?? credential.username, credential.password)];
    case 'headers':
      return credential.headers;
    default:
      return null;
  }
}

/**
 * Prepares a credential for the path or the query. Services repeat these, so the credential is removed from
 * response fields.
 *
 * @param write returns the path with the credential
 */
export function inTarget(
  credential: Credential,
  write: (path: string, token: string) => string,
): PreparedCredential {
  const fields = ownFields(credential);
  if (fields !== null) return { fields };
  const token = singleValue(credential);
  const secrets = { texts: [token] };
  return {
    fields: [],
    apply: ({ path }) => ({ path: write(path, token), conceal: (received) => conceal(received, secrets) }),
  };
}

/**
 * `Authorization: Basic` (RFC 7617 §2), in UTF-8 (§2.1).
 *
 * @throws SidekeyError `policy_violation` if the user name has a colon, which would end it early, or one of
 * the two has a control character
 */
export function basicField(username: string, password: string): Field {
  if (username.includes(':') || /\p{Cc}/u.test(username + password)) {
    throw refused(
      'The stored user name holds a colon, or one of user name and password a control character.',
      'add the grant again with --replace',
    );
  }
  return ['Authorization', `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`];
}

/**
 * Returns the texts of a credential that no response may contain, one character per byte: all that is sealed,
 * except the user name of a password, which services show.
 */
export function secretsOf(credential: Credential): readonly string[] {
  switch (credential.type) {
    case 'aws':
      return secretsOfKeys(credential);
    case 'oauth2': {
      const keys = awsKeysOf(credential);
      if (keys !== null) return secretsOfKeys(keys);
      const token = credential.accessToken ?? '';
      return credential.dpop === undefined ? [token] : [token, credential.dpop.key.d];
    }
    case 'api_key':
    case 'jwt': {
      const { api_secret: pair } = credential.extra ?? {};
      return pair === undefined ? [credential.value] : [credential.value, asBytes(pair)];
    }
    case 'basic': {
      const { username, password } = credential;
      const [, value] = basicField(username, password);
      const basic = withoutScheme(value);
      // If the password is a filler, the user name is the key.
      if (password.length < 2 || fillers.has(password)) return [asBytes(username), basic];
      // A short password may be a filler, and the user name the secret.
      return password.length < 8 ? [asBytes(username), asBytes(password), basic] : [asBytes(password), basic];
    }
    case 'headers':
      return credential.headers.map(([, value]) => withoutScheme(value));
    case 'client_certificate':
      return [lineOfKey(credential.privateKey)];
    case 'source':
      return [];
  }
}

function secretsOfKeys({ secretAccessKey, sessionToken }: AwsKeys): readonly string[] {
  return sessionToken === null ? [secretAccessKey] : [secretAccessKey, sessionToken];
}

/** A service repeats `Bot TOKEN` as `TOKEN` too. */
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

/** Basic sends UTF-8 (RFC 7617 §2.1). */
function asBytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** One line of a private key identifies it. All lines would cost the leak guard as much as fifty tokens. */
function lineOfKey(privateKey: string): string {
  const lines = privateKey.split('\n').filter((line) => line !== '' && !line.startsWith('-----'));
  // The first line is the same for all keys of a kind, the last is public.
  return lines[Math.floor(lines.length / 2)] ?? '';
}
