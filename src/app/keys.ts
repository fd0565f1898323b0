import { dirname } from 'node:path';
import { z } from 'zod';
import type { Config } from '../config/config.ts';
import type { KeySourceConfig } from '../config/key.ts';
import { readSecret, type SecretReference } from '../config/secret-reference.ts';
import { storeName } from '../config/store-place.ts';
import { SidekeyError } from '../lib/errors.ts';
import { askSecret } from '../lib/prompt.ts';
import type { KeySource } from '../vault/open.ts';
import {
  type CallTransit,
  passphraseFormat,
  type ReadPassphrase,
  transitFormat,
} from '../vault/wrapped-key.ts';

/** The passphrase that was typed, so that a command that opens the store twice asks once. */
let typed: string | undefined;

/** Parts of a key source. */
interface KeySourceParts {
  readonly env: NodeJS.ProcessEnv;
  /** Reference to the next passphrase, for a rotation. */
  readonly nextPassphrase?: SecretReference | undefined;
  /** Seals a new key with the passphrase that the source has, and asks for no other one. */
  readonly keepsPassphrase?: boolean;
}

type KeyConfig = Pick<Config, 'key' | 'file' | 'store' | 'upstream' | 'limits'>;

/** Returns the key source of a config, with the functions that it needs. Reads nothing yet. */
export function keySourceOf(
  config: KeyConfig,
  { env, nextPassphrase, keepsPassphrase = false }: KeySourceParts,
): KeySource {
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
      const read = passphraseOf(key.passphrase, nextPassphrase, secret);
      const format = passphraseFormat((isNew) => read(isNew && !keepsPassphrase));
      return { source: 'passphrase', path: key.path, format };
    }
    case 'transit': {
      const call = transitOf(config, key, env, secret);
      return { source: 'transit', path: key.path, format: transitFormat(key.mount, key.name, call) };
    }
  }
}

type ReadReference = (reference: SecretReference, where: string) => Promise<string>;

function passphraseOf(
  reference: SecretReference | undefined,
  next: SecretReference | undefined,
  secret: ReadReference,
): ReadPassphrase {
  return async (isNew) => {
    const ask = askSecret();
    if (isNew && next !== undefined) return secret(next, '--new');
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
      throw new SidekeyError('input_invalid', 'The two passphrases differ.', {
        hint: 'run the command again',
      });
    }
    return (typed = chosen);
  };
}

type TransitConfig = Extract<KeySourceConfig, { source: 'transit' }>;

const callTimeoutMs = 10_000;

const loginShape = z.object({ auth: z.object({ client_token: z.string() }) });

/** Logs in at the service and calls it. The address guard is for requests of agents: this address comes from the config. */
function transitOf(
  { file, upstream, limits }: KeyConfig,
  { address, namespace, token: fixed, approle, kubernetes, ca }: TransitConfig,
  env: NodeJS.ProcessEnv,
  secret: ReadReference,
): CallTransit {
  return async (path, body) => {
    const { openUpstreamClient } = await import('./upstream.ts');
    const own = {
      ...upstream,
      ca: ca === undefined ? upstream.ca : [ca],
      privateAddresses: ['0.0.0.0/0', '::/0'],
    };
    const client = await openUpstreamClient({ file, upstream: own, limits }, { env, ownPorts: () => [] });
    const post = (to: string, json: object, token: string | null) =>
      postTo(client.fetch, new URL(`/v1/${to}`, address), json, { token, namespace });
    try {
      if (fixed !== undefined) return await post(path, body, await secret(fixed, 'key.token'));
      const method = approle === undefined ? 'kubernetes' : 'approle';
      // The schema requires one of the three.
      const proof =
        approle === undefined
          ? { ...kubernetes, jwt: await secret(kubernetes!.jwt, 'key.kubernetes.jwt') }
          : { ...approle, secret_id: await secret(approle.secret_id, 'key.approle.secret_id') };
      const answer = loginShape.safeParse(await post(`auth/${method}/login`, proof, null));
      const token = answer.data?.auth.client_token;
      if (token === undefined) throw refused(address, `its ${method} login gave no token`);
      return await post(path, body, token);
    } finally {
      await client.close();
    }
  };
}

async function postTo(
  fetchFrom: typeof fetch,
  url: URL,
  json: object,
  { token, namespace }: { readonly token: string | null; readonly namespace: string | undefined },
): Promise<unknown> {
  let response: Response;
  try {
    response = await fetchFrom(url, {
      method: 'POST',
      redirect: 'error',
      headers: {
        'content-type': 'application/json',
        'x-vault-request': 'true',
        ...(token === null ? {} : { 'x-vault-token': token }),
        ...(namespace === undefined ? {} : { 'x-vault-namespace': namespace }),
      },
      body: JSON.stringify(json),
      signal: AbortSignal.timeout(callTimeoutMs),
    });
  } catch (cause) {
    const why = cause instanceof SidekeyError ? cause.message.replace(/\.$/, '') : 'it does not answer';
    throw refused(url.origin, why, cause);
  }
  if (!response.ok) throw refused(url.origin, `it answered ${response.status} to ${url.pathname}`);
  return response.json();
}

function refused(address: string, why: string, cause?: unknown): SidekeyError {
  return new SidekeyError('key_invalid', `The transit service ${address} cannot be used: ${why}.`, {
    hint: 'check that it runs and is unsealed, and that the policy of the token allows update on encrypt and decrypt of the key (docs/keys.md)',
    cause,
  });
}
