import { describe, expect, test } from 'vitest';
import { lastWords, verdictOf } from '../../../../src/cli/doctor/probe.ts';
import type { Verdict } from '../../../../src/operations/program-probe.ts';

const page = /This is Sidekey/;

function end(stderr: string, { exit = 1, stdout = '', timedOut = false } = {}) {
  return { exit, stdout, stderr, timedOut };
}

describe('the verdict on the error text of a program', () => {
  const cases: readonly (readonly [words: string, verdict: Verdict])[] = [
    ['curl: (60) SSL certificate problem: unable to get local issuer certificate', 'untrusted'],
    ["ERROR: The certificate of 'own.internal' is not trusted.", 'untrusted'],
    ['TypeError: fetch failed … code: UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'untrusted'],
    ['javax.net.ssl.SSLHandshakeException: PKIX path building failed', 'untrusted'],
    ['tls: failed to verify certificate: x509: certificate signed by unknown authority', 'untrusted'],
    ['Page load failed: net::ERR_CERT_AUTHORITY_INVALID', 'untrusted'],
    ['[17068:20407:1124/114407.407961:ERROR:bus.cc:407] net::ERR_CERT_AUTHORITY_INVALID', 'untrusted'],
    ['curl: (6) Could not resolve host: own.internal', 'unproxied'],
    ['TypeError: fetch failed … getaddrinfo ENOTFOUND own.internal', 'unproxied'],
    ['dial tcp: lookup own.internal: no such host', 'unproxied'],
    ['java.net.ConnectException', 'unproxied'],
    ['curl: (56) CONNECT tunnel failed, response 407', 'unauthenticated'],
    ['Segmentation fault', 'failed'],
  ];
  test.each(cases)('%s', (words, verdict) => {
    expect(verdictOf(end(words), page)).toBe(verdict);
  });
});

test('a program that prints the page works, with any warnings', () => {
  const said = end('warning: certificate store is old', { exit: 0, stdout: 'This is Sidekey.' });
  expect(verdictOf(said, page)).toBe('works');
});

test('a program that succeeds with another page did not use the proxy', () => {
  expect(verdictOf(end('', { exit: 0, stdout: 'It works!' }), page)).toBe('unproxied');
});

test('a program that timed out is reported as slow instead of untrusted', () => {
  expect(verdictOf(end('certificate', { timedOut: true }), page)).toBe('slow');
});

test('the most informative line is quoted, up to 200 characters', () => {
  expect(lastWords(end('first\nfatal: it broke\nsee the manual'))).toBe('fatal: it broke');
  expect(lastWords(end(''))).toBe('it said nothing');
  expect(lastWords(end(`error ${'x'.repeat(500)}`))).toHaveLength(200);
});
