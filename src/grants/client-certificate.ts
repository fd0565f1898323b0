import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { inputInvalid } from '../lib/errors.ts';
import { visible } from '../lib/text.ts';
import type { ClientCertificateCredential, Credential } from '../domain/credential.ts';
import type { Json } from '../lib/json.ts';

/** A client certificate and its key, as people hand them over. Messages about them never contain a part of the key. */

/** Texts with PEM blocks (RFC 7468) in them; the same text may be both. A value that is not text has none. */
interface CertificateParts {
  readonly certificate: Json | undefined;
  readonly privateKey: Json | undefined;
  /** The passphrase of the key; undefined: the key has none. */
  readonly passphrase?: Json | undefined;
}

/** Returns whether a text is PEM, with words before it or not, as `openssl pkcs12` writes it; JSON is none. */
export function isPem(text: string): boolean {
  return !/^\uFEFF?\s*["[{]/.test(text) && /^-----BEGIN [A-Z0-9 ]+-----/m.test(text);
}

/**
 * Reads a certificate with its chain, and the key that belongs to it. The chain is put in order (RFC 8446 §4.4.2), and
 * other certificates are left out.
 *
 * @param now milliseconds since the epoch
 * @throws SidekeyError `input_invalid`: they are not there, do not belong together, or are good for nothing
 */
export function readClientCertificate(parts: CertificateParts, now: number): ClientCertificateCredential {
  const certificates = blocksOf(parts.certificate, (label) => label === 'CERTIFICATE').map(certificateIn);
  if (certificates.length === 0) {
    throw inputInvalid('There is no certificate in the input.', 'a BEGIN CERTIFICATE block is expected');
  }
  const [written, ...more] = blocksOf(parts.privateKey, (label) => label.endsWith('PRIVATE KEY'));
  if (written === undefined)
    throw inputInvalid('There is no private key in the input.', 'a BEGIN … PRIVATE KEY block is expected');
  if (more.length > 0)
    throw inputInvalid('There is more than one private key in the input.', 'leave one of them');
  const key = keyIn(written, parts.passphrase);
  const own = certificates.find((certificate) => certificate.checkPrivateKey(key));
  if (own === undefined) {
    throw inputInvalid(
      'The private key belongs to no certificate of the input.',
      'openssl x509 -in client.crt -noout -pubkey and openssl pkey -in client.key -pubout print the same for a pair',
    );
  }
  assertGood(own, now);
  const chain = chainOf(own, certificates);
  const credential = {
    type: 'client_certificate',
    certificate: chain.map((certificate) => certificate.toString()).join(''),
    privateKey: key.export({ type: 'pkcs8', format: 'pem' }),
    expiresAt: own.validToDate.getTime(),
  } as const;
  assertTaken(credential);
  return credential;
}

const block = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g;

/** Other kinds of blocks are passed over: tools write parameters and attributes beside them. */
function blocksOf(text: Json | undefined, isWanted: (label: string) => boolean): readonly string[] {
  return Array.from(typeof text === 'string' ? text.matchAll(block) : [])
    .filter(([, label = '']) => isWanted(label))
    .map(([whole]) => `${whole}\n`);
}

function certificateIn(pem: string, index: number): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw inputInvalid(
      `Certificate ${index + 1} of the input cannot be read.`,
      'it is damaged; export it again',
    );
  }
}

function keyIn(pem: string, passphrase: Json | undefined): KeyObject {
  if (passphrase !== undefined && typeof passphrase !== 'string')
    throw inputInvalid('"passphrase" must be a string.', 'leave it out where the key has none');
  try {
    return createPrivateKey({ key: pem, ...(passphrase === undefined ? {} : { passphrase }) });
  } catch (error) {
    // Its own words are left out, and the cause with them: they are about a key.
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    const isLocked = /PASSPHRASE|BAD_DECRYPT|INTERRUPTED_OR_CANCELLED/.test(code);
    if (!isLocked)
      throw inputInvalid('The private key cannot be read.', 'PKCS #8, PKCS #1 or SEC 1 is expected');
    if (passphrase !== undefined)
      throw inputInvalid('The passphrase does not open the private key.', 'see that "passphrase" is right');
    throw inputInvalid(
      'The private key is encrypted.',
      'have openssl ask for the passphrase: { cat client.crt; openssl pkey -in client.key; } | sidekey grant import NAME --provider PROVIDER',
    );
  }
}

/** RFC 5280 §4.2.1.12: TLS client authentication, and any use. */
const clientUses: ReadonlySet<string> = new Set(['1.3.6.1.5.5.7.3.2', '2.5.29.37.0']);

function assertGood(own: X509Certificate, now: number): void {
  const [from, until] = [own.validFromDate, own.validToDate];
  if (now >= until.getTime()) {
    throw inputInvalid(`The certificate has expired: it ended at ${until.toISOString()}.`, 'get a new one');
  }
  if (now < from.getTime()) {
    throw inputInvalid(
      `The certificate is not valid yet: it begins at ${from.toISOString()}.`,
      'add it then; until then the one before it is good',
    );
  }
  // Extended key usage; Node has it under this name. Absent: any use.
  const uses = own.keyUsage as readonly string[] | undefined;
  if (uses !== undefined && !uses.some((use) => clientUses.has(use))) {
    throw inputInvalid(
      'The certificate is not for clients: its extended key usage does not have clientAuth.',
      'ask its issuer for a client certificate',
    );
  }
}

/** The certificate, its issuer, the issuer's issuer … A root that signed itself is known to who trusts it, and left out. */
function chainOf(own: X509Certificate, all: readonly X509Certificate[]): readonly X509Certificate[] {
  const chain = [own];
  for (;;) {
    const last = chain.at(-1)!;
    const issuer = all.find(
      (it) =>
        !chain.some((known) => known.raw.equals(it.raw)) && last.checkIssued(it) && last.verify(it.publicKey),
    );
    if (issuer === undefined || issuer.checkIssued(issuer)) return chain;
    chain.push(issuer);
  }
}

/** Refuses now what OpenSSL would refuse in a handshake, such as a key that is too short. */
function assertTaken({ certificate, privateKey }: ClientCertificateCredential): void {
  try {
    // Without roots, which take long to read and say nothing about it.
    createSecureContext({ cert: certificate, key: privateKey, ca: [], minVersion: 'TLSv1.2' });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
    throw inputInvalid(
      `The certificate and its key cannot be used for TLS${code}.`,
      'get new ones, of today’s sizes',
    );
  }
}

interface CertificateFacts {
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
  /** The number of issuers' certificates that are sent with it. */
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
