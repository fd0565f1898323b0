/** The names that a token file may use, and what a misspelt one was probably meant to be. Pure. */
import { editDistance } from '../did-you-mean.ts';

/** Each field by its one name, with the other spellings that tools write. `camelCase` of each is read as well. */
const spellings = {
  type: [],
  access_token: [],
  refresh_token: [],
  token_type: [],
  expires_in: [],
  expires_at: ['token_expires_at', 'expiry', 'expiry_date'],
  scope: ['scopes'],
  id_token: [],
  client_id: [],
  client_secret: [],
  token_endpoint: ['token_uri', 'token_url'],
  value: [],
  api_key: [],
  jwt: [],
  username: [],
  password: [],
  headers: [],
  access_key_id: ['aws_access_key_id', 'AccessKeyId'],
  secret_access_key: ['aws_secret_access_key', 'SecretAccessKey'],
  session_token: ['aws_session_token', 'SessionToken'],
  region: ['aws_region'],
  certificate: ['certificate_chain', 'client_certificate'],
  private_key: ['client_key'],
  passphrase: [],
} as const satisfies Record<string, readonly string[]>;

/** The one name of a field. */
export type FieldName = keyof typeof spellings;

const canonical = new Map<string, FieldName>(
  Object.entries(spellings).flatMap(([name, others]) =>
    [name, ...others].map((spelling) => [spelling, name as FieldName] as const),
  ),
);

/** The field that a written name stands for; null where there is none. */
export function fieldNamed(written: string): FieldName | null {
  return canonical.get(written) ?? canonical.get(snake(written)) ?? null;
}

/** The nearest known name to one that is not known; null where none is near. */
export function nearestField(written: string): string | null {
  if (written.length > 40) return null;
  const plain = flat(written);
  let best: string | null = null;
  let least = 3;
  for (const name of canonical.keys()) {
    const distance = editDistance(plain, flat(name));
    // A short name is not "meant" when most of it differs.
    if (distance < least && distance * 2 < name.length) [best, least] = [name, distance];
  }
  return best;
}

function snake(name: string): string {
  return /^[a-z][A-Za-z]*$/.test(name)
    ? name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    : name;
}

function flat(name: string): string {
  return name.toLowerCase().replace(/[^a-z]/g, '');
}
