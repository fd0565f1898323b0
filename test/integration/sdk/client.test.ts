import { execFile, spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { createClient, type DeviceSession } from '../../../src/sdk/client/node.ts';
import { browserOf } from '../../../src/sdk/client/open-browser.ts';
import { startConnecting } from '../../support/connect-session.ts';
import { startDevice } from '../../support/device-session.ts';
import { startService } from '../../support/service.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { startPlainUpstream, startUpstream } from '../../support/upstream.ts';

async function withClient() {
  const upstream = await startUpstream((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      response.setHeader('x-method', request.method ?? '');
      if (request.url === '/bytes') return void response.end(Buffer.of(0xff, 0, 0xfe));
      if (request.url === '/none') return void response.writeHead(204).end();
      const { authorization = '', 'x-own': own = '' } = request.headers;
      response.end(
        JSON.stringify({ authorization: authorization.length, own, body: Buffer.concat(chunks).toString() }),
      );
    });
  });
  const service = await startService({ domains: { [upstream.authority]: { grant: 'desk' } } });
  await service.sidekey.grant([upstream.authority], { name: 'desk' });
  const client = createClient({ baseUrl: service.url, apiKey: await service.key() });
  return { ...service, upstream, client };
}

describe('the client', () => {
  test('uses the login of "sidekey login" only at the address of that login', async () => {
    const { key, url } = await withClient();
    const folder = await tempFolder();
    await mkdir(join(folder, 'config'));
    const login = { url, key: await key({ role: 'auditor' }), expires_at: '2040-01-01T00:00:00Z' };
    await writeFile(join(folder, 'config', 'login.json'), JSON.stringify(login));
    vi.stubEnv('SIDEKEY_HOME', folder);
    vi.stubEnv('SIDEKEY_API_KEY', undefined);
    onTestFinished(() => void vi.unstubAllEnvs());
    expect((await createClient().getMe()).role).toBe('auditor');
    expect(() => createClient({ baseUrl: 'https://other.example' })).toThrow('has no API key');
    expect((await createClient({ apiKey: await key(), baseUrl: url }).getMe()).role).toBe('operator');
    // Below the working folder, it could be a file of a repository.
    vi.stubEnv('SIDEKEY_HOME', relative(process.cwd(), folder));
    expect(() => createClient()).toThrow('has no API key');
  });

  test('calls operations, and lists all entries over pages', async () => {
    const { client } = await withClient();
    expect((await client.getMe()).role).toBe('operator');
    for (const name of ['a', 'b', 'c']) await client.createAgent({ name });
    const names: string[] = [];
    for await (const { name } of client.listAgents({ limit: 1 })) names.push(name);
    expect(names).toEqual(['a', 'b', 'c']);
    const created = await client.createToken({
      user: 'alice',
      integration_key: 'gh',
      provider: 'github',
      token_type: 'api_key',
      token_data: { api_key: 'ghp_0123456789abcdef0123456789abcdef0123' },
    });
    expect(created.integration_key).toBe('gh');
    expect(await client.listTokens({ user: 'alice' })).toMatchObject([{ integration_key: 'gh' }]);
    await client.deleteToken({ user: 'alice', integration_key: 'gh' });
    await expect(client.getToken({ user: 'alice', integration_key: 'gh' })).rejects.toMatchObject({
      code: 'not_found',
      status: 404,
      hint: expect.any(String) as string,
    });
  });

  test('does the work of a request once, even if the response was lost', async () => {
    const { url, key } = await withClient();
    let calls = 0;
    const lossy = async (address: string | URL | Request, init?: RequestInit) => {
      const response = await fetch(address, init);
      calls += 1;
      if (calls === 1) throw new TypeError('the connection was lost');
      return response;
    };
    const client = createClient({ baseUrl: url, apiKey: await key(), fetch: lossy });
    expect((await client.createAgent({ name: 'ci' })).token).toMatch(/^sidekey_agent_/);
    expect(calls).toBe(2);
    const names: string[] = [];
    for await (const { name } of client.listAgents()) names.push(name);
    expect(names).toEqual(['ci']);
  });

  test('changes a resource only if its ETag is unchanged since the read', async () => {
    const { client } = await withClient();
    let etag = '';
    const onHeaders = (headers: Headers) => void (etag = headers.get('etag') ?? '');
    const { text } = await client.getConfig({}, { onHeaders });
    await client.putConfig({ text: `# mine\n${text}` }, { ifMatch: etag });
    await expect(client.putConfig({ text }, { ifMatch: etag })).rejects.toMatchObject({ status: 412 });
  });

  test('streams the audit log until it is aborted', async () => {
    const { client } = await withClient();
    const stop = new AbortController();
    const seen: string[] = [];
    const stream = async () => {
      for await (const { event } of client.streamAuditEvents({ lines: 1 }, { signal: stop.signal })) {
        seen.push(event);
        if (event === 'agent.added') stop.abort();
        else await client.createAgent({ name: 'ci' });
      }
    };
    await expect(stream()).rejects.toThrow('aborted');
    expect(seen.at(-1)).toBe('agent.added');
  });

  test('names the events of a stream that broke off, and the next step', async () => {
    const server = await startPlainUpstream((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"event":"a"}\n\ndata: {"ev', () => response.destroy());
    });
    const client = createClient({ baseUrl: `http://127.0.0.1:${server.port}`, apiKey: 'k' });
    const seen: string[] = [];
    const stream = async () => {
      for await (const { event } of client.streamAuditEvents()) seen.push(event);
    };
    await expect(stream()).rejects.toMatchObject({
      name: 'UnreachableError',
      message: `The response of http://127.0.0.1:${server.port}/v2/audit/stream broke off. Received events: 1.`,
      hint: expect.stringMatching(/^stream again; listAuditEvents/) as string,
    });
    expect(seen).toEqual(['a']);
  });

  test('sends a request with the credential of a grant', async () => {
    const { client, upstream, sidekey } = await withClient();
    const url = `https://${upstream.authority}/`;
    const reason = 'ticket 7';
    const answer = await client.request('POST', url, {
      grant: 'desk',
      reason,
      headers: { 'X-Own': '1' },
      body: { a: 1 },
    });
    expect(answer.headers.get('x-method')).toBe('POST');
    expect(await answer.json()).toEqual({ authorization: 36, own: '1', body: '{"a":1}' });
    expect(await (await client.request('PUT', url, { body: 'text' })).json()).toMatchObject({ body: 'text' });
    expect(new Uint8Array(await (await client.request('GET', `${url}bytes`)).arrayBuffer())).toEqual(
      Uint8Array.of(0xff, 0, 0xfe),
    );
    expect((await client.request('GET', `${url}none`)).status).toBe(204);
    expect((await sidekey.audit()).filter(({ event }) => event === 'access')[0]).toMatchObject({
      reason,
    });
    await expect(client.request('GET', 'https://other.example.com/')).rejects.toMatchObject({
      code: 'domain_not_allowed',
    });
  });

  test('sends no request with the name of a grant to a host without a credential', async () => {
    const { client, sidekey } = await withClient();
    const other = await startUpstream((_request, response) => response.end());
    await sidekey.configure({ proxy: { listen: '127.0.0.1:0', unmatched: 'tunnel' } });
    for (const grant of ['desk', 'NOSUCH'])
      await expect(client.request('GET', other.url, { grant })).rejects.toMatchObject({
        code: 'grant_missing',
      });
    expect(other.connections()).toBe(0);
    await expect(client.request('GET', other.url, { grant: '' })).rejects.toMatchObject({ status: 400 });
    expect((await client.request('GET', other.url)).status).toBe(200);
  });

  test('creates the environment of a program that uses the proxy under a lease', async () => {
    const { client, upstream, sidekey } = await withClient();
    await client.createAgent({ name: 'ci', grants: ['desk'] });
    const env = await client.proxyEnv({ proxy: sidekey.url, agent: 'ci', grants: ['desk'], ttl: '5m' });
    expect(env['PATH']).toBe(process.env['PATH']);
    const { stdout } = await promisify(execFile)('curl', ['-sS', `https://${upstream.authority}/`], {
      env,
    });
    expect(JSON.parse(stdout)).toMatchObject({ authorization: 36 });
    expect((await sidekey.audit()).findLast(({ event }) => event === 'access')).toMatchObject({
      agent: 'ci',
      lease: expect.any(String) as string,
    });
    const other = await client.proxyEnv({ proxy: sidekey.url, base: { KEPT: '1', LOST: undefined } });
    expect(other).toMatchObject({ KEPT: '1' });
    expect(other).not.toHaveProperty('LOST');
  });
});

