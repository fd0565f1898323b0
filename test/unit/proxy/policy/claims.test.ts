import { describe, expect, it } from 'vitest';
import { isJsonObject, type JsonObject, parseStrictJson } from '../../../../src/lib/json.ts';
import { certainlyMeet, matchesText, mismatch, patternsMeet } from '../../../../src/proxy/policy/claims.ts';

const main = 'repo:acme/app:ref:refs/heads/main';

describe('a pattern', () => {
  it.each([
    [main, main, true],
    ['repo:acme/*:ref:refs/heads/main', main, true],
    ['repo:acme/app:ref:refs/heads/*', main, true],
    ['repo:acme/app:ref:refs/heads/m*n', main, true],
    ['repo:acme/app:ref:refs/heads/main*', main, false],
    ['repo:acme/*', main, false],
    ['repo:acme/app:*', main, false],
    ['repo:acme/app:*', 'repo:acme/app:pull_request', true],
    ['repo:acme/app', main, false],
    ['acme/app', 'xacme/app', false],
    ['acme/app', 'acme/app2', false],
    ['acme/app', 'ACME/app', false],
    ['acme/*', 'acme/', false],
    ['refs/heads/*', 'refs/heads/feature/x', false],
    ['a.c', 'abc', false],
    ['a*b', 'ab', false],
    ['ab*ba', 'aba', false],
    ['spiffe://example.org/ns/*/sa/runner', 'spiffe://example.org/ns/ci/sa/runner', true],
    ['spiffe://example.org/ns/*/sa/runner', 'spiffe://example.org/ns/ci/x/sa/runner', false],
  ])('%s on %s: %s', (pattern, text, expected) => {
    expect(matchesText(pattern, text)).toBe(expected);
  });

  it.each([
    ['a/*', 'a/b', true],
    ['a/*', '*/b', true],
    ['a/x*', 'a/*y', true],
    ['a/x*', 'a/y*', false],
    ['a/*x', 'a/*y', false],
    ['a/*', 'a/b/c', false],
    ['a', 'b', false],
  ])('%s and %s match a text in common: %s', (one, other, expected) => {
    expect(patternsMeet(one, other)).toBe(expected);
    expect(patternsMeet(other, one)).toBe(expected);
  });
});

const claims = (text: string): JsonObject => {
  const value = parseStrictJson(text);
  if (!isJsonObject(value)) throw new Error('the claims are not an object');
  return value;
};
const is = (path: string, pattern: string) => ({ path: path.split(' '), pattern });

describe('the claims of a token', () => {
  const token = claims(
    '{"sub":"s","kubernetes.io":{"namespace":"ci"},"groups":["dev","ops"],"id":74,"big":9007199254740993,"protected":true,"none":null}',
  );

  it.each([
    [is('sub', 's'), true],
    [is('kubernetes.io namespace', 'ci'), true],
    [is('kubernetes.io', 'ci'), false],
    [is('namespace', 'ci'), false],
    [is('groups', 'ops'), true],
    [is('groups', 'o'), false],
    [is('id', '74'), true],
    [is('big', '9007199254740992'), false],
    [is('big', '9007199254740993'), false],
    [is('protected', 'true'), true],
    [is('none', 'null'), false],
    [is('absent', '*'), false],
    [is('sub length', '1'), false],
  ])('match %j: %s', (pattern, expected) => {
    expect(mismatch([pattern], token)).toBe(expected ? null : pattern);
  });

  it('match only all patterns together', () => {
    const wrong = is('groups', 'root');
    expect(mismatch([is('sub', 's'), wrong], token)).toBe(wrong);
  });
});

describe('two lists of patterns', () => {
  it.each([
    [[is('sub', 'a')], [is('sub', 'a')], true],
    [[is('sub', 'a')], [is('sub', 'b')], false],
    [[is('sub', 'a/*')], [is('sub', 'a/b'), is('env', 'p')], true],
    [[is('sub', 'a')], [is('env', 'p')], false],
    [[is('sub', 'a'), is('env', 'p')], [is('sub', 'a'), is('env', 'q')], false],
  ])('%j and %j are known to match a token in common: %s', (one, other, expected) => {
    expect(certainlyMeet(one, other)).toBe(expected);
    expect(certainlyMeet(other, one)).toBe(expected);
  });
});
