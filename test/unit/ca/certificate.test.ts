import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  authorityExtensions,
  certificatePem,
  commonName,
  generalNameOf,
  keyIdentifier,
  leafExtensions,
  parsePermittedNames,
  signCertificate,
} from '../../../src/ca/certificate.ts';
import { type Asn1 } from 'node-forge/lib/asn1.js';
import { hasProgram, opensslText } from './ca-for-test.ts';

const noOpenssl = !hasProgram('openssl', 'version');
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

function selfSigned(extensions: readonly Asn1[], notBefore: number, notAfter: number): Buffer {
  const subject = commonName('Test');
  return signCertificate({
    issuer: {
      name: subject,
      keyIdentifier: keyIdentifier(publicKey),
      sign: (data) => sign('sha256', data, privateKey),
    },
    subject,
    notBefore,
    notAfter,
    publicKey,
    extensions,
  });
}

const from = Date.UTC(2026, 0, 2, 3, 4, 5);
const until = Date.UTC(2027, 0, 2, 3, 4, 5);

describe('a certificate', () => {
  it('contains subject, validity and key, and its signature verifies', () => {
    const certificate = new X509Certificate(selfSigned([], from, until));
    expect(certificate.subject).toBe('CN=Test');
    expect(certificate.issuer).toBe('CN=Test');
    expect(certificate.validFromDate.getTime()).toBe(from);
    expect(certificate.validToDate.getTime()).toBe(until);
    expect(certificate.verify(publicKey)).toBe(true);
    expect(certificate.checkPrivateKey(privateKey)).toBe(true);
  });

  it('has a unique positive serial number of 16 bytes', () => {
    const serials = Array.from(
      { length: 50 },
      () => new X509Certificate(selfSigned([], from, until)).serialNumber,
    );
    expect(new Set(serials).size).toBe(50);
    for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9A-F]{31}$/);
  });

  it.skipIf(noOpenssl)(
    'writes times as UTCTime through 2049 and as GeneralizedTime from 2050 on (openssl)',
    () => {
      const lastUtc = Date.UTC(2049, 11, 31, 23, 59, 59);
      const parsed = execFileSync('openssl', ['asn1parse', '-inform', 'DER'], {
        input: selfSigned([], lastUtc, lastUtc + 1_000),
        encoding: 'utf8',
      });
      expect(parsed).toMatch(/UTCTIME +:491231235959Z/);
      expect(parsed).toMatch(/GENERALIZEDTIME +:20500101000000Z/);
    },
  );

  it.skipIf(noOpenssl)('of a CA is constrained, with critical extensions (openssl)', () => {
    const permitted = parsePermittedNames(['acme.test', '10.1.2.0/24', 'fd00::/8']);
    const text = opensslText(certificatePem(selfSigned(authorityExtensions(permitted), from, until)));
    expect(text).toContain('Signature Algorithm: ecdsa-with-SHA256');
    expect(text).toContain('ASN1 OID: prime256v1');
    expect(text).toMatch(/Basic Constraints: critical\n +CA:TRUE, pathlen:0\n/);
    expect(text).toMatch(/Key Usage: critical\n +Certificate Sign\n/);
    expect(text).toMatch(/Extended Key Usage: \n +TLS Web Server Authentication\n/);
    expect(text).toMatch(
      /Name Constraints: critical\n +Permitted:\n +IP:10\.1\.2\.0\/255\.255\.255\.0\n +DNS:acme\.test\n +IP:FD00:/,
    );
    const identifier = keyIdentifier(publicKey).toString('hex').toUpperCase().match(/../g)?.join(':');
    expect(text.split(`${identifier}`)).toHaveLength(3);
  });

  it.skipIf(noOpenssl)('of a CA without permitted names has no name constraints (openssl)', () => {
    expect(opensslText(certificatePem(selfSigned(authorityExtensions([]), from, until)))).not.toContain(
      'Name Constraints',
    );
  });

  it.skipIf(noOpenssl)('of a leaf is valid for a TLS server, and not as a CA (openssl)', () => {
    const text = opensslText(
      certificatePem(selfSigned(leafExtensions(generalNameOf('api.acme.test')), from, until)),
    );
    expect(text).toMatch(/Basic Constraints: critical\n +CA:FALSE\n/);
    expect(text).toMatch(/Key Usage: critical\n +Digital Signature\n/);
    expect(text).toMatch(/Extended Key Usage: \n +TLS Web Server Authentication\n/);
    expect(text).toMatch(/Subject Alternative Name: \n +DNS:api\.acme\.test\n/);
  });

  it.each([
    ['api.acme.test', 'DNS:api.acme.test'],
    ['xn--bcher-kva.test', 'DNS:xn--bcher-kva.test'],
    ['192.0.2.7', 'IP Address:192.0.2.7'],
    ['[2001:db8::7]', 'IP Address:2001:DB8:0:0:0:0:0:7'],
    ['[::1]', 'IP Address:0:0:0:0:0:0:0:1'],
    ['[::]', 'IP Address:0:0:0:0:0:0:0:0'],
  ])('of %s has that alternative name', (host, expected) => {
    const certificate = new X509Certificate(selfSigned(leafExtensions(generalNameOf(host)), from, until));
    expect(certificate.subjectAltName).toBe(expected);
  });
});

describe('PEM', () => {
  it('equals that of node:crypto for the same certificate', () => {
    const der = selfSigned([], from, until);
    expect(certificatePem(der)).toBe(new X509Certificate(der).toString());
  });
});
