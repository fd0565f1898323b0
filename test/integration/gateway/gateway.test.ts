/**
 * A proxy for callers on other machines: TLS on its port, client certificates, load balancers, limits of
 * agents.
 */
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { join } from 'node:path';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import { makeTestAuthority } from '../../support/certificates.ts';
import { curl, curlMissing } from '../../support/curl.ts';
import { openClient, openTunnel, problemOf, rawClient } from '../../support/raw-client.ts';
import { addAgent } from '../../support/rights.ts';
import { bearerToken, startSidekey } from '../../support/sidekey.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { startUpstream } from '../../support/upstream.ts';

const servers = makeTestAuthority('servers');
const clients = makeTestAuthority('clients');
const name = 'proxy.acme.test';
const header = 'PROXY TCP4 203.0.113.7 10.0.0.1 12345 8377\r\n';

interface Options {
  /** `proxy.tls` besides the certificate; null: no TLS. */
  readonly tls?: object | null;
  readonly proxy?: object;
  readonly limits?: object;
  readonly domain?: unknown;
  readonly answer?: RequestListener;
}

/** A proxy with the agents `ci` and `ops`, and an API whose grant both may use. */
async function gateway({
  tls = {},
  proxy = {},
  limits = {},
  domain = { grant: 'acme' },
  answer = (_, response) => response.end('ok'),
}: Options = {}) {
  const seen: (string | undefined)[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(request.headers.authorization);
    answer(request, response);
  });
  const folder = await tempFolder();
  const files = { cert: join(folder, 'proxy.pem'), key: join(folder, 'proxy.key') };
  const { cert, key } = servers.issue([name, 'localhost']);
  const clientCa = join(folder, 'clients.pem');
  await writeFile(files.cert, cert);
  await writeFile(files.key, key);
  await writeFile(clientCa, clients.cert);
  const withAgents = { client_ca: clientCa, agents: { ci: 'spiffe://acme.test/ci', ops: 'Ops.acme.test' } };
  let ahead = 0;
  const sidekey = await startSidekey({
    now: () => Date.now() + ahead,
    domains: { [upstream.authority]: domain },
    config: {
      proxy: {
        listen: '127.0.0.1:0',
        authentication: 'required',
        ...(tls === null ? {} : { tls: { ...files, ...withAgents, ...tls } }),
        ...proxy,
      },
      limits,
    },
  });
  const grant = await sidekey.grant([upstream.authority]);
  const { store } = sidekey.proxy.state;
  for (const agent of ['ci', 'ops'])
    await addAgent(store, agent, `secret-of-${agent}`, { bindings: [{ kind: 'grant', value: grant.id }] });

  /** Opens a connection with TLS, behind a balancer or not. */
  async function connect(options: ConnectionOptions = {}, before = '') {
    const { socket } = await openClient(sidekey);
    socket.removeAllListeners('data');
    if (before !== '') socket.write(before, 'latin1');
    const inner = connectTls({ socket, servername: name, ca: servers.cert, ...options });
    onTestFinished(() => void inner.destroy());
    await once(inner, 'secureConnect');
    return rawClient(inner);
  }
  /** Asks the proxy itself. */
  async function asked(options: ConnectionOptions = {}, fields: readonly string[] = []) {
    const client = await connect(options);
    const lines = ['GET http://sidekey.internal/ HTTP/1.1', 'Host: sidekey.internal', ...fields];
    client.send(`${lines.join('\r\n')}\r\n\r\n`);
    return client.response();
  }
  return {
    upstream,
    sidekey,
    store,
    seen,
    connect,
    asked,
    folder,
    later: (ms: number) => void (ahead += ms),
  };
}

const basic = (pair: string) => `Proxy-Authorization: Basic ${Buffer.from(pair).toString('base64')}`;
const uri = clients.issue(['spiffe://acme.test/ci']);

