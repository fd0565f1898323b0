import { describe, expect, it } from 'vitest';
import { parseVaultReference } from '../../../../src/grants/sources/vault-reference.ts';

describe('a reference to a secret of Vault', () => {
  it.each([
    ['secret/data/github#token', { server: null, path: 'secret/data/github', member: 'token' }],
    ['database/creds/app', { server: null, path: 'database/creds/app', member: null }],
    ['//second/kv/a#b c', { server: 'second', path: 'kv/a', member: 'b c' }],
    ['secret/data/a b?version=3#t', { server: null, path: 'secret/data/a%20b?version=3', member: 't' }],
    ['secret/data/50%2f', { server: null, path: 'secret/data/50%252f', member: null }],
  ])('%j is read', (text, reference) => {
    expect(parseVaultReference(text)).toEqual(reference);
  });

  it.each([
    '',
    '#token',
    '/secret/a',
    'secret//a',
    'secret/',
    'secret/../sys/seal',
    './secret',
    'secret/a#',
    'secret/a#b#c',
    'secret/a?x y',
    'secret/a\n',
    '//second',
    '//-/a',
    '//second/../a',
  ])('%j is refused', (text) => {
    expect(parseVaultReference(text)).toBeNull();
  });
});
