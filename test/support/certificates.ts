import { generateKeyPairSync } from 'node:crypto';
import { isIP } from 'node:net';
import forge from 'node-forge';

/**
 * Certificates for upstreams of tests. RSA, because node-forge signs nothing else. Sidekey's own
 * certificate code is not used, because a fault in it must not hide itself.
 */
export interface TestCertificate {
  /** PEM. */
  readonly key: string;
  readonly cert: string;
}

/** A `subjectAltName` of a given kind (RFC 5280 §4.2.1.6): 1 e-mail address, 2 DNS name, 6 URI. */
export interface AltName {
  readonly type: 1 | 2 | 6;
  readonly value: string;
}

interface CertificateOptions {
  /** Milliseconds since the epoch; default: valid now. */
  readonly notBefore?: number;
  readonly notAfter?: number;
  readonly commonName?: string;
}

export interface TestAuthority {
  /** PEM. */
  readonly cert: string;
  /**
   * Signs a certificate of a server or a client. The form of a text says whether it is a name, a URI or an
   * address.
   */
  issue(names: readonly (string | AltName)[], options?: CertificateOptions): TestCertificate;
  /** Creates an intermediate CA, signed by this one. */
  subordinate(name: string): TestAuthority;
}

const dayMs = 86_400_000;
/**
 * One key for all certificates: generating a key takes longer than everything else, and no secret is needed
 * here.
 */
const { privateKey, publicKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
});
const signingKey = forge.pki.privateKeyFromPem(privateKey);
const verifyingKey = forge.pki.publicKeyFromPem(publicKey);
let serial = 1;

/** Creates a CA. The name distinguishes it from others. */
export function makeTestAuthority(name: string, signedBy = name): TestAuthority {
  const issuer = [{ name: 'commonName', value: name }];
  const root = blank(issuer, [{ name: 'commonName', value: signedBy }], {
    notBefore: Date.now() - dayMs,
    notAfter: Date.now() + dayMs,
  });
  root.setExtensions([
    { name: 'basicConstraints', cA: true, critical: true },
    { name: 'keyUsage', keyCertSign: true, critical: true },
  ]);
  root.sign(signingKey, forge.md.sha256.create());
  return {
    cert: forge.pki.certificateToPem(root),
    subordinate: (below) => makeTestAuthority(below, name),
    issue(names, { notBefore, notAfter, commonName = 'upstream of a test' } = {}) {
      const leaf = blank([{ name: 'commonName', value: commonName }], issuer, {
        notBefore: notBefore ?? Date.now() - dayMs,
        notAfter: notAfter ?? Date.now() + dayMs,
      });
      const altNames = names.map((host) => {
        if (typeof host !== 'string') return host;
        if (host.includes('://')) return { type: 6, value: host };
        return isIP(host) === 0 ? { type: 2, value: host } : { type: 7, ip: host };
      });
      leaf.setExtensions([
        { name: 'basicConstraints', cA: false, critical: true },
        { name: 'extKeyUsage', serverAuth: true, clientAuth: true },
        { name: 'subjectAltName', altNames },
      ]);
      leaf.sign(signingKey, forge.md.sha256.create());
      return { key: privateKey, cert: forge.pki.certificateToPem(leaf) };
    },
  };
}

function blank(
  subject: forge.pki.CertificateField[],
  issuer: forge.pki.CertificateField[],
  { notBefore, notAfter }: { readonly notBefore: number; readonly notAfter: number },
): forge.pki.Certificate {
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = verifyingKey;
  certificate.serialNumber = `01${(serial++).toString(16).padStart(6, '0')}`;
  certificate.validity.notBefore = new Date(notBefore);
  certificate.validity.notAfter = new Date(notAfter);
  certificate.setSubject(subject);
  certificate.setIssuer(issuer);
  return certificate;
}
