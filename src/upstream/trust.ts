import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls';
import { SidekeyError } from '../errors.ts';
import type { Authority } from '../policy/authority.ts';
import { createPatternMap } from '../policy/domain-map.ts';
import { assertUsable, type ClientCertificate } from './client-certificates.ts';

/**
 * What upstream certificates are verified against: the system's and Node's own roots, and the PEM files of
 * `upstream.ca`. There is no way to verify against nothing. And what an authority gets to see of us: the certificate of
 * its pattern, or none.
 *
 * Reading the system's store takes tens of milliseconds, so each context is made at its first use.
 *
 * @throws SidekeyError `config_invalid` at once, where a file cannot be read or holds no certificate, or where a client
 * certificate cannot be used
 */
export function createTrust(
  files: readonly string[],
  certificates: readonly ClientCertificate[] = [],
): (authority: Authority) => SecureContext {
  const extra = files.map(readAnchors);
  certificates.forEach(assertUsable);
  const identities = createPatternMap(certificates);
  const contexts = new Map<ClientCertificate | null, SecureContext>();
  return (authority) => {
    const identity = identities.match(authority);
    let context = contexts.get(identity);
    if (context === undefined) {
      context = createSecureContext({
        ...identity?.material,
        ca: [...new Set([...getCACertificates('default'), ...getCACertificates('system'), ...extra])],
        minVersion: 'TLSv1.2',
      });
      contexts.set(identity, context);
    }
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