describe('connect', () => {
  test('waits until the person has connected the account', async () => {
    const at = await startConnecting();
    const client = createClient({ baseUrl: at.url, apiKey: await at.key() });
    const connected = await client.connect({
      provider: 'acme',
      user: 'alice',
      async onUrl(url) {
        const browser = at.browser();
        await browser.open(await browser.consent(url));
      },
    });
    expect(connected).toMatchObject({ provider: 'acme', user: 'alice' });
    expect((await client.getGrant({ grant: connected.grantId })).user).toBe('alice');
  });

  test('fails if the person declines', async () => {
    const at = await startConnecting();
    const client = createClient({ baseUrl: at.url, apiKey: await at.key() });
    const onUrl = async (url: string) => void (await at.browser().press(url, 'no'));
    await expect(client.connect({ provider: 'acme', user: 'alice', onUrl })).rejects.toMatchObject({
      code: 'consent_declined',
    });
  });
});

describe('connect on another device', () => {
  const asks = { provider: 'desk', user: 'alice', device: true } as const;

  test('waits until the person has entered the code', async () => {
    const at = await startDevice();
    const client = createClient({ baseUrl: at.url, apiKey: await at.key() });
    const onCode = ({ user_code: code }: DeviceSession) => at.server.approve(code);
    const { grantId } = await client.connect({ ...asks, onCode });
    expect((await client.getGrant({ grant: grantId })).account).toBe('alice');
    const no = ({ user_code: code }: DeviceSession) => at.server.deny(code);
    await expect(client.connect({ ...asks, onCode: no })).rejects.toMatchObject({ code: 'consent_declined' });
  });

  test('fails if nobody enters the code, or if the provider has no device flow', async () => {
    const clock = { now: Date.now() };
    const at = await startDevice({}, () => clock.now);
    const client = createClient({ baseUrl: at.url, apiKey: await at.key() });
    const onCode = () => void (clock.now += 600_000);
    await expect(client.connect({ ...asks, onCode })).rejects.toMatchObject({ code: 'session_expired' });
    const other = await startConnecting();
    const without = createClient({ baseUrl: other.url, apiKey: await other.key() });
    await expect(without.connect({ ...asks, provider: 'acme' })).rejects.toMatchObject({
      code: 'config_invalid',
    });
  });

  test('is the default without a browser if the provider has a device flow, otherwise the address is printed', async () => {
    const printed = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    onTestFinished(() => printed.mockRestore());
    for (const name of ['DISPLAY', 'WAYLAND_DISPLAY']) vi.stubEnv(name, undefined);
    onTestFinished(() => void vi.unstubAllEnvs());
    const at = await startDevice();
    const client = createClient({ baseUrl: at.url, apiKey: await at.key() });
    const onCode = ({ user_code: code }: DeviceSession) => at.server.approve(code);
    await client.connect({ provider: 'desk', user: 'alice', onCode });
    expect(printed).not.toHaveBeenCalled();
    const stop = new AbortController();
    printed.mockImplementation(() => stop.abort());
    const stopped = { user: 'alice', signal: stop.signal };
    await expect(client.connect({ provider: 'desk', ...stopped })).rejects.toThrow();
    expect(printed.mock.lastCall?.[0]).toMatch(/\/device on any device, and type the code [A-Z-]{9}\n/);
    const other = await startConnecting();
    const without = createClient({ baseUrl: other.url, apiKey: await other.key() });
    const last = new AbortController();
    printed.mockImplementation(() => last.abort());
    await expect(without.connect({ provider: 'acme', user: 'alice', signal: last.signal })).rejects.toThrow();
    expect(printed.mock.lastCall?.[0]).toContain(`${other.url}/connect/cs_`);
  });
});

test('a browser is opened with a local address that redirects to the consent, once', async () => {
  const start = vi.fn((_program: string, _args: readonly string[]) => spawn(process.execPath, ['--version']));
  expect(browserOf({ platform: 'linux', env: {}, start })).toBeNull();
  const open = browserOf({ platform: 'linux', env: { DISPLAY: ':0' }, start });
  await open?.('https://sidekey.example.com/connect/secret');
  const [program, [address = ''] = []] = start.mock.calls[0] ?? [];
  expect(program).toBe('xdg-open');
  expect(address).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
  const response = await fetch(address, { redirect: 'manual' });
  expect(response.headers.get('location')).toBe('https://sidekey.example.com/connect/secret');
  await expect(fetch(address)).rejects.toThrow();
});
