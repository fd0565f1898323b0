import { writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { openView } from '../../../src/app/state.ts';
import { home, type Home } from '../../support/command-line.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { startUpstream, upstreamCa, upstreamHost, type Upstream } from '../../support/upstream.ts';

interface Place {
  readonly at: Home;
  readonly upstream: Upstream;
  /** Response of the token endpoint from now on. */
  answer: (response: ServerResponse) => void;
}

const good = (response: ServerResponse) =>
  void response.end('{"access_token":"access-1","token_type":"Bearer","expires_in":3600}');
const down = (response: ServerResponse) => void response.writeHead(503).end('{}');

/** A grant of a provider with a token endpoint and an API; `dialect` as in the config file. */
async function place(dialect: object = {}): Promise<Place> {
  const it: { answer: Place['answer'] } = { answer: good };
  const upstream = await startUpstream((request: IncomingMessage, response) => {
    response.setHeader('content-type', 'application/json');
    if (request.url === '/token') it.answer(response);
    else response.end('{"ok":true}');
  });
  const at = await home({
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { [upstream.authority]: { grant: 'desk' } },
    providers: {
      desk: {
        token_endpoint: `${upstream.url}/token`,
        client_id: 'sidekey',
        audience: [upstream.authority],
        dialect,
      },
    },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  await at.grant('desk', { access_token: 'access-0', refresh_token: 'refresh-0', expires_in: 3_600 }, [
    '--provider',
    'desk',
  ]);
  return Object.assign(it, { at, upstream });
}

interface Told {
  readonly needs: readonly {
    readonly about: string;
    readonly sentence: string;
    readonly hint: string | null;
  }[];
}
const grantNeeds = async (at: Home) =>
  ((await at.json(['status'])) as Told).needs.filter(({ about }) => about === 'grants');

describe('the activity in grant show', () => {
  test('is updated by a request with the credential, and shows the consequence', async () => {
    const { at, upstream } = await place();
    expect(await at.json(['grant', 'show', 'desk'])).toMatchObject({
      used_at: null,
      next: { what: 'refresh_on_use' },
    });
    const proxy = await at.start();
    expect(await proxiedGet(proxy.url, `${upstream.url}/items`)).toMatchObject({ status: 200 });
    await proxy.stop();
    expect(await at.json(['grant', 'show', 'desk'])).toMatchObject({
      used_at: expect.stringMatching(/^\d{4}-.+Z$/),
      revision: 1,
      next: { what: 'refresh_ahead' },
    });
    expect((await at.run(['grant', 'list'])).stdout).toMatch(/LAST USED\n.* \d+ s ago\n$/);
    expect((await at.run(['grant', 'show', 'desk'])).stdout).toMatch(
      / {2}last use +\d+ s ago .*\n {2}next +a running proxy refreshes the token in 55 min\n/,
    );
  });

  test('reports the last refresh, even by a command, and a failure until the next success', async () => {
    const it = await place();
    const { at } = it;
    it.answer = down;
    await at.run(['grant', 'refresh', 'desk', '--force']);
    const failed = await at.json(['grant', 'show', 'desk']);
    expect(failed).toMatchObject({
      refreshed_at: null,
      failed_at: expect.stringMatching(/Z$/),
      failure: expect.stringContaining('503'),
    });
    expect(await grantNeeds(at)).toEqual([
      {
        about: 'grants',
        sentence: expect.stringMatching(/^desk could not be refreshed \d+ s ago: .*503.*\.$/),
        hint: 'sidekey grant refresh desk --force',
        remedies: [{ operation: 'grant.refresh', input: { grant: 'desk', force: true } }],
      },
    ]);
    it.answer = good;
    await at.run(['grant', 'refresh', 'desk', '--force']);
    expect(await at.json(['grant', 'show', 'desk'])).toMatchObject({
      refreshed_at: expect.stringMatching(/Z$/),
      failed_at: null,
      failure: null,
    });
    expect(await grantNeeds(at)).toEqual([]);
  });

  test('is removed together with the grant', async () => {
    const { at } = await place();
    await at.run(['grant', 'refresh', 'desk', '--force']);
    await at.run(['grant', 'remove', 'desk']);
    await at.grant('desk', { access_token: 'a', refresh_token: 'r' }, ['--provider', 'desk']);
    expect(await at.json(['grant', 'show', 'desk'])).toMatchObject({ refreshed_at: null });
  });

  test('omits failures of a replaced credential', async () => {
    const it = await place();
    const { at } = it;
    it.answer = down;
    await at.run(['grant', 'refresh', 'desk', '--force']);
    await at.grant('desk', { access_token: 'a', refresh_token: 'r' }, ['--provider', 'desk', '--replace']);
    expect(await at.json(['grant', 'show', 'desk'])).toMatchObject({ failed_at: null, failure: null });
    expect(await grantNeeds(at)).toEqual([]);
  });
});

describe('a refresh token with a separate expiry', () => {
  test('is not marked while its expiry is far away', async () => {
    const { at } = await place({ refresh_token_idle_timeout: '90d', refresh_token_lifetime: '180d' });
    expect(await grantNeeds(at)).toEqual([]);
    expect((await at.run(['grant', 'show', 'desk'])).stdout).toMatch(
      /refresh token +dies in 90 d \(.*\) unless it is used before; a new consent is needed in 180 d/,
    );
  });

  test('is marked with a command if it soon expires unused or soon requires a new consent', async () => {
    const { at } = await place({ refresh_token_idle_timeout: '1d', refresh_token_lifetime: '2d' });
    expect(await grantNeeds(at)).toEqual([]);
    await age(at, 1.9);
    expect(await grantNeeds(at)).toEqual([
      {
        about: 'grants',
        sentence: 'The refresh token of desk has probably died: it was not used for too long.',
        hint: 'sidekey grant refresh desk --force',
        remedies: [{ operation: 'grant.refresh', input: { grant: 'desk', force: true } }],
      },
      {
        about: 'grants',
        sentence: 'desk needs a new consent in 2 h.',
        hint: expect.stringMatching(/^sidekey (connect|grant import) desk/),
      },
    ]);
  });
});

test('a new consent restarts the lifetime of the refresh token', async () => {
  const { at } = await place({ refresh_token_lifetime: '2d' });
  await age(at, 1.9);
  expect(await grantNeeds(at)).toMatchObject([{ sentence: 'desk needs a new consent in 2 h.' }]);
  await at.grant('desk', { access_token: 'a', refresh_token: 'r' }, ['--provider', 'desk', '--replace']);
  expect(await grantNeeds(at)).toEqual([]);
});

/** Has the grant's credential lie there for so many days. */
async function age(at: Home, days: number): Promise<void> {
  const view = await openView(await loadConfig(at.configFile, { env: {} }), { now: Date.now });
  try {
    const registry = await view.registry();
    for (const { id } of await view.store!.grants.find({})) {
      const opened = await registry?.read(id);
      if (opened?.sealed.credential.type !== 'oauth2') continue;
      const { credential } = opened.sealed;
      const ms = days * 86_400_000;
      await registry?.replaceCredential(opened.grant, {
        ...opened.sealed,
        credential: {
          ...credential,
          obtainedAt: credential.obtainedAt - ms,
          expiresAt: credential.expiresAt === null ? null : credential.expiresAt - ms,
          consentedAt: (credential.consentedAt ?? 0) - ms,
        },
      });
    }
  } finally {
    await view.close();
  }
}
