import { once } from 'node:events';
import { Agent } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import {
  certificateOf,
  clients,
  refusalBy,
  sidekeyOfBank,
  startCertificateUpstream,
  type CertificateUpstreamOptions,
} from '../../support/certificate-grants.ts';
import { makeTestAuthority } from '../../support/certificates.ts';
import { startCompanyProxy } from '../../support/company-proxy.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { ask, openSession } from '../../support/h2-client.ts';
import { openTls } from '../../support/raw-client.ts';
import { startUpstream, upstreamHost, upstreamLeaf } from '../../support/upstream.ts';
import type { TestSidekey } from '../../support/sidekey.ts';
import { allGrants } from '../../support/all-grants.ts';

/** An upstream that wants a certificate, and a proxy with a grant that has one. */
async function setup(options: CertificateUpstreamOptions = {}) {
  const upstream = await startCertificateUpstream(options);
  const sidekey = await sidekeyOfBank([upstream.authority]);
  const grant = await sidekey.grant([upstream.authority], {
    name: 'bank',
    provider: 'bank',
    credential: certificateOf('agents'),
  });
  return { upstream, sidekey, grant };
}

const replaceWith = async ({ proxy }: TestSidekey, id: string, name: string) => {
  const { grants } = proxy.state;
  const { grant, sealed } = (await grants.read(id))!;
  await grants.replaceCredential(grant, { ...sealed, credential: certificateOf(name) });
};

/** Each request on a connection of its own. */
const closing: CertificateUpstreamOptions['answer'] = (_request, response) => {
  response.setHeader('connection', 'close');
  response.end();
};

const versions = ['TLSv1.2', 'TLSv1.3'] as const;

describe.each(versions)('a server that requires a client certificate, with %s', (tls) => {
  test('gets the certificate of the grant over HTTP/1.1, on one connection for all requests', async () => {
    const { upstream, sidekey } = await setup({ tls });
    for (let round = 0; round < 3; round += 1)
      expect(await proxiedGet(sidekey.url, upstream.url)).toEqual({ status: 200, body: 'let in' });
    expect(upstream.seen).toEqual(
      Array.from(
        { length: 3 },
        () => expect.objectContaining({ who: 'agents', connection: 1, tls, http: '1.1' }) as unknown,
      ),
    );
  });

  test('gets the certificate over HTTP/2', async () => {
    const { upstream, sidekey } = await setup({ tls });
    const session = await openSession(sidekey, upstream.authority);
    const answers = await Promise.all([ask(session), ask(session), ask(session)]);
    expect(answers.map(({ status, body }) => `${status} ${body}`)).toEqual(Array(3).fill('200 let in'));
    expect(upstream.seen).toEqual(
      Array.from(
        { length: 3 },
        () => expect.objectContaining({ who: 'agents', connection: 1, tls, http: '2.0' }) as unknown,
      ),
    );
  });

  test('gets the certificate with the handshake of a WebSocket', async () => {
    const seen: (string | undefined)[] = [];
    const upstream = await startUpstream((_request, response) => response.end(), {
      ...upstreamLeaf(upstreamHost),
      ...({
        ca: clients.cert,
        requestCert: true,
        rejectUnauthorized: true,
        minVersion: tls,
        maxVersion: tls,
      } as object),
    });
    const server = new WebSocketServer({ server: upstream.server });
    onTestFinished(() => server.close());
    server.on('connection', (socket, request: IncomingMessage) => {
      seen.push((request.socket as TLSSocket).getPeerCertificate().subjectaltname);
      socket.on('message', (data) => socket.send(data));
    });
    const sidekey = await sidekeyOfBank([upstream.authority]);
    await sidekey.grant([upstream.authority], {
      name: 'bank',
      provider: 'bank',
      credential: certificateOf('agents'),
    });
    const tunnel = await openTls(sidekey, upstream.authority);
    const agent = new Agent();
    Object.assign(agent, { createConnection: () => tunnel });
    const socket = new WebSocket(`wss://${upstream.authority}/`, { agent });
    await once(socket, 'open');
    socket.send('hello');
    const [echoed] = (await once(socket, 'message')) as [Buffer];
    expect(echoed.toString()).toBe('hello');
    expect(seen).toEqual(['DNS:agents']);
    socket.close();
    await once(socket, 'close');
  });

  test.each(['HTTP/1.1', 'HTTP/2', 'WebSocket'])(
    'that closes the connection because of the certificate is reported with the possible causes, over %s',
    async (how) => {
      // Node verifies after the handshake, and says nothing of it.
      const { upstream, sidekey } = await setup({ tls, trusts: makeTestAuthority('Somebody else') });
      const refusal = await refusalBy(how, sidekey, upstream.authority);
      expect(refusal.status).toBe(502);
      expect(refusal.hint).toMatch(
        /^it may not take the client certificate of the grant: sidekey grant show GRANT/,
      );
      expect(upstream.seen).toEqual([]);
    },
  );

  test('can resume the TLS sessions of a certificate, but not after the certificate is replaced', async () => {
    const { upstream, sidekey, grant } = await setup({ tls, answer: closing });
    for (let round = 0; round < 2; round += 1) await proxiedGet(sidekey.url, upstream.url);
    await replaceWith(sidekey, grant.id, 'successors');
    for (let round = 0; round < 2; round += 1) await proxiedGet(sidekey.url, upstream.url);
    expect(upstream.seen.map(({ who, resumed }) => [who, resumed])).toEqual([
      ['agents', false],
      ['agents', true],
      ['successors', false],
      ['successors', true],
    ]);
  });
});

