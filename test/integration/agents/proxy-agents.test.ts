import { describe, expect, test } from 'vitest';
import { granted, grantedRaw, onHeads } from '../../support/granted.ts';
import { openClient, openTunnel, problemOf } from '../../support/raw-client.ts';
import { addAgent as insertAgent } from '../../support/rights.ts';
import { bearerToken, startSidekey, type TestSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

const token = 'agent-token-0123456789';
const addAgent = (sidekey: TestSidekey, name = 'robot', secret = token) =>
  insertAgent(sidekey.proxy.state.store, name, secret);
const basic = (userInfo: string) => `Proxy-Authorization: Basic ${Buffer.from(userInfo).toString('base64')}`;
const required = { config: { proxy: { listen: '127.0.0.1:0', authentication: 'required' } } };

describe('if agents are required', () => {
  test.each([
    ['nothing', []],
    ['a wrong token', [basic('robot:wrong')]],
    ['the name of another', [basic(`other:${token}`)]],
    ['only a name', [basic('robot')]],
    ['another scheme', ['Proxy-Authorization: Digest x']],
    ['two credentials', [basic(`robot:${token}`), basic(`robot:${token}`)]],
    ['only selectors', [basic('+grant=acme:')]],
  ])(
    'a caller that presents %s gets instructions to authenticate, at CONNECT and outside of a tunnel',
    async (_name, fields) => {
      const { upstream, sidekey } = await granted((_request, response) => response.end('ok'), required);
      await addAgent(sidekey);
      for (const line of [`CONNECT ${upstream.authority}`, `GET ${upstream.url}/`]) {
        const client = await openClient(sidekey);
        client.send(
          `${line} HTTP/1.1\r\nHost: ${upstream.authority}\r\n`,
          ...fields.map((it) => `${it}\r\n`),
          '\r\n',
        );
        const answer = await client.response();
        expect(answer).toMatchObject({ status: 407, reason: 'agent_auth_required' });
        expect(answer.headers['proxy-authenticate']).toMatch(/^Basic realm=/);
        expect(problemOf(answer).hint).toContain('sidekey agent create');
      }
      expect(upstream.connections()).toBe(0);
    },
  );

  test.each([
    ['Basic', basic(`robot:${token}`)],
    ['Basic without a name', basic(`:${token}`)],
    ['Bearer', `Proxy-Authorization: Bearer ${token}`],
  ])('a token is accepted as %s, and the audit log names the agent', async (_name, field) => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'), required);
    await addAgent(sidekey);
    const client = await openTunnel(sidekey, upstream.authority, { fields: [field] });
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200 });
    await expect(sidekey.audited((line) => line.event === 'access')).resolves.toMatchObject({
      agent: 'robot',
    });
    expect(JSON.stringify(await sidekey.audit())).not.toContain(token);
  });
});

describe('if agents are optional', () => {
  test('a loopback caller needs no token, but an invalid token is refused', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    await addAgent(sidekey);
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200 });
    await expect(openTunnel(sidekey, upstream.authority, { fields: [basic('robot:wrong')] })).rejects.toThrow(
      '407',
    );
  });

  test('the client address is recorded inside and outside of a tunnel', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200 });
    const access = await sidekey.audited((line) => line.event === 'access');
    expect(access.client).toBe(`127.0.0.1:${client.socket.localPort}`);
  });
});

const key = (value: string) => ({ credential: { type: 'api_key' as const, value } });

/** Two grants of one provider, for two users, and a domain that names the provider. */
async function several() {
  const seen: (string | undefined)[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(request.headers.authorization);
    response.end('ok');
  });
  const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
  await sidekey.grant([upstream.authority], { name: 'work', user: 'alice', ...key('alice-work-token') });
  await sidekey.grant([upstream.authority], { name: 'work', user: 'bob', ...key('bob-work-token') });
  await sidekey.grant([upstream.authority], { name: 'home', user: 'alice', ...key('alice-home-token') });
  for (const user of ['auth0|1', 'alice+home@acme.test'])
    await sidekey.grant([upstream.authority], { name: 'work', user, ...key(`token-of-${user}`) });
  const own = await sidekey.grant([upstream.authority], { name: 'own', ...key('own-token') });
  await sidekey.grant(['elsewhere.test'], {
    name: 'other',
    provider: 'elsewhere',
    ...key('elsewhere-token'),
  });
  return { upstream, sidekey, own, seen };
}

