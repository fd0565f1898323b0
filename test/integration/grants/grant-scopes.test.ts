/** `sidekey grant scopes`: the scopes of a grant, and what the audit log saw. */
import { describe, expect, test } from 'vitest';
import { openState } from '../../../src/app/state.ts';
import { loadConfig } from '../../../src/config/load.ts';
import type { AuditEvent } from '../../../src/domain/event.ts';
import { home, type Home } from '../../support/command-line.ts';
import { allGrants } from '../../support/all-grants.ts';

interface Options {
  readonly scope?: string;
  readonly refreshToken?: string | null;
}

/** A home with a grant for GitHub, and requests in its audit log. */
async function seen(requests: readonly string[], options: Options = {}): Promise<Home> {
  const { scope = 'repo gist offline_access', refreshToken = 'ghr_1' } = options;
  const at = await home();
  const tokens = {
    type: 'oauth2',
    access_token: 'gho_1',
    ...(refreshToken === null ? {} : { refresh_token: refreshToken }),
    scope,
  };
  await at.grant('work', tokens, ['--provider', 'github']);
  const log = { error() {}, warn() {}, info() {}, debug() {} };
  const state = await openState(await loadConfig(at.configFile, { env: {} }), { log, now: Date.now });
  const [grant] = await allGrants(state.store);
  for (const [index, text] of requests.entries()) {
    const [method, url = '', status = '200'] = text.split(' ');
    if (method === 'READ') {
      await state.audit.append({ event: 'token.read', grant: grant!.id, provider: 'github' });
      continue;
    }
    const { host, pathname: path } = new URL(`https://${url}`);
    const exchange = `x${index}`;
    const access = {
      event: 'access',
      exchange,
      grant: grant!.id,
      provider: 'github',
      scheme: 'https',
    } as const;
    const event: AuditEvent = { ...access, method, host, port: 443, path };
    await state.audit.append(event);
    await state.audit.append({ event: 'outcome', exchange, outcome: 'ok', status: Number(status) });
  }
  await state.close();
  return at;
}

/** A path segment of letters only, because digits are taken for IDs. */
const word = (index: number) => index.toString(2).replaceAll('0', 'x').replaceAll('1', 'y');

