import { describe, expect, test } from 'vitest';
import { grantedRaw, onHeads } from '../../support/granted.ts';
import { openClient, openTunnel } from '../../support/raw-client.ts';
import { bearerToken } from '../../support/sidekey.ts';

/** An upstream that keeps the heads it gets, byte by byte, and answers with these bytes. */
async function recording(answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok') {
  const heads: string[] = [];
  const setup = await grantedRaw((socket) => {
    onHeads(socket, (head) => {
      heads.push(head);
      socket.write(answer, 'latin1');
    });
  });
  return { ...setup, heads };
}

describe('a forwarded request', () => {
  test('preserves the raw bytes of its path and query', async () => {
    const { upstream, sidekey, heads } = await recording();
    const client = await openTunnel(sidekey, upstream.authority);
    for (const path of [
      '/a/../b//c;%2f?x=%zz',
      '/%2e%2e/./x?a=b&a=%00#',
      '/?',
      '/~!$&\'()*+,;=:@"<>\\^`{|}',
    ]) {
      const sent = path.replace('#', '');
      client.send(`GET ${sent} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 200 });
      expect(heads.at(-1)?.split('\r\n')[0]).toBe(`GET ${sent} HTTP/1.1`);
    }
    const plain = await openClient(sidekey);
    plain.send(`GET ${upstream.url}/a/../b//c;%2f?x=%zz HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await plain.response()).toMatchObject({ status: 200 });
    expect(heads.at(-1)?.split('\r\n')[0]).toBe('GET /a/../b//c;%2f?x=%zz HTTP/1.1');
  });

  test('preserves order, case and repetition of its fields, with a new Host first', async () => {
    const { upstream, sidekey, heads } = await recording();
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      'GET / HTTP/1.1\r\n',
      'X-First: 1\r\n',
      `HOST: ${upstream.authority}\r\n`,
      'accept: */*\r\n',
      'ACCEPT: text/html\r\n',
      'x-Odd_Name~: a  b\r\n',
      'Cookie: a=1\r\n',
      'X-Latin: \xe9\r\n',
      'Cookie: b=2\r\n',
      'X-Empty:\r\n',
      '\r\n',
    );
    expect(await client.response()).toMatchObject({ status: 200 });
    expect(heads[0]).toBe(
      [
        'GET / HTTP/1.1',
        `Host: ${upstream.authority}`,
        `Authorization: Bearer ${bearerToken}`,
        'X-First: 1',
        'accept: */*',
        'ACCEPT: text/html',
        'x-Odd_Name~: a  b',
        'Cookie: a=1',
        'X-Latin: \xe9',
        'Cookie: b=2',
        'X-Empty: ',
        '',
        '',
      ].join('\r\n'),
    );
  });

  test('has the credential in place of the placeholder that the agent sent', async () => {
    const { upstream, sidekey, heads } = await recording();
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      `GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nA: 1\r\nauthorization: Bearer placeholder\r\nB: 2\r\n`,
      'Authorization: Basic cGxhY2Vob2xkZXI=\r\n\r\n',
    );
    expect(await client.response()).toMatchObject({ status: 200 });
    expect(heads[0]?.split('\r\n').slice(2, 5)).toEqual([
      'A: 1',
      `Authorization: Bearer ${bearerToken}`,
      'B: 2',
    ]);
    expect(heads[0]).not.toContain('laceholder');
    expect(heads[0]).not.toContain('cGxhY2');
  });

  test('omits hop-by-hop fields and fields for Sidekey', async () => {
    const { upstream, sidekey, heads } = await recording();
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      `GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n`,
      'Connection: keep-alive, X-Private\r\n',
      'X-Private: secret of this hop\r\n',
      'Keep-Alive: timeout=5\r\nTE: trailers\r\nProxy-Connection: keep-alive\r\n',
      'Proxy-Authorization: Basic OnNlY3JldA==\r\nProxy-Other: x\r\n',
      'Sidekey-Grant: acme\r\nSidekey-Reason: a test\r\nSIDEKEY-Other: x\r\n',
      'Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n',
      'X-Kept: yes\r\n\r\n',
    );
    expect(await client.response()).toMatchObject({ status: 200 });
    expect(heads[0]).toBe(
      [
        'GET / HTTP/1.1',
        `Host: ${upstream.authority}`,
        `Authorization: Bearer ${bearerToken}`,
        'X-Kept: yes',
        '',
        '',
      ].join('\r\n'),
    );
    await expect(sidekey.audited((line) => line.event === 'access')).resolves.toMatchObject({
      reason: 'a test',
    });
  });
});

describe('a forwarded response', () => {
  test('preserves order, case, repetition and reason phrase, without hop-by-hop fields', async () => {
    const { upstream, sidekey } = await recording(
      [
        'HTTP/1.1 299 Odd But \xdcsed',
        'Set-Cookie: a=1; Path=/',
        'date: Mon, 01 Jan 2001 00:00:00 GMT',
        'X-mIxEd: \xe9',
        'Set-Cookie: b=2',
        'Connection: keep-alive, X-Hop',
        'X-Hop: 1',
        'Keep-Alive: timeout=9',
        'Alt-Svc: h3=":443"',
        'Proxy-Authenticate: Basic',
        'Sidekey-Error: forged',
        'Content-Length: 2',
        '',
        'ok',
      ].join('\r\n'),
    );
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 299, body: 'ok' });
    // prettier-ignore
    expect(answer.rawHeaders).toEqual([
      'Set-Cookie', 'a=1; Path=/', 'date', 'Mon, 01 Jan 2001 00:00:00 GMT', 'X-mIxEd', '\xe9',
      'Set-Cookie', 'b=2', 'Content-Length', '2', 'Connection', 'keep-alive', 'Keep-Alive', 'timeout=300',
    ]);
  });

  test('has no Date and no reason phrase if the upstream did not send them', async () => {
    const { upstream, sidekey } = await recording('HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n');
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 200, reason: '' });
    expect(answer.headers['date']).toBeUndefined();
  });

  test('preserves the bytes of the reason phrase', async () => {
    const odd = Buffer.from('日本').toString('latin1');
    const { upstream, sidekey } = await recording(`HTTP/1.1 200 ${odd}\r\nContent-Length: 0\r\n\r\n`);
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 200, reason: odd });
  });
});
