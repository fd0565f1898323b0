/**
 * A caller without a token is served only if its connection belongs to the user of the proxy, however it
 * enters.
 */
import { describe, expect, test } from 'vitest';
import type { PeerOwner } from '../../src/lib/os.ts';
import { granted } from '../support/granted.ts';
import { openClient, openTunnel, problemOf, type RawClient } from '../support/raw-client.ts';
import { addAgent } from '../support/rights.ts';
import { startSidekey } from '../support/sidekey.ts';
import { allGrants } from '../support/all-grants.ts';

const secret = 'secret-of-robot';
const login = Buffer.from(`robot:${secret}`).toString('base64');

interface Target {
  readonly authority: string;
  readonly port: number;
  readonly withToken: boolean;
}

/** Sends a request head; returns whether it was served, or the code of its refusal. */
async function asked(client: RawClient, { withToken }: Target, ...lines: readonly string[]): Promise<string> {
  const fields = withToken ? [`Proxy-Authorization: Basic ${login}`] : [];
  client.send(`${[...lines, ...fields].join('\r\n')}\r\n\r\n`);
  const answer = await client.response(lines[0]?.split(' ')[0]);
  if (answer.status < 300) return 'served';
  if (answer.status === 407) expect(answer.headers['proxy-authenticate']).toMatch(/^Basic /);
  return answer.headers['sidekey-error'] ?? '';
}

const host = ({ authority }: Target) => `Host: ${authority}`;
const own = 'Host: sidekey.internal';

const bytes = (...all: (number | string)[]) =>
  Buffer.concat(all.map((each) => (typeof each === 'string' ? Buffer.from(each) : Buffer.of(each))));

/** All ways into the proxy. */
const entries: Readonly<Record<string, (client: RawClient, to: Target) => Promise<string>>> = {
  'CONNECT to a host with a credential': (client, to) =>
    asked(client, to, `CONNECT ${to.authority} HTTP/1.1`, host(to)),
  'CONNECT to a tunnelled host': (client, to) =>
    asked(client, to, `CONNECT 127.0.0.1:${to.port} HTTP/1.1`, `Host: 127.0.0.1:${to.port}`),
  'CONNECT to the proxy itself': (client, to) =>
    asked(client, to, 'CONNECT sidekey.internal:443 HTTP/1.1', 'Host: sidekey.internal:443'),
  'the absolute form': (client, to) => asked(client, to, `GET https://${to.authority}/ HTTP/1.1`, host(to)),
  'a base address': (client, to) =>
    asked(client, to, `GET /+/${to.authority}/ HTTP/1.1`, 'Host: 127.0.0.1:8377'),
  'the page of what may be called': (client, to) =>
    asked(client, to, 'GET http://sidekey.internal/ HTTP/1.1', own),
  'the list of proposals': (client, to) =>
    asked(client, to, 'GET http://sidekey.internal/proposals HTTP/1.1', own),
  SOCKS5: async (client, to) => {
    const [name = '', port = ''] = to.authority.split(':');
    const user = bytes(1, 5, 'robot', secret.length, secret);
    client.socket.write(
      Buffer.concat([
        bytes(5, 1, to.withToken ? 2 : 0),
        ...(to.withToken ? [user] : []),
        bytes(5, 1, 0, 3, name.length, name, Number(port) >> 8, Number(port) & 0xff),
      ]),
    );
    const greeting = to.withToken ? '\x05\x02\x01\x00' : '\x05\x00';
    const answer = await client.until(`${greeting}\x05\x00`).catch(() => client.received());
    // RFC 1928 §6: not allowed by the rules.
    if (answer.startsWith(`${greeting}\x05\x02`)) return 'caller_not_same_user';
    return answer.startsWith(`${greeting}\x05\x00`) ? 'served' : answer;
  },
};

interface Caller {
  readonly owner: PeerOwner;
  readonly withToken?: boolean;
  readonly local?: 'same_user' | 'any';
}

