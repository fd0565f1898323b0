/** A request that names a grant gets the credential of that grant, or a refusal. */
import { describe, expect, test } from 'vitest';
import { openSession, request, answerOf } from '../support/h2-client.ts';
import { openClient, openTunnel, problemOf } from '../support/raw-client.ts';
import { callers, startProposing } from '../support/proposing.ts';
import { bearerToken, startSidekey, type SidekeyOptions } from '../support/sidekey.ts';
import { startRawPlainUpstream, startUpstream } from '../support/upstream.ts';
import { basic, firstRequest, socksWays, unclearHeads, ways } from './named-grant-cases.ts';

const unmatched = { proxy: { listen: '127.0.0.1:0', unmatched: 'tunnel' } };

/** A proxy that tunnels unlisted hosts, with a grant for another host. */
async function setUp(actionOf: (authority: string) => SidekeyOptions['domains'] = () => ({})) {
  const seen: (string | undefined)[] = [];
  const upstream = await startUpstream((received, response) => {
    seen.push(received.headers.authorization);
    response.end('ok');
  });
  const domains = { 'other.acme.test': { grant: 'acme' }, ...actionOf(upstream.authority) };
  const sidekey = await startSidekey({ domains, config: unmatched });
  await sidekey.grant([upstream.authority, 'other.acme.test']);
  return { upstream, sidekey, seen };
}

const places = [
  [
    'an unlisted host',
    () => ({}),
    { acme: 'sidekey domain allow', NOSUCH: 'sidekey connect PROVIDER --name NOSUCH' },
  ],
  [
    'a host that is a tunnel',
    (authority: string) => ({ [authority]: 'tunnel' }),
    { acme: 'change ', NOSUCH: 'change ' },
  ],
] as const;
const named = places.flatMap(([place, actionOf, hint]) =>
  ways.map(([way, bytes]) => [place, way, { bytes, actionOf, hint }] as const),
);

