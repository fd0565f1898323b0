/** Private keys that a person hands over, in the files that providers give them out in. */
import { open } from 'node:fs/promises';
import { SidekeyError } from '../../errors.ts';
import type { SigningKey } from '../../grants/credential.ts';
import { readSigningKey } from '../../oauth/signing-key.ts';
import { shellWord } from '../../shell-word.ts';
import { systemCode } from '../../system-error.ts';
import type { Context } from '../context.ts';
import type { ConnectOptions } from './flow.ts';

/** What a file says besides the key; null where it is the key alone. */
export interface ServiceAccount {
  readonly clientEmail: string;
  /** Where its assertions go. */
  readonly tokenUri: string;
}

/** A key, ready to be kept. */
export interface HandedKey {
  readonly key: SigningKey;
  /** Of a service account as Google hands it out. */
  readonly account: ServiceAccount | null;
}

const mostBytes = 65_536;

/**
 * Reads `--key`: PEM, a JWK, or the JSON of a service account; `-` is standard input.
 *
 * @throws SidekeyError `input_invalid` where none is named, the file cannot be read, or what it holds is no key
 */
export async function readKeyFile(
  { readInput, output }: Pick<Context, 'readInput' | 'output'>,
  { key: path, keyId, algorithm }: Pick<ConnectOptions, 'key' | 'keyId' | 'algorithm'>,
): Promise<HandedKey> {
  if (path === undefined) {
    throw new SidekeyError('input_invalid', 'The private key is missing.', {
      hint: 'name its file with --key FILE, or hand it over on standard input with --key -',
    });
  }
  const text = path === '-' ? await readInput() : await readWhole(path, output);
  const account = serviceAccountOf(text);
  if (account === null) return { key: readSigningKey(text, { keyId, algorithm }), account };
  const { privateKey, privateKeyId, ...rest } = account;
  return {
    key: readSigningKey(privateKey, { keyId: keyId ?? privateKeyId ?? undefined, algorithm }),
    account: rest,
  };
}

async function readWhole(path: string, output: Context['output']): Promise<string> {
  let file;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    throw unreadable(path, systemCode(cause));
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw unreadable(path, 'it is not a file');
    if (stat.size > mostBytes) throw unreadable(path, 'it is larger than 64 KiB');
    if (process.platform !== 'win32' && (stat.mode & 0o007) !== 0) {
      output.say(
        `Note: every user of this machine can read ${path}. Sidekey keeps the key sealed; the file is not needed any more.\n  → rm ${shellWord(path)}`,
      );
    }
    return await file.readFile('utf8');
  } catch (cause) {
    throw cause instanceof SidekeyError ? cause : unreadable(path, systemCode(cause));
  } finally {
    await file.close();
  }
}

function unreadable(path: string, why: string): SidekeyError {
  return new SidekeyError('input_invalid', `The file of the private key cannot be read (${why}).`, {
    hint: `check --key ${shellWord(path)}`,
  });
}

/** The JSON of a service account; null: it is something else. */
function serviceAccountOf(
  text: string,
): (ServiceAccount & { readonly privateKey: string; readonly privateKeyId: string | null }) | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof parsed !== 'object' || parsed === null || !('private_key' in parsed)) return null;
  const {
    client_email: clientEmail,
    private_key: privateKey,
    token_uri: tokenUri,
  } = parsed as Record<string, unknown>;
  if (typeof clientEmail !== 'string' || typeof privateKey !== 'string' || typeof tokenUri !== 'string') {
    throw new SidekeyError(
      'input_invalid',
      'The file of the service account lacks its client_email, private_key or token_uri.',
      { hint: 'download it again at the provider: a key of the type JSON' },
    );
  }
  const { private_key_id: id } = parsed as Record<string, unknown>;
  return { clientEmail, privateKey, tokenUri, privateKeyId: typeof id === 'string' ? id : null };
}
