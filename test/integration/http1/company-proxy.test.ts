import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { startCompanyProxy } from '../../support/company-proxy.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { startHelpdeskProxy, ticketsRequest } from '../../support/helpdesk.ts';
import { openClient, problemOf, rawClient } from '../../support/raw-client.ts';
import { bearerToken, startSidekey, type TestSidekey } from '../../support/sidekey.ts';
import { squidMissing, startSquid } from '../../support/squid.ts';
import { startPlainUpstream, startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

const login = { user: 'sidekey', password: 'password-of-the-proxy-0123456789' };

const reach = {
  ca: ['upstream-ca.pem'],
  resolve: { [upstreamHost]: '127.0.0.1' },
  private_addresses: ['127.0.0.1/32'],
};

/** A proxy whose every way out is the given one. */
async function startBehind(port: number, domains: object, upstream: object = {}): Promise<TestSidekey> {
  const sidekey = await startSidekey({ domains });
  await writeFile(join(sidekey.folder, 'proxy.secret'), `${login.password}\n`, { mode: 0o600 });
  const proxy = {
    url: `http://127.0.0.1:${port}`,
    user: login.user,
    password: 'file:proxy.secret',
  };
  await sidekey.configure({ upstream: { ...reach, proxy, ...upstream } });
  return sidekey;
}

const basic = `Basic ${Buffer.from(`${login.user}:${login.password}`).toString('base64')}`;

describe('a configured company proxy', () => {
  test('carries TLS and plain requests, over kept connections', async () => {
    const seen: (string | undefined)[] = [];
    const upstream = await startUpstream((request, response) => {
      seen.push(request.headers.authorization, request.headers['proxy-authorization']);
      response.end('over TLS');
    });
    const plain = await startPlainUpstream((request, response) => {
      seen.push(request.headers.authorization, request.headers['proxy-authorization']);
      response.end('plain');
    });
    const company = await startCompanyProxy();
    const sidekey = await startBehind(company.port, {
      [upstream.authority]: { grant: 'acme' },
      [plain.authority]: { grant: 'acme', allow_plain_http: true },
    });
    await sidekey.grant([upstream.authority, plain.authority]);
    for (let round = 0; round < 2; round += 1) {
      expect(await proxiedGet(sidekey.url, upstream.url)).toEqual({ status: 200, body: 'over TLS' });
      expect(await proxiedGet(sidekey.url, plain.url)).toEqual({ status: 200, body: 'plain' });
    }
    expect(new Set(seen)).toEqual(new Set([`Bearer ${bearerToken}`, undefined]));
    expect(company.targets()).toEqual([`127.0.0.1:${upstream.port}`, `127.0.0.1:${plain.port}`]);
    for (const head of company.heads) expect(head).toContain(`\r\nProxy-Authorization: ${basic}`);
    expect(company.heads.join()).not.toContain(bearerToken);
    const written = `${sidekey.logged()}${JSON.stringify(await sidekey.audit())}`;
    expect(written).not.toContain(login.password);
    expect(written).not.toContain(basic);
  });

  test('carries a blind tunnel: the client sees the certificate of the upstream', async () => {
    const upstream = await startUpstream((_request, response) => response.end('blind'));
    const company = await startCompanyProxy();
    const sidekey = await startBehind(company.port, { [upstream.authority]: 'tunnel' });
    const outer = await openClient(sidekey);
    outer.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await outer.response('CONNECT')).toMatchObject({ status: 200 });
    outer.socket.removeAllListeners('data');
    const inner = connectTls({ socket: outer.socket, servername: upstreamHost, ca: upstreamCa });
    await once(inner, 'secureConnect');
    const client = rawClient(inner);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'blind' });
    expect(company.targets()).toEqual([`127.0.0.1:${upstream.port}`]);
  });

  test('carries a token refresh, and the request that waits for the refresh', async () => {
    const { helpdesk, authority, client, sidekey, tokens } = await startHelpdeskProxy({ expiresIn: -1 });
    const company = await startCompanyProxy();
    await sidekey.configure({
      upstream: {
        ca: ['helpdesk-ca.pem'],
        resolve: { 'helpdesk.acme.test': '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
        proxy: `http://127.0.0.1:${company.port}`,
      },
    });
    helpdesk.expireAllAccessTokens();
    const agent = await client();
    agent.send(ticketsRequest(authority));
    expect(await agent.response()).toMatchObject({ status: 200 });
    expect(helpdesk.tokenRequestCount('refresh_token')).toBe(1);
    expect(tokens).toHaveLength(1);
    const way = `127.0.0.1:${helpdesk.port}`;
    // A separate connection for the token endpoint.
    expect(company.targets()).toEqual([way, way]);
  });

  test('is bypassed for hosts in no_proxy, from the next request on', async () => {
    const upstream = await startUpstream((_request, response) => response.end('ok'));
    const company = await startCompanyProxy();
    const sidekey = await startBehind(company.port, { [upstream.authority]: { grant: 'acme' } });
    await sidekey.grant([upstream.authority]);
    const proxy = `http://127.0.0.1:${company.port}`;
    await sidekey.configure({ upstream: { ...reach, proxy, no_proxy: [upstreamHost] } });
    expect(await proxiedGet(sidekey.url, upstream.url)).toMatchObject({ status: 200 });
    await sidekey.configure({ upstream: { ...reach, proxy, no_proxy: ['127.0.0.0/8'] } });
    expect(await proxiedGet(sidekey.url, upstream.url)).toMatchObject({ status: 200 });
    expect(company.heads).toEqual([]);
    await sidekey.configure({ upstream: { ...reach, proxy } });
    expect(await proxiedGet(sidekey.url, upstream.url)).toMatchObject({ status: 200 });
    expect(company.heads).toHaveLength(1);
  });

  test('is not used for an unlisted private address', async () => {
    const company = await startCompanyProxy();
    const sidekey = await startBehind(
      company.port,
      { [upstreamHost]: { grant: 'acme' } },
      { private_addresses: [] },
    );
    await sidekey.grant([upstreamHost]);
    const answer = await proxiedGet(sidekey.url, `https://${upstreamHost}/`);
    expect(answer).toMatchObject({ status: 403 });
    expect(JSON.stringify(answer)).toContain('address_blocked');
    expect(company.heads).toEqual([]);
  });
});