async function setUp({ owner, local = 'same_user' }: Caller) {
  const seen: (string | undefined)[] = [];
  let looks = 0;
  const { upstream, sidekey } = await granted(
    (request, response) => {
      seen.push(request.headers.authorization);
      response.end('ok');
    },
    {
      config: { proxy: { listen: '127.0.0.1:0', local_callers: local } },
      peerOwner: async () => {
        looks += 1;
        return owner;
      },
    },
  );
  const { port } = new URL(upstream.url);
  await sidekey.configure({
    domains: { [upstream.authority]: { grant: 'acme' }, [`127.0.0.1:${port}`]: 'tunnel' },
    proxy: { listen: '127.0.0.1:0', local_callers: local },
  });
  const [grant] = await allGrants(sidekey.proxy.state.store);
  await addAgent(sidekey.proxy.state.store, 'robot', secret, {
    bindings: [{ kind: 'grant', value: grant?.id ?? '' }],
  });
  return { upstream, sidekey, seen, looks: () => looks, port: Number(port) };
}

describe.each(Object.entries(entries))('%s', (_entry, enter) => {
  test.each<[string, Caller, boolean]>([
    ['without a token, of the same user', { owner: 'own' }, true],
    ['without a token, of another user', { owner: 'other' }, false],
    ['without a token, of a user that the system does not report', { owner: 'unknown' }, false],
    ['with a token, of another user', { owner: 'other', withToken: true }, true],
    ['with a token, of a user that is not reported', { owner: 'unknown', withToken: true }, true],
    ['without a token, of another user, with local_callers: any', { owner: 'other', local: 'any' }, true],
  ])('handles a caller %s: %#', async (_caller, caller, isServed) => {
    const { upstream, sidekey, seen, port } = await setUp(caller);
    const client = await openClient(sidekey);
    const to = { authority: upstream.authority, port, withToken: caller.withToken === true };
    expect(await enter(client, to)).toBe(isServed ? 'served' : 'caller_not_same_user');
    client.socket.destroy();
    if (isServed) return;
    expect(seen).toEqual([]);
    expect(await sidekey.audited(({ event }) => event === 'denied')).toMatchObject({
      code: 'caller_not_same_user',
    });
  });
});

test('the owner of a connection is looked up only once, and only for a caller without a token', async () => {
  const { upstream, sidekey, looks } = await setUp({ owner: 'own' });
  const request = `GET https://${upstream.authority}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n`;
  const client = await openClient(sidekey);
  client.send(`${request}Proxy-Authorization: Basic ${login}\r\n\r\n`);
  expect(await client.response()).toMatchObject({ status: 200 });
  expect(looks()).toBe(0);
  for (let i = 0; i < 3; i += 1) {
    client.send(`${request}\r\n`);
    expect(await client.response()).toMatchObject({ status: 200 });
  }
  expect(looks()).toBe(1);
  const tunnel = await openTunnel(sidekey, upstream.authority);
  for (let i = 0; i < 3; i += 1) {
    tunnel.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await tunnel.response()).toMatchObject({ status: 200 });
  }
  expect(looks()).toBe(2);
});

test('a refusal contains the next step for the user', async () => {
  const { sidekey } = await setUp({ owner: 'other' });
  const client = await openClient(sidekey);
  client.send('GET http://sidekey.internal/ HTTP/1.1\r\nHost: sidekey.internal\r\n\r\n');
  expect(problemOf(await client.response())).toMatchObject({
    detail: 'The caller runs as another user than the proxy, and shows no agent token.',
    hint: expect.stringMatching(/sidekey agent create NAME .* proxy\.local_callers: any/),
  });
});

test('an open tunnel of another user is cut when local_callers becomes same_user', async () => {
  const { sidekey, port } = await setUp({ owner: 'other', local: 'any' });
  const client = await openClient(sidekey);
  const to = { authority: '', port, withToken: false };
  expect(await entries['CONNECT to a tunnelled host']?.(client, to)).toBe('served');
  await sidekey.configure({
    domains: { [`127.0.0.1:${port}`]: 'tunnel' },
    proxy: { listen: '127.0.0.1:0', local_callers: 'same_user' },
  });
  expect(await client.ended()).toBe('');
});

test('a health check needs no token from any user', async () => {
  const sidekey = await startSidekey({ peerOwner: async () => 'other' });
  const client = await openClient(sidekey);
  client.send('GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
  expect(await client.response()).toMatchObject({ status: 200 });
});
