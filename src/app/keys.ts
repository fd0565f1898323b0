import { dirname } from 'node:path';
import type { Config } from '../config/config.ts';
import { readSecret, type SecretReference } from '../config/secret-reference.ts';
import { storeName } from '../config/store-place.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { askSecret } from '../lib/prompt.ts';
import type { KeySource } from '../store/vault/open.ts';
import { passphraseFormat, type ReadPassphrase, transitFormat } from '../store/vault/wrapped-key.ts';

/** The typed passphrase: a command that opens the store twice prompts once. */
let typed: string | undefined;

interface KeySourceParts {
  readonly env: NodeJS.ProcessEnv;
  /** Seals a new key with the source's current passphrase, without a prompt for another. */
  readonly keepsPassphrase?: boolean;
}

type KeyConfig = Pick<Config, 'key' | 'file' | 'store' | 'upstream' | 'limits'>;

/** Returns the key source of a config, with its functions. Reads nothing yet. */
export function keySourceOf(config: KeyConfig, { env, keepsPassphrase = false }: KeySourceParts): KeySource {
  const { key } = config;
  const secret = (reference: SecretReference, where: string) =>
    readSecret(reference, { env, cwd: dirname(config.file), where });
  switch (key.source) {
    case 'file':
    case 'env':
    case 'node':
      return key;
    case 'command':
      return { source: 'command', run: () => secret({ kind: 'command', argv: key.command }, 'key.command') };
    case 'keyring':
      return {
        source: 'keyring',
        account: key.account ?? storeName(config.store),
        platform: process.platform,
        env,
      };
    case 'passphrase': {
      const read = passphraseOf(key.passphrase, secret);
      const format = passphraseFormat((isNew) => read(isNew && !keepsPassphrase));
      return { source: 'passphrase', path: key.path, format };
    }
    case 'transit': {
      const call = async (path: string, body: object) => {
        const { createVaultClient } = await import('./vault-client.ts');
        const parts = { config: () => config, env, now: Date.now, code: 'key_invalid' } as const;
        return (await createVaultClient(key.server, parts).request('POST', path, body)).answer;
      };
      return { source: 'transit', path: key.path, format: transitFormat(key.mount, key.name, call) };
    }
  }
}

type ReadReference = (reference: SecretReference, where: string) => Promise<string>;

function passphraseOf(reference: SecretReference | undefined, secret: ReadReference): ReadPassphrase {
  return async (isNew) => {
    const ask = askSecret();
    if (reference !== undefined) return secret(reference, 'key.passphrase');
    if (!isNew && typed !== undefined) return typed;
    if (ask === null) {
      throw new SidekeyError(
        'secret_missing',
        'The passphrase of the master key cannot be asked for: this process has no terminal.',
        {
          hint: 'start it on a terminal, or set key.passphrase to env:NAME, file:PATH or command:… in the config',
        },
      );
    }
    if (!isNew) return (typed = await ask('Passphrase of the master key'));
    const chosen = await ask('New passphrase of the master key');
    if ((await ask('The same again')) !== chosen) {
      throw inputInvalid('The two passphrases differ.', 'run the command again');
    }
    return (typed = chosen);
  };
}