describe('the certificate of a grant', () => {
  test('is used only for requests of its grant, and an Authorization of the client is forwarded', async () => {
    const { upstream, sidekey } = await setup({ certificate: 'optional' });
    const headers = { authorization: 'Bearer of-the-client' };
    await proxiedGet(sidekey.url, `${upstream.url}/accounts`, headers);
    await proxiedGet(sidekey.url, `${upstream.url}/open/docs`, headers);
    await proxiedGet(sidekey.url, `${upstream.url}/accounts`, headers);
    expect(
      upstream.seen.map(({ path, who, connection, authorization }) => [path, who, connection, authorization]),
    ).toEqual([
      ['/accounts', 'agents', 1, 'Bearer of-the-client'],
      ['/open/docs', null, 2, 'Bearer of-the-client'],
      ['/accounts', 'agents', 1, 'Bearer of-the-client'],
    ]);
  });

  test('is no longer used after a revocation, and its idle connections are closed', async () => {
    const { upstream, sidekey, grant } = await setup();
    const session = await openSession(sidekey, upstream.authority);
    await Promise.all([proxiedGet(sidekey.url, upstream.url), ask(session)]);
    await upstream.open(2);
    const { grants } = sidekey.proxy.state;
    await grants.setState((await grants.read(grant.id))!.grant, 'revoked', 'a person took it away');
    expect(await proxiedGet(sidekey.url, upstream.url)).toMatchObject({ status: 403 });
    await upstream.open(0);
    expect(upstream.seen).toHaveLength(2);
  });

  test('has its idle connections closed after it is replaced', async () => {
    const { upstream, sidekey, grant } = await setup();
    await proxiedGet(sidekey.url, upstream.url);
    await upstream.open(1);
    await replaceWith(sidekey, grant.id, 'successors');
    await upstream.open(0);
    await proxiedGet(sidekey.url, upstream.url);
    expect(upstream.seen.map(({ who }) => who)).toEqual(['agents', 'successors']);
  });

  test('is refused before any dial if it has expired', async () => {
    const upstream = await startCertificateUpstream();
    const day = 86_400_000;
    const sidekey = await sidekeyOfBank([upstream.authority], { now: () => Date.now() + 2 * day });
    await sidekey.grant([upstream.authority], {
      name: 'bank',
      provider: 'bank',
      credential: certificateOf('agents'),
    });
    const answer = await proxiedGet(sidekey.url, upstream.url);
    expect(answer).toMatchObject({ status: 403 });
    expect(JSON.parse((answer as { body: string }).body)).toMatchObject({
      code: 'grant_expired',
      detail: 'The grant "bank" has expired: its certificate has ended.',
      hint: 'sidekey grant import bank --provider bank --replace < client.pem',
    });
    expect(upstream.connections()).toBe(0);
  });

  test('takes precedence over the certificate of the config, which other servers still get', async () => {
    const upstream = await startCertificateUpstream({ certificate: 'optional' });
    const ours = clients.issue(['everybody']);
    const sidekey = await sidekeyOfBank([upstream.authority]);
    await writeFile(join(sidekey.folder, 'client.crt'), ours.cert);
    await writeFile(join(sidekey.folder, 'client.key'), ours.key, { mode: 0o600 });
    await sidekey.configure({
      upstream: {
        ca: ['upstream-ca.pem'],
        resolve: { [upstreamHost]: '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
        client_certificates: { [upstream.authority]: { cert: 'client.crt', key: 'client.key' } },
      },
    });
    await sidekey.grant([upstream.authority], {
      name: 'bank',
      provider: 'bank',
      credential: certificateOf('agents'),
    });
    await proxiedGet(sidekey.url, `${upstream.url}/accounts`);
    await proxiedGet(sidekey.url, `${upstream.url}/open/docs`);
    expect(upstream.seen.map(({ who }) => who)).toEqual(['agents', 'everybody']);
  });

  test('is shown inside a tunnel of the company proxy, but not to that proxy', async () => {
    const upstream = await startCertificateUpstream();
    const company = await startCompanyProxy();
    const sidekey = await sidekeyOfBank([upstream.authority]);
    await sidekey.configure({
      upstream: {
        ca: ['upstream-ca.pem'],
        resolve: { [upstreamHost]: '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
        proxy: `http://127.0.0.1:${company.port}`,
      },
    });
    await sidekey.grant([upstream.authority], {
      name: 'bank',
      provider: 'bank',
      credential: certificateOf('agents'),
    });
    const session = await openSession(sidekey, upstream.authority);
    await Promise.all([proxiedGet(sidekey.url, upstream.url), ask(session)]);
    expect(upstream.seen.map(({ who }) => who)).toEqual(['agents', 'agents']);
  });

  test('is not used when a client only opens a tunnel, which then gets HTTP/1.1', async () => {
    const { upstream, sidekey } = await setup({ certificate: 'optional' });
    const socket = await openTls(sidekey, upstream.authority, { protocols: ['h2', 'http/1.1'] });
    onTestFinished(() => void socket.destroy());
    expect(socket.alpnProtocol).toBe('http/1.1');
    expect(upstream.connections()).toBe(0);
  });

  test('is named in the audit file by its fingerprint, and its key appears nowhere', async () => {
    const { upstream, sidekey } = await setup({ trusts: makeTestAuthority('Somebody else') });
    await proxiedGet(sidekey.url, upstream.url);
    await sidekey.audited(({ event }) => event === 'outcome' || event === 'denied');
    const { sealed } = (await sidekey.proxy.state.grants.open(
      (await allGrants(sidekey.proxy.state.store))[0]!.id,
    ))!;
    const lines = (sealed.credential as { privateKey: string }).privateKey
      .split('\n')
      .filter((line) => line.length > 20);
    const written = sidekey.logged() + JSON.stringify(await sidekey.audit());
    expect(lines.length).toBeGreaterThan(10);
    for (const line of lines) expect(written).not.toContain(line);
    const access = (await sidekey.audit()).find(({ event }) => event === 'access');
    expect(access).toMatchObject({ provider: 'bank' });
  });
});
