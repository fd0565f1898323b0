import { openAuthority, type CertificateAuthority } from '../../ca/authority.ts';
import { authorityFiles, readCertificate, readKeyFile } from '../../ca/authority-files.ts';
import { SidekeyError } from '../../errors.ts';
import type { View } from '../../view.ts';

/**
 * The CA as it is, checked against its key: a certificate that somebody put in its place is not handed out. Null where
 * there is none yet; nothing is made.
 *
 * @throws as `openAuthority`
 */
export async function openExistingCa(view: View, now: () => number): Promise<CertificateAuthority | null> {
  const { directory, permittedNames } = view.config.ca;
  const files = authorityFiles(directory);
  const [certificate, key] = [await readCertificate(files), await readKeyFile(files)];
  if (certificate === null && key === null) return null;
  const vault = await view.vault();
  if (vault === null) {
    throw new SidekeyError(
      'ca_mismatch',
      `There is a CA in ${directory}, but no store that was made with its key.`,
      { hint: 'set "store" and "key" in the config file to those that the CA was made with' },
    );
  }
  return openAuthority({ directory, vault, permittedNames, now });
}

/**
 * The same, where there must be one.
 *
 * @throws SidekeyError `not_found`, and as `openAuthority`
 */
export async function openCa(view: View, now: () => number): Promise<CertificateAuthority> {
  const authority = await openExistingCa(view, now);
  if (authority !== null) return authority;
  throw new SidekeyError('not_found', `There is no CA in ${view.config.ca.directory} yet.`, {
    hint: 'sidekey start makes it',
  });
}
