import { stat } from 'node:fs/promises';
import { authorityFiles } from '../ca/authority-files.ts';
import type { CertificateAuthority } from '../ca/authority.ts';
import { openExistingCa } from '../ca/existing-authority.ts';
import type { Config } from '../config/config.ts';
import type { Log } from '../lib/log.ts';
import type { Vault } from '../store/vault/vault.ts';

interface FollowedAuthority {
  readonly config: Pick<Config, 'ca'>;
  readonly vault: Vault;
  readonly now: () => number;
  readonly log: Log;
}

/** Milliseconds between two looks at the files. */
const everyMs = 1_000;

/**
 * Follows the files of the CA: clients trust `ca.crt`, so the proxy must sign with its key. If the files are
 * gone or cannot be used, the proxy keeps its CA. The result returns the CA, and stops following.
 */
export async function followAuthority(
  opened: CertificateAuthority,
  { config, vault, now, log }: FollowedAuthority,
): Promise<{ current: () => CertificateAuthority; close: () => void }> {
  const { certificate, key } = authorityFiles(config.ca.directory);
  const state = async () => (await Promise.all([certificate, key].map(fileState))).join();
  let authority = opened;
  let seen = await state();
  async function follow(): Promise<void> {
    const found = await state();
    if (found === seen) return;
    seen = found;
    try {
      const next = await openExistingCa({ config, vault: async () => vault }, now);
      if (next === null) throw new Error('the files are gone');
      if (next.fingerprint === authority.fingerprint) return;
      authority = next;
      log.info({ name: next.name, fingerprint: next.fingerprint }, 'the CA was replaced');
    } catch (error) {
      log.warn(
        { err: error, directory: config.ca.directory },
        'the proxy keeps its CA: its files cannot be used',
      );
    }
  }
  const timer = setInterval(() => void follow(), everyMs).unref();
  return { current: () => authority, close: () => clearInterval(timer) };
}

/** Returns a text that changes with the file. */
function fileState(file: string): Promise<string> {
  return stat(file).then(
    ({ ino, mtimeMs, size }) => `${ino} ${mtimeMs} ${size}`,
    () => 'missing',
  );
}