describe('a company proxy that fails', () => {
  test('is named in the refusal, without secrets and without text from that proxy', async () => {
    const company = await startCompanyProxy({
      answer: () => 'HTTP/1.1 407 <script>\r\nProxy-Authenticate: Basic realm="corp"\r\n\r\n',
    });
    const sidekey = await startBehind(company.port, { [upstreamHost]: { grant: 'acme' } });
    await sidekey.grant([upstreamHost]);
    const client = await openClient(sidekey);
    client.send(`GET https://${upstreamHost}/ HTTP/1.1\r\nHost: ${upstreamHost}\r\n\r\n`);
    const answer = await client.response();
    expect(answer.status).toBe(502);
    expect(problemOf(answer)).toMatchObject({
      code: 'upstream_unreachable',
      detail: `The proxy 127.0.0.1:${company.port} does not accept the credentials of upstream.proxy (407).`,
      hint: expect.stringContaining('upstream.proxy.password') as string,
    });
    const written = `${sidekey.logged()}${JSON.stringify(await sidekey.audit())}${answer.body}`;
    expect(written).not.toContain(login.password);
    expect(written).not.toContain('<script>');
  });

  test('that is Sidekey itself is never dialed', async () => {
    const sidekey = await startSidekey({ domains: { [upstreamHost]: { grant: 'acme' } } });
    await sidekey.grant([upstreamHost]);
    await sidekey.configure({ upstream: { ...reach, proxy: `http://127.0.0.1:${sidekey.port}` } });
    const answer = await proxiedGet(sidekey.url, `https://${upstreamHost}/`);
    expect(JSON.stringify(answer)).toContain('The proxy of upstream.proxy is Sidekey itself.');
    expect((await sidekey.audit()).filter((line) => line.event === 'access')).toHaveLength(1);
  });

  test('that lacks its password in a new config leaves the earlier config in force', async () => {
    const upstream = await startUpstream((_request, response) => response.end('ok'));
    const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
    await sidekey.grant([upstream.authority]);
    const proxy = { url: 'http://proxy.corp.test:3128', user: 'me', password: 'file:not-there' };
    await sidekey.configure({ upstream: { ...reach, proxy } });
    const line = await sidekey.audited(({ event }) => event === 'config.rejected');
    expect(line).toMatchObject({
      code: 'secret_missing',
      reason: expect.stringMatching(/: upstream\.proxy\.password: file:not-there cannot be read/) as string,
    });
    expect(await proxiedGet(sidekey.url, upstream.url)).toMatchObject({ status: 200 });
  });
});

describe.skipIf(squidMissing)('through a squid proxy with a password', () => {
  test('requests pass with the right password, and a wrong password is reported', async () => {
    const upstream = await startUpstream((_request, response) => response.end('x'.repeat(200_000)));
    const squid = await startSquid(login);
    const sidekey = await startBehind(squid.port, { [upstream.authority]: { grant: 'acme' } });
    await sidekey.grant([upstream.authority]);
    for (let round = 0; round < 3; round += 1) {
      const answer = await proxiedGet(sidekey.url, upstream.url);
      expect('body' in answer && answer.body.length).toBe(200_000);
    }
    expect(upstream.connections()).toBe(1);
    await writeFile(join(sidekey.folder, 'proxy.secret'), 'wrong', { mode: 0o600 });
    await sidekey.proxy.reload();
    expect(JSON.stringify(await proxiedGet(sidekey.url, upstream.url))).toContain(
      'does not accept the credentials of upstream.proxy (407)',
    );
    // Squid writes its log after the response.
    await expect
      .poll(() => readFile(squid.accessLog, 'utf8'), { timeout: 10_000 })
      .toContain('TCP_DENIED/407');
  });
});
