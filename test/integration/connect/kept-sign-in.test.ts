import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import { describe, expect, test } from 'vitest';
import { startIdJag } from '../../support/id-jag-servers.ts';

type Started = Awaited<ReturnType<typeof startIdJag>>;

/** Connects alice to the service, and returns the id of the grant. */
async function connected(at: Started, ...args: readonly string[]): Promise<string> {
  const ran = await at.command('connect', 'desk', '--via', 'oidc', '--user', 'alice', '--json', ...args);
  expect(ran).toMatchObject({ exit: 0 });
  at.asked.length = 0;
  return (JSON.parse(ran.stdout) as { id: string }).id;
}

/** Renews the token of a grant, in the running proxy. */
const renew = (at: Started, id: string) =>
  at.call(`POST /v2/grants/${id}/refresh`, { body: { force: true } });

const kinds = (at: Started) => at.asked.map(({ form }) => form['grant_type']?.split(':').at(-1));

describe('a kept sign-in', () => {
  test('renews a grant with its ID token, and sends no token to the other server', async () => {
    const at = await startIdJag();
    await at.signIn();
    const id = await connected(at);
    expect(await renew(at, id)).toMatchObject({ status: 200, body: { renewed: true } });
    expect(kinds(at)).toEqual(['token-exchange', 'jwt-bearer']);
    const [exchange, exchanged] = at.asked.map(({ form }) => form);
    expect(JSON.stringify(exchanged)).not.toContain(exchange?.['subject_token']);
    expect(JSON.stringify(exchange)).not.toContain(exchanged?.['assertion']);
    const files = ['sidekey.db', 'sidekey.db-wal', 'audit.jsonl'].map((name) =>
      readFile(join(at.sidekey.folder, 'data', name), 'latin1').catch(() => ''),
    );
    const kept = (await Promise.all(files)).join('') + at.sidekey.logged();
    for (const secret of [exchange?.['subject_token'], exchanged?.['assertion']])
      expect(kept).not.toContain(secret);
  });

  test('is too old when its ID token has ended, without a refresh token', async () => {
    const at = await startIdJag({ idTokenS: 20 });
    await at.signIn();
    const { exit, stderr } = await at.command('connect', 'desk', '--via', 'oidc', '--user', 'alice');
    expect(exit).toBe(4);
    expect(stderr).toMatch(/the sign-in of alice is too old: its ID token has ended/);
    expect(stderr).toMatch(/sign in at the pages of Sidekey/);
    expect(at.asked).toEqual([]);
  });

  test('is renewed by its refresh token, which is stored when it rotates', async () => {
    const at = await startIdJag({ idTokenS: 20, refreshes: true });
    await at.signIn();
    const id = await connected(at);
    for (let count = 0; count < 2; count += 1)
      expect(await renew(at, id)).toMatchObject({ status: 200, body: { renewed: true } });
    expect(kinds(at)).toEqual([
      'refresh_token',
      'token-exchange',
      'jwt-bearer',
      'refresh_token',
      'token-exchange',
      'jwt-bearer',
    ]);
    const [first, , , second] = at.asked.map(({ form }) => form['refresh_token']);
    expect(first).not.toBe(second);
  });

  test('is renewed once at a time for several grants', async () => {
    const at = await startIdJag({ idTokenS: 20, refreshes: true });
    await at.signIn();
    const id = await connected(at);
    const other = await at.command('connect', 'pairwise', '--via', 'oidc', '--user', 'alice', '--json');
    const ids = [id, (JSON.parse(other.stdout) as { id: string }).id];
    const renewed = await Promise.all(ids.map((each) => renew(at, each)));
    expect(renewed.map(({ status }) => status)).toEqual([200, 200]);
  });

  test('is not replaced by the renewal of the one before', async () => {
    const at = await startIdJag({ idTokenS: 20, refreshes: true });
    await at.signIn();
    const id = await connected(at);
    const rotated: string[] = [];
    at.deviate({
      async duringRefresh() {
        delete at.deviations.duringRefresh;
        await at.signIn();
      },
    });
    await renew(at, id);
    rotated.push(...at.refreshTokens);
    at.asked.length = 0;
    expect((await renew(at, id)).status).toBe(200);
    expect(rotated).not.toContain(at.asked[0]?.form['refresh_token']);
  });

  test('is exchanged without a proof of the key that the tokens of the service are bound to', async () => {
    const at = await startIdJag({ desk: { dpop: true } });
    await at.signIn();
    const ran = await at.command('connect', 'desk', '--via', 'oidc', '--user', 'alice');
    expect(ran.stderr).toContain('a token that is bound to no key');
    expect(at.asked.map(({ proof }) => proof)).toEqual(['', undefined]);
  });

  test('is exchanged as a refresh token if the renewal gave no ID token', async () => {
    const at = await startIdJag({ idTokenS: 20, refreshes: true });
    await at.signIn();
    const id = await connected(at);
    at.deviate({ refreshAnswer: { id_token: undefined } });
    expect(await renew(at, id)).toMatchObject({ status: 200 });
    expect(at.asked[1]?.form['subject_token_type']).toBe('urn:ietf:params:oauth:token-type:refresh_token');
  });

  test('gives no token to another account, and ends', async () => {
    const at = await startIdJag({ idTokenS: 20, refreshes: true });
    await at.signIn();
    const id = await connected(at);
    const other = { iss: at.server.issuer, sub: 'a-2', aud: 'sidekey', exp: Date.now() };
    const token = `e30.${Buffer.from(JSON.stringify(other)).toString('base64url')}.c2ln`;
    at.deviate({ refreshAnswer: { id_token: token } });
    expect((await renew(at, id)).body.detail).toMatch(/renewed the sign-in of alice for another account/);
    expect(kinds(at)).toEqual(['refresh_token']);
    at.deviate({});
    const ran = await at.command('connect', 'desk', '--via', 'oidc', '--user', 'alice', '--replace');
    expect(ran.stderr).toContain('No sign-in of the user alice is kept');
  });

  test('stays when the client of admin.oidc is wrong, and the message names its settings', async () => {
    let time = Date.now();
    const at = await startIdJag({ now: () => time, idTokenS: 20, refreshes: true });
    await at.signIn();
    const id = await connected(at);
    const renewLater = () => {
      // A refusal is remembered for half a minute while the configuration is unchanged.
      time += 31_000;
      return renew(at, id);
    };
    await at.reconfigure({ client_secret: 'env:NOT_SET' });
    expect((await renewLater()).body).toMatchObject({
      detail: expect.stringContaining('NOT_SET'),
      hint: 'check client_id and client_secret of admin.oidc in the config file',
    });
    expect(at.asked).toEqual([]);
    await at.reconfigure({});
    expect((await renewLater()).status).toBe(200);
    at.deviate({ refreshError: 'invalid_client' });
    expect((await renewLater()).body).toMatchObject({
      detail: expect.stringMatching(/did not renew the sign-in of alice \(invalid_client\)/),
      hint: 'check client_id and client_secret of admin.oidc in the config file',
    });
  });

  test('that the identity provider has ended needs another one, and the grant stays', async () => {
    const at = await startIdJag({ idTokenS: 20, refreshes: true });
    await at.signIn();
    const id = await connected(at);
    at.deviate({ refreshError: 'invalid_grant' });
    const refused = await renew(at, id);
    expect(refused.body.detail).toMatch(/has ended the sign-in of alice \(invalid_grant\)/);
    expect(refused.body.hint).toMatch(/sign in at the pages of Sidekey/);
    at.deviate({});
    const { exit, stderr } = await at.command(
      'connect',
      'desk',
      '--via',
      'oidc',
      '--user',
      'alice',
      '--replace',
    );
    expect({ exit, stderr }).toMatchObject({ exit: 4, stderr: expect.stringContaining('is kept') });
    await at.signIn();
    await connected(at, '--replace');
    expect((await at.call(`GET /v2/grants/${id}`)).body.state).toBe('active');
  });

  test('ends with its time, and with the role of the person', async () => {
    let time = Date.now();
    const at = await startIdJag({ now: () => time, oidc: { keep_sign_in: '2m' } });
    await at.signIn();
    const id = await connected(at);
    time += 119_000;
    expect((await renew(at, id)).status).toBe(200);
    time += 60_000;
    at.asked.length = 0;
    expect((await renew(at, id)).body.detail).toMatch(/no sign-in of alice is kept, or it has ended/);
    await at.signIn();
    time += 31_000;
    expect((await renew(at, id)).status).toBe(200);
    await at.call('PATCH /v2/people/alice', { body: { disabled: true } });
    await at.call('PATCH /v2/people/alice', { body: { disabled: false } });
    at.asked.length = 0;
    time += 31_000;
    expect((await renew(at, id)).body.detail).toMatch(/no sign-in of alice is kept, or it has ended/);
    expect(at.asked).toEqual([]);
  });

  test('of another account of the same name gives the grant no token', async () => {
    const at = await startIdJag();
    await at.signIn();
    const id = await connected(at);
    await at.command('person', 'set', 'alice', '--subject', 'a-9');
    at.account.sub = 'a-9';
    await at.signIn();
    expect((await renew(at, id)).body.detail).toMatch(/another account than that of this grant signed in/);
    expect(at.asked).toEqual([]);
  });

  test('is not stored without keep_sign_in, and not used with another client', async () => {
    const at = await startIdJag({ oidc: { keep_sign_in: undefined } });
    await at.signIn();
    const connect = ['connect', 'desk', '--via', 'oidc', '--user', 'alice'] as const;
    expect(await at.command(...connect)).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('the config file has no admin.oidc.keep_sign_in'),
    });
    await at.reconfigure({ keep_sign_in: '8h' });
    expect(await at.command(...connect)).toMatchObject({
      exit: 4,
      stderr: expect.stringContaining('No sign-in of the user alice is kept'),
    });
    await at.signIn();
    await at.reconfigure({ keep_sign_in: '8h', client_id: 'another' });
    expect(await at.command(...connect)).toMatchObject({ exit: 4 });
    expect(at.asked).toEqual([]);
  });

  test('names the agent with an actor token', async () => {
    const at = await startIdJag();
    await at.signIn();
    const file = join(at.sidekey.folder, 'actor.jwt');
    await writeFile(file, 'agent-ci', { mode: 0o600 });
    const id = await connected(at, '--actor-token', `file:${file}`);
    await renew(at, id);
    const [exchange, exchanged] = at.asked.map(({ form }) => form);
    expect(exchange).toMatchObject({
      actor_token: 'agent-ci',
      actor_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    });
    expect(decodeJwt(exchanged?.['assertion'] ?? '')).toMatchObject({ sub: 'a-1', act: { sub: 'agent-ci' } });
  });
});

