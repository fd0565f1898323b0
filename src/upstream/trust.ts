import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  createSecureContext,
  getCACertificates,
  type SecureContext,
  type SecureContextOptions,
} from 'node:tls';
import { SidekeyError } from '../errors.ts';
import { createPatternMap } from '../policy/domain-map.ts';
import type { ClientIdentity, Peer } from '../policy/peer.ts';
import { assertUsable, type ClientCertificate } from './client-certificates.ts';

/**
 * What upstream certificates are verified against: the system's and Node's own roots, and the PEM files of
 * `upstream.ca`. There is no way to verify against nothing. And what a peer gets to see of us: the certificate of the grant
 * where one says who we are, else that of the authority's pattern, or none.
 *
 * Reading the system's store takes tens of milliseconds, so each context is made at its first use.
 *
 * @throws SidekeyError `config_invalid` at once, where a file cannot be read or holds no certificate, or where a client
 * certificate cannot be used
 */
export function createTrust(
  files: readonly string[],
  certificates: readonly ClientCertificate[] = [],
): (peer: Peer) => SecureContext {
  const extra = files.map(readAnchors);
  certificates.forEach(assertUsable);
  const byPattern = createPatternMap(certificates);
  const contexts = new Map<ClientCertificate | null, SecureContext>();
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
    let context = contexts.get(certificate);
    if (context === undefined) contexts.set(certificate, (context = contextWith(certificate?.material)));
    return context;
  };
}

const beginning = '-----BEGIN CERTIFICATE-----';

function readAnchors(file: string): string {
  const hint = 'upstream.ca takes paths of PEM files with CERTIFICATE blocks';
  try {
    const pem = readFileSync(file, 'utf8');
    const [, ...blocks] = pem.split(beginning);
    if (blocks.length === 0) {
      throw new SidekeyError('config_invalid', `upstream.ca: ${file} holds no certificate.`, { hint });
    }
    // OpenSSL reads up to the first block that it cannot, and keeps silent about the rest.
    return blocks.map((block) => new X509Certificate(`${beginning}${block}`).toString()).join('');
  } catch (cause) {
    if (cause instanceof SidekeyError) throw cause;
    throw new SidekeyError('config_invalid', `upstream.ca: ${file} cannot be read as certificates.`, {
      hint,
      cause,
    });
  }
}
