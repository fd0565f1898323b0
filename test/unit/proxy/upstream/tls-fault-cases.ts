import type { Socket } from 'node:net';
import type { TlsOptions } from 'node:tls';
import { makeTestAuthority, type TestCertificate } from '../../../support/certificates.ts';

/** Servers with one fault of TLS each, and the expected texts of the failure. */

const day = 86_400_000;
const company = makeTestAuthority('Company CA');
const below = company.subordinate('Company Intermediate');
const stranger = makeTestAuthority('Stranger');

export const companyCa = company.cert;

export interface TlsFaultCase {
  readonly fault: string;
  /** A TLS server, or one that answers the first bytes itself. */
  readonly server: TlsOptions | ((socket: Socket) => void);
  /** PEM of what is trusted; default: the company's CA. */
  readonly ca?: string;
  readonly caKey?: string;
  readonly says: RegExp;
  readonly hint: RegExp;
  /** Text that the hint must not have. Default: `upstream.ca`. */
  readonly never?: RegExp;
}

const named = company.issue(['api.example']);
const withChain = (leaf: TestCertificate, ...chain: readonly string[]): TestCertificate => ({
  ...leaf,
  cert: [leaf.cert, ...chain].join('\n'),
});
const once = (answer: (socket: Socket) => void) => (socket: Socket) =>
  void socket.on('error', () => {}).once('data', () => answer(socket));
/** A fatal alert (RFC 8446 §6) to the client's first message. */
const alert = (number: number) => once((socket) => socket.end(Buffer.from([21, 3, 3, 0, 2, 2, number])));
/** A ServerHello of TLS 1.2 with no extension, so without that of RFC 5746. */
const oldHello = once((socket) => {
  const hello = Buffer.concat([Buffer.from([3, 3]), Buffer.alloc(32, 7), Buffer.from([0, 0xc0, 0x2f, 0])]);
  socket.write(Buffer.concat([Buffer.from([22, 3, 3, 0, hello.length + 4, 2, 0, 0, hello.length]), hello]));
});
const clientCertificates = /upstream\.client_certificates/;
const nothing = /(?!)/;