describe('a selector', () => {
  test.each([
    ['+grant with the only such grant', [basic('+grant=own:')], [], 'own-token'],
    ['+user in the user name', [basic('+user=bob:')], [], 'bob-work-token'],
    ['both', [basic('+grant=work+user=alice:')], [], 'alice-work-token'],
    ['+user with a user ID', [basic('+user=auth0|1+grant=work:')], [], 'token-of-auth0|1'],
    ['+user with a plus sign', [basic('+user=alice+home@acme.test:')], [], 'token-of-alice+home@acme.test'],
    ['+user escaped', [basic('+user=alice%2Bhome%40acme.test:')], [], 'token-of-alice+home@acme.test'],
    ['Sidekey-Grant', [], ['Sidekey-Grant: own'], 'own-token'],
    [
      'Sidekey-Grant over the user name',
      [basic('+grant=work+user=alice:')],
      ['Sidekey-Grant: home'],
      'alice-home-token',
    ],
  ])('chooses one grant: %s', async (_name, atConnect, inside, chosen) => {
    const { upstream, sidekey, seen } = await several();
    const client = await openTunnel(sidekey, upstream.authority, { fields: atConnect });
    client.send(
      `GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n`,
      ...inside.map((it) => `${it}\r\n`),
      '\r\n',
    );
    expect(await client.response()).toMatchObject({ status: 200 });
    expect(seen).toEqual([`Bearer ${chosen}`]);
  });

  test.each([
    ['more than one grant matches', [basic('+user=alice:')], [], 409, 'grant_ambiguous'],
    ['there is no such grant', [], ['Sidekey-Grant: none'], 403, 'grant_missing'],
    ['the grant belongs to another domain', [], ['Sidekey-Grant: other'], 403, 'grant_missing'],
    ['it is malformed', [], ['Sidekey-Grant: a b'], 400, 'bad_request'],
    ['there are two', [], ['Sidekey-Grant: home', 'Sidekey-Grant: work'], 400, 'bad_request'],
  ])('is refused if %s', async (_name, atConnect, inside, status, reason) => {
    const { upstream, sidekey, seen } = await several();
    const client = await openTunnel(sidekey, upstream.authority, { fields: atConnect });
    client.send(
      `GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n`,
      ...inside.map((it) => `${it}\r\n`),
      '\r\n',
    );
    const answer = await client.response();
    expect(answer).toMatchObject({ status, reason });
    if (reason === 'grant_ambiguous') {
      expect(problemOf(answer).detail).toMatch(/: home \(user alice\), work \(user alice\)\.$/);
      expect(problemOf(answer).hint).toContain('+grant=NAME');
    }
    expect(seen).toEqual([]);
  });

  test.each([
    ['of a caller without a token names a near grant', '+grant=owm:', '; did you mean own?'],
    [
      'of an agent names a near grant that it reaches',
      'robot+grant=owm:token-of-robot',
      '; did you mean own?',
    ],
    ['of an agent names no grant that it does not reach', 'robot+grant=hom:token-of-robot', '.'],
  ])('with a mistyped name %s', async (_name, words, end) => {
    const { upstream, sidekey, own } = await several();
    await insertAgent(sidekey.proxy.state.store, 'robot', 'token-of-robot', {
      bindings: [{ kind: 'grant', value: own.id }],
    });
    const client = await openTunnel(sidekey, upstream.authority, { fields: [basic(words)] });
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const { detail } = problemOf(await client.response());
    expect(detail).toMatch(/^There is no grant (?:hom|owm) among those of acme/);
    expect(detail.endsWith(end)).toBe(true);
    expect(detail.includes('did you mean')).toBe(end !== '.');
  });

  test('is never forwarded', async () => {
    const heads: string[] = [];
    const { upstream, sidekey } = await grantedRaw((socket) =>
      onHeads(socket, (head) => {
        heads.push(head);
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      }),
    );
    await addAgent(sidekey);
    const client = await openClient(sidekey);
    client.send(
      `GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n${basic(`robot+grant=acme:${token}`)}\r\n`,
      'Sidekey-Grant: acme\r\nSidekey-Reason: because\r\nProxy-Connection: keep-alive\r\n\r\n',
    );
    expect(await client.response()).toMatchObject({ status: 200 });
    expect(heads[0]).toContain(bearerToken);
    expect(heads[0]?.toLowerCase()).not.toMatch(/sidekey|proxy|because/);
  });
});
