import { stat } from 'node:fs/promises';
import { errorPhrase, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import type { Log } from '../lib/log.ts';
import { pause, type Timers } from '../lib/timers.ts';
import type { Vault } from '../store/vault/vault.ts';
import { authorityFiles, readCertificate, readKeyFile } from './authority-files.ts';
import { type CertificateAuthority, openAuthority } from './authority.ts';

/** Place of a CA, and the vault that seals its key. */
interface AuthorityPlace {
  readonly config: {
    readonly ca: { readonly directory: string; readonly permittedNames: readonly string[] };
  };
  /** Opens the vault; null: nothing was ever sealed. */
  readonly vault: () => Promise<Vault | null>;
}

/**
 * Opens the CA and verifies the certificate with its key, so that a replaced certificate is not exported.
 * Null if there is none; creates nothing.
 *
 * @throws as `openAuthority`
 */
export async function openExistingCa(
  place: AuthorityPlace,
  now: () => number,
): Promise<CertificateAuthority | null> {
  const { directory, permittedNames } = place.config.ca;
  const files = authorityFiles(directory);
  const [certificate, key] = [await readCertificate(files), await readKeyFile(files)];
  if (certificate === null && key === null) return null;
  const vault = await place.vault();
  if (vault === null) {
    throw new SidekeyError('ca_mismatch', `The CA in ${directory} cannot be used: its store is missing.`, {
      hint: `restore the store, or delete ${directory} to make a new CA`,
    });
  }
  return openAuthority({ directory, vault, permittedNames, now });
}

/** Opens the existing CA. @throws SidekeyError `not_found`; as `openAuthority` */
export async function openCa(place: AuthorityPlace, now: () => number): Promise<CertificateAuthority> {
  const authority = await openExistingCa(place, now);
  if (authority !== null) return authority;
  throw new SidekeyError('not_found', `There is no CA in ${place.config.ca.directory} yet.`, {
    hint: hintOf`${remedy('start')} creates it`,
  });
}

interface FollowedAuthority {
  readonly config: AuthorityPlace['config'];
  readonly vault: Vault;
  readonly now: () => number;
  readonly timers: Timers;
  readonly log: Log;
}

/** Milliseconds between two looks at the files. */
const everyMs = 1_000;

/**
 * Follows the files of the CA: clients trust `ca.crt`, so the proxy must sign with its key. If the files are
 * gone or cannot be used, the proxy keeps its CA, and opens them again until it succeeds. The result returns
 * the CA, and stops following.
 */
export async function followAuthority(
  opened: CertificateAuthority,
  { config, vault, now, timers, log }: FollowedAuthority,
): Promise<{ current: () => CertificateAuthority; close: () => void }> {
  const { certificate, key } = authorityFiles(config.ca.directory);
  const state = async () => (await Promise.all([certificate, key].map(fileState))).join();
  const closing = new AbortController();
  const { signal } = closing;
  let authority = opened;
  let seen = await state();
  let reported = '';
  async function follow(): Promise<void> {
    const found = await state();
    if (found === seen) return;
    try {
      const next = await openExistingCa({ config, vault: async () => vault }, now);
      if (next === null) throw new Error('the files are gone');
      seen = found;
      reported = '';
      if (signal.aborted || next.fingerprint === authority.fingerprint) return;
      authority = next;
      log.info({ name: next.name, fingerprint: next.fingerprint }, 'the CA was replaced');
    } catch (error) {
      const failure = `${found} ${errorPhrase(error)}`;
      if (signal.aborted || failure === reported) return;
      reported = failure;
      log.warn(
        { err: error, directory: config.ca.directory },
        'the proxy keeps its CA: its files cannot be used',
      );
    }
  }
  async function followUntilClosed(): Promise<void> {
    while (!signal.aborted) {
      await pause(timers, everyMs, signal);
      if (!signal.aborted) await follow();
    }
  }
  void followUntilClosed();
  return { current: () => authority, close: () => closing.abort() };
}

/** Returns a text that changes with the file and its permissions. */
function fileState(file: string): Promise<string> {
  return stat(file).then(
    ({ ino, mode, mtimeMs, size }) => `${ino} ${mode} ${mtimeMs} ${size}`,
    () => 'missing',
  );
}
