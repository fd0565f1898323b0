/**
 * An upstream that ignores the body of a GET reads it as the beginning of the next request. On a connection
 * that is used again that next request is somebody else's: its head, credential and all, ends up behind
 * whatever the body began.
 */
import { describe, expect, test } from 'vitest';
import { granted, grantedRaw, onHeads, type Granted } from '../support/granted.ts';
import { openTunnel } from '../support/raw-client.ts';
import { addAgent } from '../support/rights.ts';
import { bearerToken } from '../support/sidekey.ts';

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const hidden = 'DELETE /hidden HTTP/1.1\r\nX-Swallowed: ';
const basic = (userInfo: string) => `Proxy-Authorization: Basic ${Buffer.from(userInfo).toString('base64')}`;

/** An upstream that takes no notice of bodies, and answers with what it takes for a head. */
async function ignoring(answer = ok): Promise<Granted & { readonly heads: string[] }> {
  const heads: string[] = [];
  const it = await grantedRaw((socket) => {
    onHeads(socket, (head) => {
      heads.push(head);
      if (!/^[A-Z]+ .* HTTP\/1\.1\r\n/.test(head)) return;
      socket.write(head.startsWith('HEAD') ? answer.slice(0, answer.indexOf('\r\n\r\n') + 4) : answer);
    });
  });
  return { ...it, heads };
}

const withBody = (method: string, authority: string, body: string) =>
  `${method} /front HTTP/1.1\r\nHost: ${authority}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

describe('an upstream that ignores bodies', () => {
  test.each(['GET', 'HEAD', 'OPTIONS', 'DELETE', 'PROPFIND', 'LIST'])(
    'gets no further request on a connection that carried a %s with a body',
    async (method) => {
      const { upstream, sidekey, heads } = await ignoring();
      const client = await openTunnel(sidekey, upstream.authority);
      client.send(withBody(method, upstream.authority, hidden));
      expect(await client.response(method)).toMatchObject({ status: 200 });
      client.send(`GET /next HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
      expect(heads.map((head) => head.split('\r\n', 1)[0])).toEqual([
        `${method} /front HTTP/1.1`,
        'GET /next HTTP/1.1',
      ]);
    },
  );

  test('gets no further request after a body in chunks either', async () => {
    const { upstream, sidekey } = await ignoring();
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      `GET /front HTTP/1.1\r\nHost: ${upstream.authority}\r\nTransfer-Encoding: chunked\r\n\r\n`,
      '5\r\nhello\r\n0\r\n\r\n',
    );
    await client.response();
    client.send(`GET /next HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await client.response();
    expect(upstream.connections()).toBe(2);
  });

  test('gets no further request after it refused a POST, whose body it may not have read', async () => {
    const { upstream, sidekey, heads } = await ignoring(
      'HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno',
    );
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(withBody('POST', upstream.authority, hidden));
    await client.response();
    client.send(`GET /next HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await client.response();
    expect(heads.at(-1)).toMatch(/^GET \/next /);
  });

  test('gets no further request if its response began before the body was complete', async () => {
    const heads: string[] = [];
    const { upstream, sidekey } = await grantedRaw((socket) => {
      onHeads(socket, (head) => {
        heads.push(head);
        if (head.startsWith('POST')) {
          socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no');
          socket.once('data', () => socket.write('k'));
        } else socket.write(ok);
      });
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      `POST /front HTTP/1.1\r\nHost: ${upstream.authority}\r\nContent-Length: ${hidden.length}\r\n\r\n`,
    );
    await client.until('\r\n\r\no');
    client.send(hidden);
    await client.response();
    client.send(`GET /next HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await client.response();
    expect(heads.at(-1)).toMatch(/^GET \/next /);
  });

  test('gets no further request after a final response to Expect: 100-continue, because it may not have read the body', async () => {
    const { upstream, client, heads } = await expecting(ok);
    client.send(`GET /next HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await client.response();
    expect(heads.at(-1)).toMatch(/^GET \/next /);
  });
});

test('reuses a connection after an expectation that was answered with 100', async () => {
  const { upstream, client } = await expecting(`HTTP/1.1 100 Continue\r\n\r\n${ok}`);
  client.send(`GET /next HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
  await client.response();
  expect(upstream.connections()).toBe(1);
});

/**
 * A POST that does not wait for its 100, to an upstream that answers it when its body has come and takes that
 * for a head.
 */
async function expecting(answer: string) {
  const heads: string[] = [];
  const it = await grantedRaw((socket) => {
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (text.endsWith(hidden)) socket.write(answer);
      else if (text.endsWith('\r\n\r\n') && text.includes('/next')) {
        heads.push(text.slice(Math.max(text.indexOf(hidden), 0)));
        socket.write(ok);
      }
    });
  });
  const client = await openTunnel(it.sidekey, it.upstream.authority);
  client.send(
    `POST /front HTTP/1.1\r\nHost: ${it.upstream.authority}\r\nExpect: 100-continue\r\n`,
    `Content-Length: ${hidden.length}\r\n\r\n${hidden}`,
  );
  expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
  return { ...it, client, heads };
}

test('reuses a connection after an answered POST and after a GET without a body', async () => {
  const { upstream, sidekey } = await granted((request, response) => {
    request.resume().on('end', () => response.end('ok'));
  });
  const client = await openTunnel(sidekey, upstream.authority);
  for (let i = 0; i < 2; i += 1) {
    client.send(withBody('POST', upstream.authority, 'hello'));
    await client.response();
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await client.response();
  }
  expect(upstream.connections()).toBe(1);
});

/** Two grants of one provider, for whoever names one of them. */
async function two() {
  const it = await grantedRaw((socket) => onHeads(socket, () => socket.write(ok)), {});
  await it.sidekey.grant([it.upstream.authority], {
    name: 'other',
    credential: { type: 'api_key', value: 'token-of-the-other-0123456789' },
  });
  return it;
}
const get = async ({ upstream, sidekey }: Granted, grant: string) => {
  const client = await openTunnel(sidekey, upstream.authority);
  client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nSidekey-Grant: ${grant}\r\n\r\n`);
  expect(await client.response()).toMatchObject({ status: 200 });
};

describe('an idle connection', () => {
  test('serves only the grant that it was used for', async () => {
    const it = await two();
    await get(it, 'acme');
    await get(it, 'acme');
    expect(it.upstream.connections()).toBe(1);
    await get(it, 'other');
    expect(it.upstream.connections()).toBe(2);
    await get(it, 'acme');
    await get(it, 'other');
    expect(it.upstream.connections()).toBe(2);
  });

  test('serves only the agent that it was used for, if the request carries no grant', async () => {
    const heads: string[] = [];
    const it = await grantedRaw((socket) =>
      onHeads(socket, (head) => {
        heads.push(head);
        socket.write(ok);
      }),
    );
    await it.sidekey.configure({
      domains: { [it.upstream.authority]: { grant: 'acme', rules: [{ outcome: 'tunnel' }] } },
    });
    for (const name of ['robot', 'other'])
      await addAgent(it.sidekey.proxy.state.store, name, `agent-token-of-${name}`);
    for (const name of ['robot', 'other', 'robot']) {
      const client = await openTunnel(it.sidekey, it.upstream.authority, {
        fields: [basic(`${name}:agent-token-of-${name}`)],
      });
      client.send(`GET / HTTP/1.1\r\nHost: ${it.upstream.authority}\r\n\r\n`);
      await client.response();
    }
    expect(heads.join('')).not.toContain(bearerToken);
    expect(it.upstream.connections()).toBe(2);
  });
});
