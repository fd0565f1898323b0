/** Keys that a person pastes into a page, and keys of the machine, as grants. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { curl } from '../../support/curl.ts';
import { startService } from '../../support/service.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { startUpstream } from '../../support/upstream.ts';

const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;

/** A service with a provider whose key has two parts, and its API. */
async function startDesk() {
  const upstream = await startUpstream((request, response) => {
    response.statusCode = request.headers.authorization === basic('alice/token:key-of-alice') ? 200 : 401;
    response.end('{"login":"alice"}');
  });
  const { authority } = upstream;
  const token = {
    label: 'API token',
    parts: { email: { label: 'address', secret: false }, token: { label: 'token' } },
    inject: { basic: { username: '{email}/token', password: '{token}' } },
  };
  const tickets = {
    audience: [authority],
    token,
    probe: { url: `https://${authority}/me` },
  };
  const service = await startService({ config: { providers: { tickets } } });
  return { ...service, upstream, credential: { email: 'alice', token: ' key-of-alice\n' } };
}

describe('a pasted key', () => {
  test('of several parts is verified and stored, and its hosts use it', async () => {
    const { call, sidekey, upstream, credential } = await startDesk();
    const body = { provider: 'tickets', credential, domains: true };
    const { status, body: added } = await call('POST /v2/grants', { body });
    expect([status, added.verified]).toEqual([201, true]);
    expect([added.audience, added.domains]).toEqual([[upstream.authority], [upstream.authority]]);
    await sidekey.proxy.reload();
    const { body: answer } = await curl('-x', sidekey.url, '--cacert', sidekey.caFile, `${upstream.url}/x`);
    expect(answer).toContain('alice');
  });

  test('changes no entry of another grant, and the answer says so', async () => {
    const { call, sidekey, upstream, credential } = await startDesk();
    await call(`PUT /v2/domains/${encodeURIComponent(upstream.authority)}`, { body: { action: 'deny' } });
    await sidekey.proxy.reload();
    const { body } = await call('POST /v2/grants', {
      body: { provider: 'tickets', credential, domains: true },
    });
    expect(body.domains).toEqual([]);
    expect(body.warnings).toEqual([expect.stringContaining(`${upstream.authority} is already set to`)]);
  });

  test('leaves the map unchanged without domains', async () => {
    const { call, sidekey, credential } = await startDesk();
    const before = await readFile(sidekey.configFile, 'utf8');
    expect((await call('POST /v2/grants', { body: { provider: 'tickets', credential } })).status).toBe(201);
    expect(await readFile(sidekey.configFile, 'utf8')).toBe(before);
  });

  test('of any API is for the host that the person names', async () => {
    const { call, upstream } = await startDesk();
    const { authority } = upstream;
    const more = { name: 'own-api', audience: [authority], domains: true };
    const { status, body } = await call('POST /v2/grants', {
      body: { provider: 'api-key', credential: { token: 'own-key' }, ...more },
    });
    expect([status, body.audience, body.domains]).toEqual([201, [authority], [authority]]);
  });

  test('in the form of another provider is sent nowhere', async () => {
    const { call } = await startService();
    const body = { provider: 'openai', credential: { token: 'rk_live_0123456789' } };
    const answer = await call('POST /v2/grants', { body });
    expect(answer).toMatchObject({ status: 400, body: { detail: expect.stringContaining('key of stripe') } });
    expect((await call('GET /v2/grants')).body.data).toEqual([]);
  });
});

describe('the keys of the machine', () => {
  test('are listed and connected without their values', async () => {
    const home = await tempFolder();
    await mkdir(join(home, '.aws'));
    const keys = 'aws_access_key_id=AKIAIOSFODNN7EXAMPLE\naws_secret_access_key=secret-of-the-machine';
    await writeFile(join(home, '.aws/credentials'), `[default]\n${keys}\n`);
    const env = { HOME: home, INIT_CWD: home, RESEND_API_KEY: 're_key-of-the-machine' };
    const { call, sidekey } = await startService({ env });
    const listed = await call('GET /v2/logins');
    expect(listed.body.data).toEqual([
      expect.objectContaining({ provider: 'aws', connected: false }),
      expect.objectContaining({
        provider: 'resend',
        place: 'RESEND_API_KEY in the environment',
        connected: false,
      }),
    ]);
    const connected = await call('POST /v2/logins/resend', { body: { domains: true } });
    expect(connected).toMatchObject({ status: 201, body: { name: 'resend', domains: ['api.resend.com'] } });
    const kept = await call('POST /v2/logins/aws', { body: { name: 'keys', verify: false } });
    expect(kept).toMatchObject({ status: 201, body: { name: 'keys', provider: 'aws' } });
    const after = await call('GET /v2/logins');
    expect(after.body.data.map((each: { connected: boolean }) => each.connected)).toEqual([true, true]);
    for (const { body } of [listed, connected, kept, after])
      expect(JSON.stringify(body)).not.toMatch(/of-the-machine|AKIA/);
    const { grants, store } = sidekey.proxy.state;
    const [grant] = await store.grants.find({ name: 'resend' });
    expect((await grants.read(grant!.id))?.sealed.credential).toMatchObject({ value: env.RESEND_API_KEY });
    expect((await call('POST /v2/logins/openai', { body: {} })).status).toBe(404);
  });
});
