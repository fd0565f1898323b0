import { Decrypter, Encrypter, generateHybridIdentity, generateX25519Identity } from 'age-encryption';
import { identityToRecipient } from 'age-encryption';
import { SidekeyError } from '../../lib/errors.ts';

/** The age file format (https://age-encryption.org/v1), so that `age -d` opens a backup. */

/** The secret that opens a file: a passphrase, or identities (`AGE-SECRET-KEY-1…`). */
export type AgeKey = { readonly passphrase: string } | { readonly identities: readonly string[] };

/** The receiver of a file: anyone with a passphrase, or with the identity of a recipient (`age1…`). */
export type AgeLock = { readonly passphrase: string } | { readonly recipients: readonly string[] };

interface Sealing {
  readonly stream: ReadableStream<Uint8Array>;
  /** Opens the file. For recipients, an identity that this process does not store. */
  readonly key: AgeKey;
}

/**
 * Encrypts a stream.
 * @throws SidekeyError `input_invalid` if a recipient is not valid
 */
export async function sealWithAge(plain: ReadableStream<Uint8Array>, lock: AgeLock): Promise<Sealing> {
  const encrypter = new Encrypter();
  if ('passphrase' in lock) {
    encrypter.setPassphrase(lock.passphrase);
    return { stream: await encrypter.encrypt(plain), key: lock };
  }
  const isHybrid = lock.recipients.some((recipient) => recipient.startsWith('age1pq1'));
  const identity = await (isHybrid ? generateHybridIdentity() : generateX25519Identity());
  for (const recipient of [...lock.recipients, await identityToRecipient(identity)]) {
    try {
      encrypter.addRecipient(recipient);
    } catch (cause) {
      throw new SidekeyError('input_invalid', 'A recipient is not valid.', {
        hint: 'name the public key that age-keygen prints: --recipient age1…',
        cause,
      });
    }
  }
  return { stream: await encrypter.encrypt(plain), key: { identities: [identity] } };
}

/**
 * Decrypts a file in chunks of 64 KiB, each of which is authentic. The iteration ends at the end of the file.
 * @param name of the file, for messages
 * @throws SidekeyError `key_mismatch` if the key does not open it; `record_tampered` if it was changed or
 * cut; `input_invalid` if an identity is not valid
 */
export async function* openWithAge(
  file: ReadableStream<Uint8Array>,
  key: AgeKey,
  name: string,
): AsyncGenerator<Uint8Array> {
  const decrypter = new Decrypter();
  if ('passphrase' in key) decrypter.addPassphrase(key.passphrase);
  else {
    try {
      for (const identity of key.identities) decrypter.addIdentity(identity);
    } catch (cause) {
      throw new SidekeyError('input_invalid', 'The identity file has a line that is no identity of age.', {
        hint: 'name the file that age-keygen wrote; one with a passphrase has to be decrypted first: age -d',
        cause,
      });
    }
  }
  try {
    yield* await decrypter.decrypt(file);
  } catch (cause) {
    if (cause instanceof Error && cause.message.startsWith('no identity matched')) {
      const what = 'passphrase' in key ? 'passphrase' : 'identity';
      throw new SidekeyError('key_mismatch', `${name} does not open with this ${what}.`, {
        hint: `give the ${what} that it was sealed for; a backup for a recipient opens with --identity`,
        cause,
      });
    }
    throw new SidekeyError('record_tampered', `${name} is no backup, or was changed or cut short.`, {
      hint: 'use another copy of the file, or an earlier backup; nothing was restored',
      cause,
    });
  }
}
