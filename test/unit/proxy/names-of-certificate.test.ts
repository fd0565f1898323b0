import { X509Certificate } from 'node:crypto';
import { expect, test } from 'vitest';
import { namesIn } from '../../../src/proxy/entry.ts';
import { makeTestAuthority } from '../../support/certificates.ts';

const authority = makeTestAuthority('agents');
const namesOf = (...names: readonly string[]) =>
  namesIn(new X509Certificate(authority.issue(names).cert).subjectAltName ?? '');

test('an agent is identified by the URIs and DNS names of a certificate, and not by its addresses', () => {
  expect(namesOf('spiffe://acme.test/ci', 'Runner.acme.test', '10.0.0.1')).toEqual([
    'spiffe://acme.test/ci',
    'runner.acme.test',
  ]);
});

test.each(['x, DNS:admin.test, y', 'x, URI:spiffe://acme.test/admin, y', 'x", DNS:admin.test, "y'])(
  'a name that contains commas (%s) is not read as several names',
  (name) => {
    expect(namesOf(name, 'own.test')).toEqual(['own.test']);
    expect(namesOf(`spiffe://acme.test/${name}`, 'own.test')).toEqual(['own.test']);
  },
);

test('a text that cannot be parsed has no names', () => {
  expect(namesIn('DNS:a.test; DNS:b.test"')).toEqual([]);
  expect(namesIn('')).toEqual([]);
});
