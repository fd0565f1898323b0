import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
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