describe('a proxy port with TLS', () => {
  test.skipIf(curlMissing)('serves curl with a token, with an https proxy URL', async () => {
    const { sidekey, upstream, seen, folder } = await gateway();
    const trusted = join(folder, 'servers.pem');
    await writeFile(trusted, servers.cert);
    const proxy = ['--proxy', `https://localhost:${sidekey.port}`, '--proxy-cacert', trusted];
    const answer = await curl(
      ...proxy,
      '--proxy-user',
      'ci:secret-of-ci',
      '--cacert',
      sidekey.caFile,
      `${upstream.url}/a`,
    );
    expect(answer).toMatchObject({ status: 200, connectStatus: 200, body: 'ok' });
    expect(seen).toEqual([`Bearer ${bearerToken}`]);
    expect(await sidekey.audited(({ event }) => event === 'access')).toMatchObject({ agent: 'ci' });
    const unknown = await curl(...proxy, '--cacert', sidekey.caFile, `${upstream.url}/a`);
    expect(unknown).toMatchObject({ connectStatus: 407, status: 0 });
  });

  test.skipIf(curlMissing)(
    'accepts the client certificate of an agent from curl in place of a token',
    async () => {
      const { sidekey, upstream, folder } = await gateway();
      const file = async (called: string, text: string) => {
        await writeFile(join(folder, called), text, { mode: 0o600 });
        return join(folder, called);
      };
      const answer = await curl(
        '--proxy',
        `https://localhost:${sidekey.port}`,
        '--cacert',
        sidekey.caFile,
        '--proxy-cacert',
        await file('servers.pem', servers.cert),
        '--proxy-cert',
        await file('ci.pem', uri.cert),
        '--proxy-key',
        await file('ci.key', uri.key),
        `${upstream.url}/a`,
      );
      expect(answer).toMatchObject({ status: 200, body: 'ok' });
      expect(await sidekey.audited(({ event }) => event === 'access')).toMatchObject({
        agent: 'ci',
        subject: 'spiffe://acme.test/ci',
      });
      expect(await sidekey.audited(({ event }) => event === 'agent.signed_in')).toMatchObject({
        agent: 'ci',
        reason: 'by a client certificate',
      });
    },
  );

  test('serves programs on this machine without TLS', async () => {
    const { sidekey, upstream } = await gateway();
    const client = await openTunnel(sidekey, upstream.authority, { fields: [basic('ci:secret-of-ci')] });
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect((await client.response()).status).toBe(200);
  });

  test('refuses another machine without TLS, and explains how to connect', async () => {
    const { sidekey, upstream, seen } = await gateway({ proxy: { proxy_protocol: ['127.0.0.0/8'] } });
    const client = await openClient(sidekey);
    client.send(`${header}GET http://${upstream.authority}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
    const answer = await client.response();
    expect([answer.status, answer.headers['sidekey-error']]).toEqual([403, 'insecure_transport']);
    expect(problemOf(answer).hint).toContain('HTTPS_PROXY=https://');
    await client.ended();
    expect(seen).toEqual([]);
    expect(await sidekey.audited(({ event }) => event === 'denied')).toMatchObject({
      code: 'insecure_transport',
    });
  });

  test('closes the connection of a client that starts no handshake', async () => {
    const { sidekey } = await gateway({ limits: { client_handshake: '50ms' } });
    const silent = await openClient(sidekey);
    await silent.ended();
    const slow = await openClient(sidekey);
    slow.send('\x16\x03\x01');
    await slow.ended();
    const wrong = await openClient(sidekey);
    wrong.send('\x16\x03\x01\x00\x05hello');
    await wrong.ended();
    expect(sidekey.logged()).toContain('a client made no TLS handshake with the proxy');
  });

  test('fails the start if the certificate cannot be used, and names the setting', async () => {
    await expect(gateway({ tls: { key: '/nowhere/proxy.key' } })).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining('proxy.tls.key: /nowhere/proxy.key cannot be read (ENOENT)'),
    });
    await expect(gateway({ tls: { client_ca: '/nowhere/ca.pem' } })).rejects.toMatchObject({
      message: expect.stringContaining('proxy.tls.client_ca: /nowhere/ca.pem cannot be read (ENOENT)'),
    });
  });
});

const dns = (value: string) => ({ type: 2, value }) as const;
const uriOf = (value: string) => ({ type: 6, value }) as const;
const email = (value: string) => ({ type: 1, value }) as const;

describe('a client certificate', () => {
  test('identifies the agent whose name it contains, regardless of case', async () => {
    const { asked, sidekey } = await gateway();
    expect((await asked(clients.issue(['OPS.acme.test']))).status).toBe(200);
    expect(await sidekey.audited(({ event }) => event === 'agent.signed_in')).toMatchObject({ agent: 'ops' });
  });

  test.each([
    ['of another CA', servers.issue(['spiffe://acme.test/ci']), 'is not accepted'],
    [
      'that has ended',
      clients.issue(['spiffe://acme.test/ci'], { notBefore: 0, notAfter: 1_000 }),
      'CERT_HAS_EXPIRED',
    ],
    [
      'with another name',
      clients.issue(['spiffe://acme.test/cid']),
      'has no name that proxy.tls.agents lists',
    ],
    [
      'with the names of two agents',
      clients.issue(['spiffe://acme.test/ci', 'ops.acme.test']),
      'of several agents',
    ],
  ])('%s identifies no agent, even together with a token', async (_, certificate, sentence) => {
    const { asked, seen } = await gateway();
    for (const fields of [[], [basic('ci:secret-of-ci')]]) {
      const answer = await asked(certificate, fields);
      expect([answer.status, answer.headers['sidekey-error']]).toEqual([407, 'agent_auth_required']);
      expect(answer.body).toContain(sentence);
    }
    expect(seen).toEqual([]);
  });

  const agents = { ci: 'spiffe://acme.test/ci', ops: 'ops.acme.test', box: '10.0.0.7' };
  test.each([
    ['the URI of an agent', [uriOf('spiffe://acme.test/ci')], 'ci'],
    ['the URI of an agent as a DNS name', [dns('spiffe://acme.test/ci')], null],
    ['the URI of an agent as an e-mail address', [email('spiffe://acme.test/ci')], null],
    ['the URI of an agent in another case', [uriOf('SPIFFE://acme.test/ci')], null],
    ['the URI of an agent and a slash', [uriOf('spiffe://acme.test/ci/')], null],
    ['the DNS name of an agent', [dns('ops.acme.test')], 'ops'],
    ['the DNS name of an agent in another case', [dns('OPS.Acme.test')], 'ops'],
    ['the DNS name of an agent as a URI', [uriOf('ops.acme.test')], null],
    ['the DNS name of an agent as an e-mail address', [email('ops.acme.test')], null],
    ['the DNS name of an agent with a dot at its end', [dns('ops.acme.test.')], null],
    ['a wildcard over the DNS name of an agent', [dns('*.acme.test')], null],
    ['an address whose text an agent has', ['10.0.0.7'], null],
    ['a DNS name in the form of that address', [dns('10.0.0.7')], 'box'],
    ['a DNS name that begins with a kind', [dns('URI:spiffe://acme.test/ci')], null],
    ['a URI that begins with a kind', [uriOf('DNS:ops.acme.test')], null],
    ['no name, and the common name of an agent', [dns('other.acme.test')], null],
    [
      'the URI of one agent, and the DNS name of another as a URI',
      [uriOf(agents.ci), uriOf(agents.ops)],
      'ci',
    ],
  ])('with %s identifies the agent only by a name of the right kind', async (_, names, agent) => {
    const { asked, sidekey, store } = await gateway({ tls: { agents } });
    await addAgent(store, 'box', 'secret-of-box');
    const answer = await asked(clients.issue(names, { commonName: 'ops.acme.test' }));
    expect(answer.status).toBe(agent === null ? 407 : 200);
    if (agent !== null)
      expect(await sidekey.audited(({ event }) => event === 'agent.signed_in')).toMatchObject({ agent });
  });

  test('is refused together with a token of a different agent', async () => {
    const { asked } = await gateway();
    expect((await asked(uri, [basic('ci:secret-of-ci')])).status).toBe(200);
    expect((await asked(uri, [basic('secret-of-ci')])).status).toBe(407);
    for (const fields of [[basic('ops:secret-of-ops')], ['Proxy-Authorization: Bearer secret-of-ops']])
      expect((await asked(uri, fields)).status).toBe(407);
    expect((await asked(uri, ['Proxy-Authorization: Bearer secret-of-ci'])).status).toBe(200);
  });

  test('is refused once its agent is disabled, even on an open connection', async () => {
    const { connect, store } = await gateway();
    const client = await connect(uri);
    const ask = async () => {
      client.send('GET http://sidekey.internal/ HTTP/1.1\r\nHost: sidekey.internal\r\n\r\n');
      return (await client.response()).status;
    };
    expect(await ask()).toBe(200);
    await store.agents.change('ci', { disabledAt: Date.now() });
    expect(await ask()).toBe(407);
  });

  test('that expires during an open connection is no longer accepted', async () => {
    const { connect, later } = await gateway();
    const client = await connect(uri);
    const ask = async () => {
      client.send('GET http://sidekey.internal/ HTTP/1.1\r\nHost: sidekey.internal\r\n\r\n');
      return client.response();
    };
    expect((await ask()).status).toBe(200);
    later(2 * 86_400_000);
    const refused = await ask();
    expect([refused.status, problemOf(refused).detail]).toEqual([
      407,
      expect.stringMatching(/^The client certificate of the agent ci ended at /),
    ]);
  });

  test('for an agent that does not exist is refused with the name of the agent', async () => {
    const { asked } = await gateway({ tls: { agents: { gone: 'spiffe://acme.test/ci' } } });
    const answer = await asked(uri);
    expect(answer.status).toBe(407);
    expect(answer.body).toContain('There is no agent gone, which proxy.tls.agents names.');
  });
});

describe('a load balancer', () => {
  test.each([
    ['without TLS', null],
    ['before TLS', {}],
  ])('provides the address of the client in its header, %s', async (_, tls) => {
    const { sidekey, connect } = await gateway({ tls, proxy: { proxy_protocol: ['127.0.0.1'] } });
    const client = tls === null ? await openClient(sidekey) : await connect({}, header);
    if (tls === null) client.send(header);
    client.send(
      `GET http://sidekey.internal/ HTTP/1.1\r\nHost: sidekey.internal\r\n${basic('ci:secret-of-ci')}\r\n\r\n`,
    );
    expect((await client.response()).status).toBe(200);
    expect(await sidekey.audited(({ event }) => event === 'agent.signed_in')).toMatchObject({
      client: '203.0.113.7:12345',
    });
  });

  test('gets no access without a token, even on this machine', async () => {
    const proxy = { authentication: 'optional', proxy_protocol: ['127.0.0.1'] };
    const { sidekey, upstream } = await gateway({ tls: null, proxy });
    for (const line of ['PROXY UNKNOWN\r\n', 'PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n']) {
      const client = await openClient(sidekey);
      client.send(`${line}CONNECT ${upstream.authority} HTTP/1.1\r\nHost: x\r\n\r\n`);
      expect((await client.response('CONNECT')).status).toBe(407);
    }
  });

  test('is refused if it sends no header', async () => {
    const { sidekey } = await gateway({ tls: null, proxy: { proxy_protocol: ['127.0.0.1'] } });
    const client = await openClient(sidekey);
    client.send('GET http://sidekey.internal/ HTTP/1.1\r\nHost: sidekey.internal\r\n\r\n');
    const answer = await client.response();
    expect([answer.status, problemOf(answer).detail]).toEqual([
      400,
      'A connection of a load balancer begins without a header of the PROXY protocol.',
    ]);
  });

  test('cannot state an address if it is not configured as a load balancer', async () => {
    const { sidekey } = await gateway({ tls: null, proxy: { proxy_protocol: ['10.0.0.0/8'] } });
    const client = await openClient(sidekey);
    client.send(`${header}GET http://sidekey.internal/ HTTP/1.1\r\nHost: sidekey.internal\r\n\r\n`);
    expect((await client.response()).status).toBe(400);
    expect(await sidekey.audited(({ event }) => event === 'denied')).toMatchObject({
      client: expect.stringMatching(/^127\.0\.0\.1:/),
    });
  });
});