describe('a connect session of a service of the identity provider', () => {
  test('connects without a consent page, but only in a browser where its user is signed in', async () => {
    const at = await startIdJag();
    const alice = await at.signIn();
    at.account.sub = 'b-1';
    at.account.claims = { groups: ['staff'], preferred_username: 'bob' };
    const bob = await at.signIn();
    const created = await at.call('POST /v2/connect-sessions', { body: { provider: 'desk', user: 'alice' } });
    const { id, connect_url: link } = created.body as { id: string; connect_url: string };
    const page = await (await fetch(link)).text();
    expect(page).toContain('Connect The Desk');
    const press = async (secret: string) => {
      const fields = { answer: 'yes', browser: 'b'.repeat(43), signed_in: secret };
      const headers = { 'sec-fetch-site': 'same-origin' };
      const pressed = await fetch(link, { method: 'POST', headers, body: new URLSearchParams(fields) });
      return { status: pressed.status, body: await pressed.text() };
    };
    for (const secret of ['', bob.secret()]) {
      expect(await press(secret)).toMatchObject({
        status: 424,
        body: expect.stringContaining('This browser is not signed in as alice'),
      });
    }
    expect(at.asked).toEqual([]);
    expect(await press(alice.secret())).toMatchObject({
      status: 200,
      body: expect.stringContaining('The Desk is connected'),
    });
    const { body } = await at.call(`GET /v2/connect-sessions/${id}`);
    expect(body).toMatchObject({ status: 'connected', user: 'alice' });
    expect((await at.call(`GET /v2/grants/${body.grant_id}`)).body).toMatchObject({
      user: 'alice',
      name: 'desk',
    });
    expect(kinds(at)).toEqual(['token-exchange', 'jwt-bearer']);
  });
});
