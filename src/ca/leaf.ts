import { generateKeyPairSync } from 'node:crypto';
import type { SecureContextOptions } from 'node:tls';
import { SidekeyError } from '../errors.ts';
import type { CertificateAuthority } from './authority.ts';
import { certificatePem, commonName, leafExtensions, signCertificate } from './certificate.ts';
import { generalNameOf } from './general-name.ts';
import { permits } from './name-constraints.ts';

/** A certificate for one host, with a key of its own. */
export interface Leaf {
  /** Without the CA's certificate: clients have that one, or do not trust it anyway (RFC 8446 §4.4.2). */
  readonly certificatePem: string;
  /** PKCS#8. Lives in memory alone, and no longer than the certificate. */
  readonly privateKeyPem: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** What `tls.createSecureContext` needs to serve it. */
  readonly secureContextOptions: SecureContextOptions;
}

const dayMs = 86_400_000;
/** From 2029 on browsers take no more than 47 days (CA/Browser Forum ballot SC-081v3). */
const lifetimeMs = 45 * dayMs;

/**
 * The subject of every leaf. Hosts are named in the alternative name alone: a common name ends at 64 characters,
 * and clients that read names there too would hold an IP address against the DNS constraints of the CA.
 */
const subject = commonName('Sidekey leaf');

/**
 * Makes a fresh P-256 key and a certificate for this host and no other: from a day ago (clients' clocks differ)
 * for 45 days, or until the CA ends. Costs about a fifth of a millisecond.
 * @param host Canonical (see `policy/host.ts`).
 * @param now Milliseconds since the epoch.
 * @throws SidekeyError `bad_request` where this is no canonical host; `domain_not_allowed` where the CA is not
 * permitted to sign for it; `clock_wrong` where the CA's life has not begun, `ca_mismatch` where it is over.
 */
export function issueLeaf(authority: CertificateAuthority, host: string, now: number): Leaf {
  const name = generalNameOf(host);
  if (!permits(authority.permittedNames, name)) {
    throw new SidekeyError('domain_not_allowed', `The CA of this proxy may not sign for ${host}.`, {
      hint: `Add ${host} to ca.permitted_names, and move ca.crt and ca.key away for a new CA, which clients have to trust.`,
    });
  }
  if (now < authority.notBefore) {
    throw new SidekeyError('clock_wrong', `This machine's clock stands before ${authority.name} begins.`, {
      hint: 'Set the clock.',
    });
  }
  if (now >= authority.notAfter) {
    throw new SidekeyError('ca_mismatch', `${authority.name} has ended.`, {
      hint: 'Move ca.crt and ca.key away and start again: this makes a new CA, which clients have to trust.',
    });
  }
  // Both ends belong to the life of a certificate (RFC 5280 §4.1.2.5), hence the second less.
  const notBefore = wholeSeconds(Math.max(now - dayMs, authority.notBefore));
  const notAfter = wholeSeconds(Math.min(notBefore + lifetimeMs - 1_000, authority.notAfter));
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const der = signCertificate({
    issuer: authority.issuer,
    subject,
    notBefore,
    notAfter,
    publicKey,
    extensions: leafExtensions(name),
  });
  const leaf = {
    certificatePem: certificatePem(der),
    privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    notBefore,
    notAfter,
  };
  return {
    ...leaf,
    secureContextOptions: { cert: leaf.certificatePem, key: leaf.privateKeyPem, minVersion: 'TLSv1.2' },
  };
}

function wholeSeconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1_000) * 1_000;
}