describe('an agent that reached limits.agent_exchanges', () => {
  test('is refused another request until an exchange ends, while other agents are served', async () => {
    const held: (() => void)[] = [];
    const { sidekey, upstream } = await gateway({
      limits: { agent_exchanges: 2 },
      answer: (_, response) => void held.push(() => response.end('ok')),
    });
    const ask = async (agent: string) => {
      const fields = [basic(`${agent}:secret-of-${agent}`)];
      const client = await openTunnel(sidekey, upstream.authority, { fields });
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      return client;
    };
    const asked = [await ask('ci'), await ask('ci')];
    while (held.length < 2) await new Promise((resolve) => setImmediate(resolve));
    const refused = await (await ask('ci')).response();
    expect([refused.status, problemOf(refused)]).toMatchObject([
      503,
      { code: 'overloaded', detail: 'The agent ci has 2 requests under way already.' },
    ]);
    asked.push(await ask('ops'));
    while (held.length < 3) await new Promise((resolve) => setImmediate(resolve));
    held.splice(0).forEach((end) => end());
    for (const client of asked) expect((await client.response()).status).toBe(200);
    const later = await ask('ci');
    while (held.length < 1) await new Promise((resolve) => setImmediate(resolve));
    held[0]!();
    expect((await later.response()).status).toBe(200);
  });

  test('is refused a blind tunnel too', async () => {
    const { sidekey, upstream } = await gateway({ limits: { agent_exchanges: 1 }, domain: 'tunnel' });
    const open = async () => {
      const client = await openClient(sidekey);
      client.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: x\r\n${basic('ci:secret-of-ci')}\r\n\r\n`);
      return { client, status: (await client.response('CONNECT')).status };
    };
    const first = await open();
    expect([first.status, (await open()).status]).toEqual([200, 503]);
    first.client.socket.destroy();
    await sidekey.audited(({ event }) => event === 'tunnel');
    expect((await open()).status).toBe(200);
  });
});
