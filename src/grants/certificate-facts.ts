import { X509Certificate } from 'node:crypto';
import { visible } from '../visible.ts';
import type { Credential } from './credential.ts';

/** What a certificate says of itself. Nothing of it is secret. */
export interface CertificateFacts {
  /** `CN=agents, O=Acme`, in visible characters, as the issuer. */
  readonly subject: string;
  readonly issuer: string;
  /** In hex. */
  readonly serial: string;
  /** SHA-256 of the certificate in hex. */
  readonly sha256: string;
  /** Milliseconds since the epoch. */
  readonly validFrom: number;
  readonly validUntil: number;
  /** How many certificates of issuers are sent behind it. */
  readonly issuers: number;
}

/** Null: the credential is no certificate. */
export function certificateFacts(credential: Credential): CertificateFacts | null {
  if (credential.type !== 'client_certificate') return null;
  // The first block, which is its own.
  const certificate = new X509Certificate(credential.certificate);
  return {
    subject: nameOf(certificate.subject),
    issuer: nameOf(certificate.issuer),
    serial: certificate.serialNumber,
    sha256: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    validFrom: certificate.validFromDate.getTime(),
    validUntil: certificate.validToDate.getTime(),
    issuers: credential.certificate.split('-----BEGIN CERTIFICATE-----').length - 2,
  };
}

/** A line each in Node, the general first. A certificate may have a name in its extensions alone. */
function nameOf(lines: string | undefined): string {
  const parts = (lines ?? '').split('\n').filter((line) => line !== '');
  return parts.length === 0 ? '(no name)' : visible(parts.toReversed().join(', '));
}