export const tlsFaultCases: readonly TlsFaultCase[] = [
  {
    fault: 'the server leaves out its intermediate certificate',
    server: below.issue(['api.example']),
    says: /sent one certificate, and no issuer of that is trusted \(UNABLE_TO_VERIFY_LEAF_SIGNATURE\)/,
    hint: /lacks the intermediate certificate: tell its operator/,
    never: /no certificate in upstream\.ca/,
  },
  {
    fault: 'an unknown CA issued the only certificate, and upstream.ca has another CA',
    server: stranger.issue(['api.example']),
    caKey: 'upstream.ca',
    says: /UNABLE_TO_VERIFY_LEAF_SIGNATURE/,
    hint: /^no certificate in upstream\.ca is of its issuer: /,
    never: nothing,
  },
  {
    fault: 'an unknown CA issued a chain without its root',
    server: withChain(below.issue(['api.example']), below.cert),
    ca: stranger.cert,
    says: /the root of its certificate is not trusted \(UNABLE_TO_GET_ISSUER_CERT_LOCALLY\)/,
    hint: /^if a company’s or a private CA issued it, add the root certificate/,
    never: /intermediate/,
  },
  {
    fault: 'an unknown CA issued a chain with its root',
    server: withChain(below.issue(['api.example']), below.cert, company.cert),
    ca: stranger.cert,
    caKey: 'upstream.ca',
    says: /SELF_SIGNED_CERT_IN_CHAIN/,
    hint: /^no certificate in upstream\.ca is of its issuer: if .* add the root certificate/,
    never: nothing,
  },
  {
    fault: 'the certificate is self-signed',
    server: makeTestAuthority('itself').issue(['api.example'], { commonName: 'itself' }),
    says: /self-signed \(DEPTH_ZERO_SELF_SIGNED_CERT\)/,
    hint: /add its own certificate to upstream\.ca/,
    never: /CA issued/,
  },
  {
    fault: 'the certificate is that of a CA',
    server: { key: named.key, cert: stranger.cert },
    says: /not for this use \(INVALID_PURPOSE\)/,
    hint: /a certificate for servers/,
  },
  {
    fault: 'upstream.ca has the intermediate certificate without its root',
    server: below.issue(['api.example']),
    ca: below.cert,
    caKey: 'upstream.ca',
    says: /UNABLE_TO_GET_ISSUER_CERT\)/,
    hint: /add the root certificate to upstream\.ca too/,
    never: /no certificate in upstream\.ca/,
  },
  {
    fault: 'the certificate is for other hosts',
    server: company.issue(['other.example', '*.more.example', '127.0.0.1', 'third.example']),
    says: /its certificate is for other\.example, \*\.more\.example, 127\.0\.0\.1, and 1 more \(ERR_TLS_CERT_ALTNAME_INVALID\)/,
    hint: /^use a name that the certificate has; if api\.example is right/,
  },
  {
    fault: 'the certificate names no host',
    server: company.issue([{ type: 1, value: 'someone@example.com' }]),
    says: /its certificate is for no host/,
    hint: /check its address/,
  },
  {
    fault: 'the certificate has expired',
    server: company.issue(['api.example'], { notBefore: Date.now() - 2 * day, notAfter: Date.now() - day }),
    says: /has expired \(CERT_HAS_EXPIRED\)/,
    hint: /clock of this machine.*renew/,
  },
  {
    fault: 'the certificate is not valid yet',
    server: company.issue(['api.example'], { notBefore: Date.now() + day, notAfter: Date.now() + 2 * day }),
    says: /not valid yet \(CERT_NOT_YET_VALID\)/,
    hint: /^check the clock/,
  },
  {
    fault: 'the server knows only TLS 1.1',
    server: { ...named, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' },
    says: /no TLS 1\.2 or later/,
    hint: /enable TLS 1\.2/,
  },
  {
    fault: 'the server has no secure renegotiation',
    server: oldHello,
    says: /insecure renegotiation.*UNSAFE_LEGACY_RENEGOTIATION_DISABLED/,
    hint: /operator has to update its TLS/,
  },
  {
    fault: 'the server speaks plain http',
    server: once((socket) => socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')),
    says: /does not speak TLS at this port/,
    hint: /http:\/\//,
  },
  {
    fault: 'the server speaks SSH',
    server: (socket) => void socket.end('SSH-2.0-OpenSSH_9.9\r\n'),
    says: /does not speak TLS at this port/,
    hint: /^check the port/,
  },
  {
    fault: 'the server closes at the first message',
    server: once((socket) => socket.end()),
    says: /closed the connection/,
    hint: /firewall.*upstream\.proxy/,
  },
  {
    fault: 'the server resets at the first message',
    server: once((socket) => socket.resetAndDestroy()),
    says: /closed the connection \(ECONNRESET\)/,
    hint: /upstream\.proxy/,
  },
  {
    fault: 'the server wants a client certificate (TLS 1.2)',
    server: { ...named, requestCert: true, ca: company.cert, maxVersion: 'TLSv1.2' },
    says: /does not say why/,
    hint: clientCertificates,
  },
  {
    fault: 'the server shares no protocol',
    server: { ...named, ALPNProtocols: ['imap'] },
    says: /speaks no HTTP at this port/,
    hint: /check the port/,
  },
  ...(
    [
      [40, 'HANDSHAKE_FAILURE'],
      [71, 'INSUFFICIENT_SECURITY'],
      [80, 'INTERNAL_ERROR'],
      [47, 'ILLEGAL'],
    ] as const
  ).map(([number, code]) => ({
    fault: `the server sends the alert ${code}`,
    server: alert(number),
    says: new RegExp(`does not say why .*${code}`),
    hint: /^check the host name; it may want a client certificate/,
  })),
  ...[42, 43, 44, 45, 46, 48, 49, 51, 116].map((number) => ({
    fault: `the server refuses the client certificate with the alert ${number}`,
    server: alert(number),
    says: /client certificate/,
    hint: clientCertificates,
  })),
  {
    fault: 'the server does not know the host',
    server: alert(112),
    says: /serves no host of this name/,
    hint: /check the host name/,
  },
  {
    fault: 'the server refuses the version',
    server: alert(70),
    says: /no TLS 1\.2 or later/,
    hint: /enable TLS 1\.2/,
  },
  {
    fault: 'the server sends an alert of another kind',
    server: alert(50),
    says: /failed \(ERR_SSL_\w+\)/,
    hint: /^tell the operator of the upstream$/,
  },
];
