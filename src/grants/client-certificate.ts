import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { inputInvalid } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { visible } from '../lib/text.ts';
import type { ClientCertificateCredential, Credential } from '../domain/credential.ts';
import type { Json } from '../lib/json.ts';

/** A client certificate with its key, as supplied by people. Messages never contain a part of the key. */

/** Texts with PEM blocks (RFC 7468) in them; the same text may be both. A value that is not text has none. */
interface CertificateParts {
  readonly certificate: Json | undefined;
  readonly privateKey: Json | undefined;
  /** Passphrase of the key; undefined: the key is not encrypted. */
  readonly passphrase?: Json | undefined;
}

/** Reports whether a text is PEM, also after other text as in `openssl pkcs12` output. JSON is not. */
export function isPem(text: string): boolean {
  return !/^\uFEFF?\s*["[{]/.test(text) && /^-----BEGIN [A-Z0-9 ]+-----/m.test(text);
}

/**
 * Parses a certificate with its chain and its key. Sorts the chain (RFC 8446 §4.4.2) and drops other
 * certificates.
 *
 * @param now milliseconds since the epoch
 * @throws SidekeyError `input_invalid`: missing, not a pair, or unusable
 */
export function readClientCertificate(parts: CertificateParts, now: number): ClientCertificateCredential {
  const certificates = blocksOf(parts.certificate, (label) => label === 'CERTIFICATE').map(certificateIn);
  if (certificates.length === 0)
    throw inputInvalid('There is no certificate in the input.', 'a BEGIN CERTIFICATE block is expected');
  const [written, ...more] = blocksOf(parts.privateKey, (label) => label.endsWith('PRIVATE KEY'));
  if (written === undefined)
    throw inputInvalid('There is no private key in the input.', 'a BEGIN … PRIVATE KEY block is expected');
  if (more.length > 0)
    throw inputInvalid('There is more than one private key in the input.', 'leave one of them');
  const key = keyIn(written, parts.passphrase);
  const leaf = certificates.find((certificate) => certificate.checkPrivateKey(key));
  if (leaf === undefined) {
    throw inputInvalid(
      'The private key belongs to no certificate of the input.',
      'openssl x509 -in client.crt -noout -pubkey and openssl pkey -in client.key -pubout print the same for a pair',
    );
  }
  assertGood(leaf, now);
  const chain = chainOf(leaf, certificates);
  const credential = {
    type: 'client_certificate',
    certificate: chain.map((certificate) => certificate.toString()).join(''),
    privateKey: key.export({ type: 'pkcs8', format: 'pem' }),
    expiresAt: leaf.validToDate.getTime(),
  } as const;
  assertTaken(credential);
  return credential;
}

const block = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g;

/** Skips other kinds of blocks: tools add parameters and attributes. */
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
    // The message and cause are about a key, so both are dropped.
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    const isLocked = /PASSPHRASE|BAD_DECRYPT|INTERRUPTED_OR_CANCELLED/.test(code);
    if (!isLocked)
      throw inputInvalid('The private key cannot be read.', 'PKCS #8, PKCS #1 or SEC 1 is expected');
    if (passphrase !== undefined)
      throw inputInvalid('The passphrase does not open the private key.', 'see that "passphrase" is right');
    throw inputInvalid(
      'The private key is encrypted.',
      hintOf`have openssl ask for the passphrase: { cat client.crt; openssl pkey -in client.key; } | ${remedy('grant.import', { name: null, provider: null })}`,
    );
  }
}

/** RFC 5280 §4.2.1.12: TLS client authentication, any use. */
const clientUses: ReadonlySet<string> = new Set(['1.3.6.1.5.5.7.3.2', '2.5.29.37.0']);

function assertGood(own: X509Certificate, now: number): void {
  const [from, until] = [own.validFromDate, own.validToDate];
  if (now >= until.getTime())
    throw inputInvalid(`The certificate has expired: it ended at ${until.toISOString()}.`, 'get a new one');
  if (now < from.getTime()) {
    throw inputInvalid(
      `The certificate is not valid yet: it begins at ${from.toISOString()}.`,
      'add it then; until then the one before it is good',
    );
  }
  // Node's name for extended key usage. Absent: any use.
  const uses = own.keyUsage as readonly string[] | undefined;
  if (uses !== undefined && !uses.some((use) => clientUses.has(use))) {
    throw inputInvalid(
      'The certificate is not for clients: its extended key usage does not have clientAuth.',
      'ask its issuer for a client certificate',
    );
  }
}

/** Returns the certificate, its issuer and so on, without a self-signed root: verifiers have it. */
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

/** Refuses a pair that OpenSSL would refuse in a handshake, such as one with a short key. */
function assertTaken({ certificate, privateKey }: ClientCertificateCredential): void {
  try {
    // Roots are left out: they are slow to load and irrelevant here.
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
  /** Subject like `CN=agents, O=Acme`, in visible characters. `issuer` has this form, too. */
  readonly subject: string;
  readonly issuer: string;
  /** Serial number in hex. */
  readonly serial: string;
  /** SHA-256 of the certificate in hex. */
  readonly sha256: string;
  /** Milliseconds since the epoch. */
  readonly validFrom: number;
  readonly validUntil: number;
  /** Number of issuer certificates sent with the certificate. */
  readonly issuers: number;
}

/** Returns null if the credential is not a certificate. */
export function certificateFacts(credential: Credential): CertificateFacts | null {
  if (credential.type !== 'client_certificate') return null;
  // Node reads the first block: the certificate itself.
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

/** Formats Node's lines, the most general first. Some certificates have names only in extensions. */
function nameOf(lines: string | undefined): string {
  const parts = (lines ?? '').split('\n').filter((line) => line !== '');
  return parts.length === 0 ? '(no name)' : visible(parts.toReversed().join(', '));
}
