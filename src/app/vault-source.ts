import { dirname } from 'node:path';
import type { Config } from '../config/config.ts';
import { readSecret } from '../config/secret-reference.ts';
import type { VaultServer } from '../config/vaults.ts';
import type { SourceForm } from '../domain/credential.ts';
import type { VaultReader } from '../grants/sources/ask.ts';
import type { SourceValue } from '../grants/sources/source.ts';
import { readValue } from '../grants/sources/value.ts';
import type { VaultReference } from '../grants/sources/vault-reference.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Hint } from '../lib/hint.ts';
import { describe } from '../grants/oauth/description.ts';
import { createVaultClient } from './vault-client.ts';
import { openVaultLeases, type VaultLeases, type VaultSecret } from './vault-leases.ts';

interface VaultReaderParts {
  /** Config in force. */
  readonly config: () => Config;
  /** Environment of `env:` references. */
  readonly env: NodeJS.ProcessEnv;
  readonly now: () => number;
}

/** Creates a reader. After an edit of a server in the config, forgets its login and its leases. */
export function createVaultReader({ config, env, now }: VaultReaderParts): VaultReader {
  const opened = new Map<string, { readonly settings: string; readonly leases: VaultLeases }>();

  function serverOf({ server }: VaultReference): readonly [name: string, VaultServer] {
    const { vaults } = config();
    const names = [...vaults.keys()];
    const name = server ?? (names.length === 1 ? names[0] : undefined);
    const found = name === undefined ? undefined : vaults.get(name);
    if (name !== undefined && found !== undefined) return [name, found];
    const which = server === null ? 'no server' : `the server ${server}`;
    throw failed(
      `The source names ${which}, and vaults of the config has ${names.length === 0 ? 'none' : names.join(', ')}.`,
      names.length === 0
        ? 'add to the config: vaults: { main: { address: https://HOST:8200, token: env:VAULT_TOKEN } }'
        : `write vault://SERVER/PATH with one of: ${names.join(', ')}`,
    );
  }

  function leasesOf(name: string, server: VaultServer): VaultLeases {
    const settings = JSON.stringify(server);
    let it = opened.get(name);
    if (it?.settings !== settings) {
      const client = createVaultClient(server, { config, env, now, code: 'source_failed' });
      opened.set(name, (it = { settings, leases: openVaultLeases(client, now) }));
    }
    return it.leases;
  }

  return {
    async ask(reference, { credential, isRefused }) {
      const leases = leasesOf(...serverOf(reference));
      return valueOf(reference, await leases.read(reference.path, isRefused), credential.form, now);
    },
    async check(reference) {
      const [, { login, where }] = serverOf(reference);
      await readSecret(login.secret, { env, cwd: dirname(config().file), where, isTrial: true });
    },
  };
}

/** Returns the credential of a secret: its named member, a pair, the keys of AWS, or its only member. */
function valueOf(
  { path, member }: VaultReference,
  { data, expiresAt }: VaultSecret,
  stated: SourceForm | null,
  now: () => number,
): SourceValue {
  const texts = new Map<string, string>();
  for (const [name, value] of Object.entries(data)) if (typeof value === 'string') texts.set(name, value);
  const read = (text: string, form: SourceForm): SourceValue => {
    try {
      const value = readValue(text, form, now);
      return { ...value, expiresAt: expiresAt ?? value.expiresAt };
    } catch (error) {
      if (!(error instanceof SidekeyError)) throw error;
      throw failed(
        `The Vault secret ${path} holds no credential: ${error.message}`,
        'write a token alone, or JSON with a token and its end, into the member that vault:PATH#MEMBER names',
      );
    }
  };
  const token = texts.size === 1 ? texts.get(member ?? [...texts.keys()][0]!) : texts.get(member ?? '');
  if (token !== undefined && stated !== null) return read(token, stated);
  if (token !== undefined) {
    const end = expiresAt === null ? null : new Date(expiresAt).toISOString();
    return read(JSON.stringify({ token, expires_at: end }), 'json');
  }
  const [user, password] = [texts.get('username'), texts.get('password')];
  if (member === null && user !== undefined && password !== undefined)
    return read(JSON.stringify({ Username: user, Secret: password }), 'docker');
  const [id, secret] = [texts.get('access_key'), texts.get('secret_key')];
  if (member === null && id !== undefined && secret !== undefined) {
    const keys = { AccessKeyId: id, SecretAccessKey: secret, SessionToken: texts.get('security_token') };
    return read(JSON.stringify({ Version: 1, ...keys }), 'aws');
  }
  throw failed(
    `The Vault secret ${path} has no text ${member === null ? 'that is a credential by itself' : `in ${member}`}.`,
    `name one of its members after #: ${describe([...texts.keys()].join(', '), [...texts.values()])}`,
  );
}

function failed(sentence: string, hint: Hint): SidekeyError {
  return new SidekeyError('source_failed', sentence, { hint });
}