describe('a request to a host without a credential', () => {
  test.each(named)(
    'is refused at %s if %s names a grant',
    async (_place, _way, { bytes, actionOf, hint }) => {
      const { upstream, sidekey, seen } = await setUp(actionOf);
      for (const [grant, words] of Object.entries(hint)) {
        const client = await openClient(sidekey);
        client.send(bytes(upstream.authority, grant));
        expect(await client.until('\r\n')).toContain(' 403 ');
        const answer = await client.response();
        expect(answer).toMatchObject({ reason: 'grant_missing' });
        expect(problemOf(answer).detail).toContain(grant);
        expect(problemOf(answer).hint).toContain(words);
      }
      expect([seen, upstream.connections()]).toEqual([[], 0]);
      expect(await sidekey.audited((line) => line.event === 'denied')).toMatchObject({
        code: 'grant_missing',
      });
    },
  );

  test.each(socksWays)('is refused if %s names a grant', async (_way, bytes) => {
    const { upstream, sidekey } = await setUp();
    const client = await openClient(sidekey);
    client.socket.write(bytes(Number(upstream.authority.split(':')[1])));
    expect(await sidekey.audited((line) => line.event === 'denied')).toMatchObject({ code: 'grant_missing' });
    expect(upstream.connections()).toBe(0);
  });

  test.each(unclearHeads)('is refused if the first request in a tunnel has %s', async (_how, ...lines) => {
    const { upstream, sidekey } = await setUp();
    const client = await openClient(sidekey);
    const port = Number(upstream.authority.split(':')[1]);
    client.socket.write(firstRequest(port, 'GET / HTTP/1.1', `Host: api.acme.test:${port}`, ...lines));
    expect(await sidekey.audited((line) => line.event === 'denied')).toMatchObject({ code: 'bad_request' });
    expect(upstream.connections()).toBe(0);
  });

  test('is forwarded in a tunnel if only its body looks like a named grant', async () => {
    const upstream = await startRawPlainUpstream((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 204 OK\r\n\r\n'));
    });
    const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
    const client = await openClient(sidekey);
    const port = Number(upstream.authority.split(':')[1]);
    const body = '\r\nSidekey-Grant: acme\r\nHost: other.test\r\n';
    client.socket.write(
      Buffer.concat([
        firstRequest(
          port,
          'POST / HTTP/1.1',
          `Host: ${upstream.authority}`,
          `Content-Length: ${body.length}`,
        ),
        Buffer.from(body),
      ]),
    );
    await client.until('204 OK');
  });

  test('is forwarded if it names no grant', async () => {
    const { upstream, sidekey, seen } = await setUp();
    const client = await openClient(sidekey);
    client.send(`GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200 });
    expect(seen).toEqual([undefined]);
  });
});

describe('a request to a host of an accepted proposal', () => {
  test('is refused if it names a grant, and does not use up the proposal', async () => {
    const { sidekey, upstream, seen, command } = await startProposing();
    const who = basic(callers.ci);
    const own = await openClient(sidekey);
    const body = JSON.stringify({ domain: { host: upstream.authority, action: 'tunnel' }, reason: 'x' });
    own.send(
      `POST http://sidekey.internal/proposals HTTP/1.1\r\nHost: sidekey.internal\r\n${who}\r\n`,
      `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    const { id } = JSON.parse((await own.response()).body) as { readonly id: string };
    await command('proposal', 'accept', id);
    const ask = async (...fields: readonly string[]) => {
      const client = await openClient(sidekey);
      client.send(
        [`GET ${upstream.url}/ HTTP/1.1`, `Host: ${upstream.authority}`, who, ...fields, '', ''].join('\r\n'),
      );
      return client.response();
    };
    expect(await ask('Sidekey-Grant: acme')).toMatchObject({ status: 403, reason: 'grant_missing' });
    const tunnel = openTunnel(sidekey, upstream.authority, { fields: [who, 'Sidekey-Grant: acme'] });
    await expect(tunnel).rejects.toThrow('403');
    expect(seen).toEqual([]);
    expect(await ask()).toMatchObject({ status: 200 });
    expect(seen).toEqual(['/ -']);
  });
});

describe('a request that a rule sends without a credential', () => {
  const open = { rules: [{ paths: ['/open'], outcome: 'tunnel' }], default: 'allow' };
  const ruled = (authority: string) => ({ [authority]: { grant: 'acme', ...open } });

  test('is refused if it names a grant, over HTTP/1.1 and HTTP/2', async () => {
    const { upstream, sidekey, seen } = await setUp(ruled);
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET /open HTTP/1.1\r\nHost: ${upstream.authority}\r\nSidekey-Grant: acme\r\n\r\n`);
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 403, reason: 'grant_missing' });
    expect(problemOf(answer).hint).toMatch(/^change domains\S+rules/);
    const session = await openSession(sidekey, upstream.authority);
    const refused = await answerOf(request(session, { ':path': '/open', 'sidekey-grant': 'acme' }));
    expect(refused).toMatchObject({ status: 403, headers: { 'sidekey-error': 'grant_missing' } });
    expect(seen).toEqual([]);
    expect(await answerOf(request(session, { ':path': '/open' }))).toMatchObject({ status: 200 });
    expect(await answerOf(request(session, { ':path': '/', 'sidekey-grant': 'acme' }))).toMatchObject({
      status: 200,
    });
    expect(seen).toEqual([undefined, `Bearer ${bearerToken}`]);
  });
});

describe('a grant that a CONNECT names', () => {
  test.each([
    ['is used in the tunnel', 'second', [], 200, 'Bearer of-the-second'],
    ['is replaced by that of a request', 'second', ['Sidekey-Grant: acme'], 200, `Bearer ${bearerToken}`],
    ['is not replaced by another one if it does not exist', 'none', [], 403, undefined],
  ])('%s', async (_what, grant, fields, status, authorization) => {
    const { upstream, sidekey, seen } = await setUp((authority) => ({ [authority]: { grant: 'acme' } }));
    await sidekey.grant([upstream.authority], {
      name: 'second',
      credential: { type: 'api_key', value: 'of-the-second' },
    });
    const client = await openTunnel(sidekey, upstream.authority, { fields: [`Sidekey-Grant: ${grant}`] });
    client.send(['GET / HTTP/1.1', `Host: ${upstream.authority}`, ...fields, '', ''].join('\r\n'));
    expect(await client.response()).toMatchObject({ status });
    expect(seen).toEqual(authorization === undefined ? [] : [authorization]);
  });

  test.each([[['a b']], [['work', 'home']]])('must be one name: %j', async (grants) => {
    const { upstream, sidekey } = await setUp();
    const fields = grants.map((grant) => `Sidekey-Grant: ${grant}`);
    await expect(openTunnel(sidekey, upstream.authority, { fields })).rejects.toThrow('400');
  });
});
