import { describe, expect, test } from 'vitest';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import { parseConfig } from '../../../../src/config/load.ts';
import { scopeRefusal, scopesToAskFor, type RefusalReader } from '../../../../src/grants/oauth/scopes.ts';

const { providers } = await parseConfig('version: 1\n', '/etc/sidekey/sidekey.yaml', { env: {} });

type Head = Readonly<Record<string, string | readonly string[]>>;

function read(head: Head, how: Partial<RefusalReader> = {}) {
  const values = (name: string) => [head[name] ?? []].flat();
  return scopeRefusal(values, { dialect: plainDialect.insufficientScope, held: [], secrets: [], ...how });
}
const challenged = (field: string, how?: Partial<RefusalReader>) => read({ 'www-authenticate': field }, how);

describe('a challenge', () => {
  test.each<[what: string, field: string, held: readonly string[], scopes: readonly string[] | null]>([
    ['names required scopes', 'Bearer error="insufficient_scope", scope="read write"', [], ['read', 'write']],
    [
      'names required and granted scopes',
      'Bearer error="insufficient_scope", scope="read write"',
      ['read'],
      ['write'],
    ],
    [
      'names only granted scopes',
      'Bearer error="insufficient_scope", scope="read"',
      ['read', 'write'],
      ['read'],
    ],
    ['names no scope', 'Bearer error=insufficient_scope', [], []],
    ['is not the first', 'Basic realm="x", Bearer error="insufficient_scope", scope=a', [], ['a']],
    ['has no error code, and a missing scope', 'Bearer realm="x", scope="read write"', ['read'], ['write']],
    ['has no error code, and granted scopes', 'Bearer realm="x", scope="read"', ['read'], null],
    ['is for an expired token', 'Bearer error="invalid_token", scope="read"', [], null],
    [
      'is from a registry of images',
      'Bearer realm="https://auth.example/token",service="registry",scope="repository:a:pull"',
      [],
      null,
    ],
    ['is of another scheme', 'Digest error="insufficient_scope", scope="read"', [], null],
  ])('that %s', (_what, field, held, scopes) => {
    expect(challenged(field, { held }).missing?.scopes ?? null).toEqual(scopes);
  });

  test('of a provider with alternative scopes is reduced to the least privileged one', () => {
    const google = providers.get('google-drive')!;
    const { insufficientScope: dialect } = google.dialect;
    const { missing } = challenged(
      'Bearer realm="https://accounts.google.com/", error="insufficient_scope", scope="https://www.googleapis.com/auth/drive https://www.googleapis.com/auth/drive.readonly"',
      { dialect },
    );
    expect(missing).toMatchObject({ anyOne: true, scopes: { length: 2 } });
    expect(scopesToAskFor(missing!, google.knownScopes)).toEqual([
      'https://www.googleapis.com/auth/drive.readonly',
    ]);
  });

  test('is reduced to at most 20 scopes, and to scopes of plain characters', () => {
    const many = Array.from({ length: 100 }, (_, number) => `scope-${number}`);
    const long = 'x'.repeat(257);
    const odd = ['a\\b', 'caf\u00e9', '\u001b[31mred', long, 'a\u0000b'];
    const field = `Bearer error="insufficient_scope", scope="${[...odd, ...many].join(' ')}"`;
    const { missing } = challenged(field.replace('\\', '\\\\'));
    expect(missing?.scopes).toEqual(many.slice(0, 20));
    const wide = Array.from({ length: 20 }, (_, number) => `${number}`.padEnd(200, 'x'));
    expect(challenged(`Bearer error=insufficient_scope, scope="${wide.join(' ')}"`).missing?.scopes).toEqual(
      wide.slice(0, 5),
    );
  });

  test('never results in a scope that is a secret of the request', () => {
    const { missing, resourceMetadata } = challenged(
      'Bearer error=insufficient_scope, scope="read x-s3cret-token-x", resource_metadata="https://a.example/s3cret-token"',
      { secrets: ['s3cret-token'] },
    );
    expect([missing?.scopes, resourceMetadata]).toEqual([['read'], null]);
  });

  test('in megabytes of text is read quickly', () => {
    for (const piece of ['Bearer ', 'a=', '"', '\\', ',', '= ', 'scope="', 'a ', ' \t']) {
      const field = piece.repeat(1_000_000);
      // CPU time in microseconds, independent of the load of the machine.
      const before = process.cpuUsage();
      challenged(field);
      read({ 'www-authenticate': Array.from({ length: 10_000 }, () => field) });
      const { user, system } = process.cpuUsage(before);
      expect(user + system).toBeLessThan(1_000_000);
    }
  });
});

describe('resource metadata', () => {
  test.each([
    ['https://mcp.example/.well-known/oauth-protected-resource/v1', true],
    ['https://mcp.example:8443/meta', true],
    ['http://mcp.example/meta', false],
    ['https://user:word@mcp.example/meta', false],
    ['https://mcp.example/meta?token=x', false],
    ['https://mcp.example/$(id)', false],
    ['https://mcp.example/a b', false],
    ['javascript:alert(1)', false],
    [`https://mcp.example/${'a'.repeat(512)}`, false],
  ])('at %s: %j', (url, isNamed) => {
    const field = `Bearer error="invalid_token", resource_metadata="${url}"`;
    expect(challenged(field)).toEqual({ missing: null, resourceMetadata: isNamed ? url : null });
  });
});

describe('the scope fields of GitHub', () => {
  const { dialect, knownScopes } = providers.get('github')!;
  const github = (head: Head) => read(head, { dialect: dialect.insufficientScope }).missing;

  test.each<[what: string, head: Head, scopes: readonly string[] | null]>([
    [
      'of which the token has none',
      { 'x-oauth-scopes': 'gist', 'x-accepted-oauth-scopes': 'admin:org, read:org, repo' },
      ['read:org'],
    ],
    [
      'of a token without scopes',
      { 'x-oauth-scopes': '', 'x-accepted-oauth-scopes': 'admin:org, write:org' },
      ['write:org'],
    ],
    [
      'of which the token has one',
      { 'x-oauth-scopes': 'gist, repo', 'x-accepted-oauth-scopes': 'repo' },
      null,
    ],
    [
      'of which the token has a parent',
      { 'x-oauth-scopes': 'user', 'x-accepted-oauth-scopes': 'user:email' },
      null,
    ],
    ['as an empty list', { 'x-oauth-scopes': 'gist', 'x-accepted-oauth-scopes': '' }, null],
    ['without those of the token', { 'x-accepted-oauth-scopes': 'repo' }, null],
    [
      'in a rate limit response',
      { 'x-oauth-scopes': 'gist', 'x-accepted-oauth-scopes': 'repo', 'x-ratelimit-remaining': '0' },
      null,
    ],
  ])('that name scopes %s', (_what, head, scopes) => {
    const missing = github(head);
    expect(missing === null ? null : scopesToAskFor(missing, knownScopes)).toEqual(scopes);
  });

  test('are ignored for a provider without such fields', () => {
    expect(read({ 'x-oauth-scopes': 'gist', 'x-accepted-oauth-scopes': 'repo' }).missing).toBeNull();
  });
});