describe('grant scopes', () => {
  test('prints what would do, since when, and the command that narrows the grant', async () => {
    const at = await seen([
      'GET api.github.com/gists',
      'GET api.github.com/gists/1',
      // Refused, and no scope of the grant is for it.
      'DELETE api.github.com/repos/acme/site 403',
    ]);
    const { exit, stdout } = await at.run(['grant', 'scopes', 'work']);
    expect(exit).toBe(0);
    expect(stdout).toMatch(/log +since .*, of this machine: 3 requests/);
    expect(stdout).toMatch(/not needed +repo/);
    expect(stdout).toContain('smallest set');
    expect(stdout).toMatch(/sidekey grant set work --scope 'offline_access gist'/);
    expect(await at.json(['grant', 'scopes', 'work'])).toMatchObject({
      name: 'work',
      table: 'GitHub',
      log: { requests: 3 },
      scopes: ['repo', 'gist', 'offline_access'],
      enough: ['offline_access', 'gist'],
      removable: ['repo'],
      smallest: true,
      unjudged: [],
      endpoints: [
        { host: 'api.github.com', endpoint: 'GET /gists/**', requests: 2, known: true },
        { host: 'api.github.com', endpoint: 'DELETE /repos/*/*', requests: 1, known: true },
      ],
      remedies: [{ operation: 'grant.change', input: { grant: 'work', scopes: ['offline_access', 'gist'] } }],
    });
  });

  test('keeps the scope of an endpoint that was only refused, because a limit is a 403 too', async () => {
    const requests = ['GET api.github.com/gists', 'DELETE api.github.com/repos/acme/site 403'];
    const at = await seen(requests, { scope: 'repo gist delete_repo' });
    const answer = await at.json(['grant', 'scopes', 'work']);
    expect(answer).toMatchObject({ removable: ['repo'], smallest: true });
  });

  test('counts paths that are not in the table up to a limit, and keeps all scopes above it', async () => {
    const paths = Array.from({ length: 510 }, (_, index) => `GET api.github.com/enterprises/${word(index)}`);
    const at = await seen(paths, { scope: 'repo gist' });
    const answer = (await at.json(['grant', 'scopes', 'work'])) as { readonly endpoints: readonly unknown[] };
    expect(answer).toMatchObject({ log: { requests: 510 }, removable: [], smallest: false });
    expect(answer.endpoints).toHaveLength(501);
    const last = { host: '*', endpoint: 'other places', requests: 10, known: false };
    expect(answer.endpoints.at(-1)).toEqual(last);
  });

  test('names endpoints that are not in the table, and keeps what they may need', async () => {
    const at = await seen(['POST api.github.com/graphql', 'GET api.github.com/gists']);
    const { stdout } = await at.run(['grant', 'scopes', 'work']);
    expect(stdout).toMatch(/not in the table +POST api\.github\.com\/graphql/);
    expect(stdout).toContain('Nothing can be removed.');
    expect(stdout).not.toContain('→');
    expect(await at.json(['grant', 'scopes', 'work'])).toMatchObject({
      removable: [],
      smallest: false,
      endpoints: [
        { host: 'api.github.com', endpoint: 'POST /graphql', requests: 1, known: false },
        { host: 'api.github.com', endpoint: 'GET /gists/**', requests: 1, known: true },
      ],
    });
  });

  test.each([
    ['a narrower scope, which only a consent gives', 'ghr_1', 'read:user', 'user offline_access'],
    ['a grant that is not refreshed', null, 'gist', 'repo gist'],
  ])('names a new consent for %s', async (_name, refreshToken, scope, granted) => {
    const path = scope === 'gist' ? 'gists' : 'user';
    const at = await seen([`GET api.github.com/${path}`], { scope: granted, refreshToken });
    const { stdout } = await at.run(['grant', 'scopes', 'work']);
    const text = stdout.replace(/\s+/g, ' ');
    expect(text).toContain('sidekey grant revoke work; sidekey connect github');
    expect(text).toContain(scope);
  });

  test('keeps all scopes if a program read the token, because its requests are not in the log', async () => {
    const at = await seen(['GET api.github.com/gists', 'READ']);
    const { stdout } = await at.run(['grant', 'scopes', 'work']);
    expect(stdout).toMatch(/not in the table +a program that read the token/);
    expect(await at.json(['grant', 'scopes', 'work'])).toMatchObject({ removable: [], smallest: false });
  });

  test('without a request, nothing is judged', async () => {
    const at = await seen([]);
    const { stdout } = await at.run(['grant', 'scopes', 'work']);
    expect(stdout).toContain('no scope can be judged');
    expect(await at.json(['grant', 'scopes', 'work'])).toMatchObject({ removable: [], smallest: false });
  });

  test('counts only requests since a time', async () => {
    const at = await seen(['GET api.github.com/gists']);
    const later = new Date(Date.now() + 60_000).toISOString();
    const answer = await at.json(['grant', 'scopes', 'work', '--since', later]);
    expect(answer).toMatchObject({ log: { requests: 0 }, removable: [] });
  });

  test('a provider without a table keeps all scopes', async () => {
    const at = await home();
    await at.grant(
      'chat',
      { type: 'oauth2', access_token: 'a', refresh_token: 'r', scope: 'identify email' },
      ['--provider', 'discord'],
    );
    const answer = await at.json(['grant', 'scopes', 'chat']);
    expect(answer).toMatchObject({ table: null, removable: [], enough: ['identify', 'email'] });
  });

  test('a grant whose scopes are not known is refused', async () => {
    const at = await home();
    await at.grant('key', { type: 'api_key', value: 'k' }, ['--provider', 'github']);
    expect(await at.run(['grant', 'scopes', 'key'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('its scopes are set at the provider'),
    });
  });
});
