import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  createSecureContext,
  getCACertificates,
  type SecureContext,
  type SecureContextOptions,
} from 'node:tls';
import { SidekeyError, systemCode } from '../lib/errors.ts';
import { createPatternMap, type DomainPattern } from '../policy/domain-map.ts';
import type { ClientIdentity, Peer } from '../policy/peer.ts';

/** A client certificate for the authorities that match a pattern (`upstream.client_certificates`). */
export interface ClientCertificate {
  readonly pattern: DomainPattern;
  /** Its place in the config, for messages. */
  readonly origin: string;
  readonly material: ClientMaterial;
}

/** A chain and its key in PEM, or both in PKCS #12. */
type ClientMaterial = { readonly passphrase?: string | undefined } & (
  { readonly cert: Buffer; readonly key: Buffer } | { readonly pfx: Buffer }
);

/**
 * Returns the TLS context for a peer. Its trust anchors are the roots of the system and of Node and the PEM files of
 * `upstream.ca`; verification cannot be turned off. Its client certificate is that of the grant, else that of the
 * authority's pattern, else none.
 *
 * Reading the store of the system takes tens of milliseconds, so each context is made at its first use.
 *
 * @throws SidekeyError `config_invalid` at once, if a file cannot be read or has no certificate, or a client certificate
 * cannot be used
 */
export function createTrust(
  files: readonly string[],
  certificates: readonly ClientCertificate[] = [],
): (peer: Peer) => SecureContext {
  const extra = files.map(readAnchors);
  certificates.forEach(assertUsable);
  const byPattern = createPatternMap(certificates);
  const ofPatterns = new Map<ClientCertificate | null, SecureContext>();
  const ofGrants = new WeakMap<ClientIdentity, SecureContext>();
  const contextWith = (material: SecureContextOptions = {}) =>
    createSecureContext({
      ...material,
      ca: [...new Set([...getCACertificates('default'), ...getCACertificates('system'), ...extra])],
      minVersion: 'TLSv1.2',
    });
  return (peer) => {
    if (peer.identity !== undefined) {
      let context = ofGrants.get(peer.identity);
      if (context === undefined)
        ofGrants.set(peer.identity, (context = contextWith(peer.identity.material())));
      return context;
    }
    const certificate = byPattern.match(peer);
    let context = ofPatterns.get(certificate);
    if (context === undefined) ofPatterns.set(certificate, (context = contextWith(certificate?.material)));
    return context;
  };
}

const pemHeader = '-----BEGIN CERTIFICATE-----';

function readAnchors(file: string): string {
  const hint = 'upstream.ca takes paths of PEM files with CERTIFICATE blocks';
  try {
    const [, ...blocks] = readFileSync(file, 'utf8').split(pemHeader);
    if (blocks.length === 0) {
      throw new SidekeyError('config_invalid', `upstream.ca: ${file} holds no certificate.`, { hint });
    }
    // OpenSSL reads up to the first block that it cannot parse, and silently ignores the rest.
    return blocks.map((block) => new X509Certificate(`${pemHeader}${block}`).toString()).join('');
  } catch (cause) {
    if (cause instanceof SidekeyError) throw cause;
    const sentence = `upstream.ca: ${file} cannot be read as certificates.`;
    throw new SidekeyError('config_invalid', sentence, { hint, cause });
  }
}

/** @throws SidekeyError `config_invalid` if the parts cannot be opened or do not belong together */
function assertUsable({ origin, material }: ClientCertificate): void {
  const problem = 'key' in material ? problemOfPem(material) : problemOfPfx(material);
  if (problem === null) return;
  throw new SidekeyError('config_invalid', `${origin}: ${problem.what}.`, {
    hint: 'give a certificate with its chain, the key that belongs to it, and a passphrase where the key has one',
    cause: problem.cause,
  });
}

type Problem = { readonly what: string; readonly cause?: unknown } | null;

function problemOfPem({ cert, key, passphrase }: Extract<ClientMaterial, { key: Buffer }>): Problem {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch (cause) {
    return { what: 'the certificate cannot be read as PEM', cause };
  }
  try {
    const privateKey = createPrivateKey({ key, ...(passphrase === undefined ? {} : { passphrase }) });
    // OpenSSL silently accepts a key of another kind than that of the certificate.
    return certificate.checkPrivateKey(privateKey)
      ? null
      : { what: 'the key is not that of the certificate' };
  } catch (cause) {
    const isLocked = /PASSPHRASE|BAD_DECRYPT|INTERRUPTED_OR_CANCELLED/.test(systemCode(cause));
    const what = isLocked ? 'the passphrase of the key is missing or wrong' : 'the key cannot be read as PEM';
    return { what, cause };
  }
}

function problemOfPfx(material: Extract<ClientMaterial, { pfx: Buffer }>): Problem {
  try {
    // Without roots, which take long to read and do not matter here.
    createSecureContext({ ...material, ca: [] });
    return null;
  } catch (cause) {
    if (cause instanceof Error && /mac verify/i.test(cause.message))
      return { what: 'the passphrase of the PKCS #12 file is missing or wrong', cause };
    return { what: 'the file cannot be used as a certificate with its key', cause };
  }
}
