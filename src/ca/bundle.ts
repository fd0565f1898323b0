import { createHash, X509Certificate } from 'node:crypto';
import { getCACertificates } from 'node:tls';
import { certificatePem } from './certificate.ts';

/**
 * What clients are given to trust: the roots of this machine and our CA. Most settings that name a CA file
 * (`SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `javax.net.ssl.trustStore`) replace what the client trusts by default, so
 * that our CA alone would break every connection that does not go through the proxy, and every tunnel that does.
 */
export interface TrustedCertificate {
  readonly der: Buffer;
  /** SHA-256 in lower-case hex. */
  readonly fingerprint: string;
}

/** PEM texts of the roots that this machine trusts. */
export interface RootSources {
  /** The operating system's; empty in many containers. */
  readonly system: readonly string[];
  /** What stands in where the system has none: Node's own copy of Mozilla's list. */
  readonly fallback: readonly string[];
}

/** The roots of this machine, as Node finds them. */
export function machineRoots(): RootSources {
  return { system: getCACertificates('system'), fallback: getCACertificates('default') };
}

/**
 * Our CA first, then the roots, each once.
 * @throws Error where `caPem` is no certificate.
 */
export function trustedCertificates(
  caPem: string,
  roots: RootSources = machineRoots(),
): readonly [TrustedCertificate, ...TrustedCertificate[]] {
  const ours = trusted(new X509Certificate(caPem).raw);
  const othersOf = (pems: readonly string[]): TrustedCertificate[] => {
    const all = pems.flatMap(certificatesIn).map(trusted);
    return [...new Map(all.map((one) => [one.fingerprint, one])).values()].filter(
      ({ fingerprint }) => fingerprint !== ours.fingerprint,
    );
  };
  // Where SSL_CERT_FILE names our own ca.crt, the "system" has that one certificate and no root.
  const system = othersOf(roots.system);
  return [ours, ...(system.length > 0 ? system : othersOf(roots.fallback))];
}

/** The trust bundle as PEM, for OpenSSL and everything that reads files as it does. */
export function pemBundle(caPem: string, roots?: RootSources): string {
  return trustedCertificates(caPem, roots)
    .map(({ der }) => certificatePem(der))
    .join('');
}

function trusted(der: Buffer): TrustedCertificate {
  return { der, fingerprint: createHash('sha256').update(der).digest('hex') };
}

/** DER of the certificates in a PEM text, by their frames alone: a root that this OpenSSL cannot parse is still one that the machine trusts. */
export function certificatesIn(pem: string): Buffer[] {
  return [...pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g)].map(
    ([, body = '']) => Buffer.from(body, 'base64'),
  );
}
