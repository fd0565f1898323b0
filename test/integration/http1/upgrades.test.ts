/** `Upgrade` to protocols besides WebSocket: forwarded where a rule lists them. */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { grantedRaw } from '../../support/granted.ts';
import { openClient, openTunnel } from '../../support/raw-client.ts';
import { bearerToken, startSidekey } from '../../support/sidekey.ts';
import { startRawPlainUpstream, startRawUpstream } from '../../support/upstream.ts';
import { neededUpgrades, offeredUpgrades } from './exchange-table.ts';

/** Answers a request with a 101 for its protocol, and then echoes; or with `answer`. */
async function started(rules: object | null, answer?: (head: string) => string) {
  const seen: string[] = [];
  const { upstream, sidekey } = await grantedRaw((socket: TLSSocket) => {
    let text = '';
    let isSwitched = false;
    socket.on('data', (piece: Buffer) => {
      if (isSwitched) {
        socket.write(`<${piece.toString('latin1')}>`);
        return;
      }
      text += piece.toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      const length = Number(/^content-length: ([0-9]+)/im.exec(text)?.[1] ?? 0);
      if (end < 0 || text.length < end + 4 + length) return;
      seen.push(text);
      const protocol = /^upgrade: ([^,\r]+)/im.exec(text)?.[1];
      isSwitched = answer === undefined && protocol !== undefined;
      socket.write(
        answer?.(text) ??
          (isSwitched
            ? `HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\nX-Kept: yes\r\n\r\nhello `
            : 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'),
      );
      text = '';
    });
  });
  const { authority } = upstream;
  const use = (more: object | null) =>
    sidekey.configure({ domains: { [authority]: { grant: 'acme', ...(more && { rules: more }) } } });
  if (rules !== null) await use(rules);
  const client = await openTunnel(sidekey, authority);
  const ask = (
    upgrade: string,
    {
      method = 'POST',
      path = '/exec',
      fields = '',
      body = undefined as string | undefined,
      behind = '',
    } = {},
  ) =>
    client.send(
      `${method} ${path} HTTP/1.1\r\nHost: ${authority}\r\nConnection: Upgrade\r\nUpgrade: ${upgrade}\r\n${fields}${
        body === undefined ? '' : `Content-Length: ${body.length}\r\n`
      }\r\n${body ?? ''}${behind}`,
    );
  return { upstream, sidekey, client, ask, seen, use, authority };
}

/** Switches to tcp, and answers with the input once that has ended. */
function outputAtEnd(socket: Socket): void {
  socket.allowHalfOpen = true;
  socket.once('data', () => {
    socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
    let text = '';
    socket.on('data', (piece: Buffer) => (text += piece.toString()));
    socket.on('end', () => setImmediate(() => socket.end(`got ${text}`)));
  });
}

describe.each(neededUpgrades)('$what: Upgrade: $upgrade', ({ upgrade, listed, ...how }) => {
  test('is forwarded with the credential, and then its bytes, where a rule lists it', async () => {
    const { sidekey, client, ask, seen } = await started([{ paths: ['/exec'], upgrades: listed }]);
    ask(upgrade, { ...how, behind: 'early' });
    const first = upgrade.split(', ').find((name) => !name.startsWith('TLS'))!;
    expect(await client.response()).toMatchObject({
      status: 101,
      headers: { connection: 'Upgrade', upgrade: first, 'x-kept': 'yes' },
    });
    expect(await client.until('<early>')).toBe('hello <early>');
    client.send('more');
    await client.until('<more>');
    client.socket.destroy();
    expect(seen).toHaveLength(1);
    expect(seen[0]).toContain(`\r\nAuthorization: Bearer ${bearerToken}\r\n`);
    expect(seen[0]).toContain(`\r\nUpgrade: ${upgrade.replace('TLS/1.2, ', '')}\r\nConnection: Upgrade\r\n`);
    expect(seen[0]!.endsWith(`\r\n\r\n${how.body ?? ''}`)).toBe(true);
    expect(await sidekey.audited(({ event }) => event === 'access')).toMatchObject({
      outcome: 'allow',
      path: '/exec',
    });
    expect(await sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({
      outcome: 'ok',
      status: 101,
      reason: `switched to ${first}`,
      bytes_in: (how.body ?? '').length + 9,
    });
  });

  test.each([
    ['without rules', null],
    ['by a rule that does not list it', [{ methods: ['GET', 'POST'] }]],
    ['by a rule that lists another', [{ upgrades: ['other'] }]],
  ])('is refused %s', async (_name, rules) => {
    const { sidekey, client, ask, seen } = await started(rules);
    ask(upgrade, how);
    const answer = await client.response();
    const named = upgrade.split(', ').find((name) => !name.startsWith('TLS'))!;
    expect(answer).toMatchObject({ status: 403, reason: 'upgrade_denied' });
    expect(JSON.parse(answer.body)).toMatchObject({
      detail: expect.stringContaining(`switch to the protocol ${named}.`) as string,
      hint: expect.stringContaining(`upgrades: [${named}]`) as string,
    });
    expect(seen).toEqual([]);
    expect(await sidekey.audited(({ event }) => event === 'denied')).toMatchObject({
      code: 'upgrade_denied',
    });
  });
});

test.each(offeredUpgrades)('%s is no upgrade: the request is forwarded without it', async (_what, fields) => {
  const { client, seen, authority } = await started([{ upgrades: ['tcp'] }]);
  for (let i = 0; i < 2; i += 1) {
    client.send(`POST / HTTP/1.1\r\nHost: ${authority}\r\n${fields}Content-Length: 2\r\n\r\nhi`);
    expect(await client.response()).toMatchObject({ status: 200, body: 'ok' });
  }
  expect(seen).toHaveLength(2);
  expect(seen[0]).not.toMatch(/upgrade|http2-settings/i);
});

describe('an upgrade', () => {
  test.each([
    ['409 Conflict', 'Content-Length: 4\r\n\r\nbusy', 'busy'],
    ['200 OK', 'Transfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n', 'busy'],
    ['404 Not Found', 'Content-Length: 0\r\n\r\n', ''],
  ])('that the server answers with %s is forwarded like any answer', async (line, rest, body) => {
    const { client, ask } = await started([{ upgrades: ['tcp'] }], () => `HTTP/1.1 ${line}\r\n${rest}`);
    ask('tcp', { body: '{}' });
    expect(await client.response()).toMatchObject({ status: Number(line.slice(0, 3)), body });
    expect(await client.ended()).toBe('');
  });

  test.each(['', 'Upgrade: other\r\n', 'Upgrade: websocket\r\n', 'Upgrade: tcp, other\r\n'])(
    'is not completed by a 101 with %j',
    async (field) => {
      const answer = () => `HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\n${field}\r\n`;
      const { client, ask } = await started([{ upgrades: ['tcp'] }], answer);
      ask('tcp');
      expect(await client.response()).toMatchObject({ status: 502, reason: 'upstream_protocol' });
    },
  );

  test('is judged by the other conditions, also about its body', async () => {
    const rules = [
      { paths: ['/exec'], json: { '$.Privileged': ['true'] }, outcome: 'deny' },
      { paths: ['/exec'], methods: ['POST'], upgrades: ['tcp'] },
    ];
    const { sidekey, authority, seen } = await started(rules);
    const statusOf = async (body: string, path = '/exec') => {
      const client = await openTunnel(sidekey, authority);
      client.send(
        `POST ${path} HTTP/1.1\r\nHost: ${authority}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n` +
          `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
      const { status, reason } = await client.response();
      client.socket.destroy();
      return `${status} ${reason}`;
    };
    expect(await statusOf('{"Privileged":true}')).toBe('403 rule_denied');
    expect(await statusOf('{"Privileged":false}', '/other')).toBe('403 rule_denied');
    expect(await statusOf('{"Privileged":false}')).toBe('101 Switching Protocols');
    expect(seen).toHaveLength(1);
  });

  test('is cut when an edit takes the protocol out of its rule', async () => {
    const { client, ask, use, sidekey } = await started([{ upgrades: ['tcp'] }]);
    ask('tcp');
    await client.response();
    await client.until('hello ');
    await use([{ upgrades: ['other'] }]);
    await client.ended();
    expect(await sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({
      outcome: 'aborted',
      code: 'upgrade_denied',
    });
  });

  test('has no body in chunks, and none beyond 64 KiB', async () => {
    for (const framing of ['Transfer-Encoding: chunked\r\n', 'Content-Length: 65537\r\n']) {
      const { client, ask, seen } = await started([{ upgrades: ['tcp'] }]);
      ask('tcp', { fields: framing });
      expect(await client.response()).toMatchObject({ status: 400, reason: 'bad_request' });
      expect(seen).toEqual([]);
    }
  });

  test('whose client leaves in its body ends', async () => {
    const { client, authority, sidekey } = await started([{ upgrades: ['tcp'] }]);
    client.send(
      `POST /exec HTTP/1.1\r\nHost: ${authority}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 9\r\n\r\nab`,
    );
    await sidekey.audited(({ event }) => event === 'access');
    client.socket.destroy();
    expect(await sidekey.audited(({ event }) => event === 'outcome')).toMatchObject({ code: 'bad_request' });
  });

  test('is forwarded to a host that is a tunnel', async () => {
    const upstream = await startRawPlainUpstream((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
        socket.on('data', (piece: Buffer) => socket.write(`<${piece.toString()}>`));
      });
    });
    const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
    const client = await openClient(sidekey);
    client.send(
      `POST ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`,
    );
    expect(await client.response()).toMatchObject({ status: 101 });
    client.send('x');
    await client.until('<x>');
  });

  test.each(['http', 'https'] as const)(
    'over %s passes the end of the input on, and then the output',
    async (scheme) => {
      const upstream = await (scheme === 'http'
        ? startRawPlainUpstream(outputAtEnd)
        : startRawUpstream(outputAtEnd));
      const { authority, url } = upstream;
      const sidekey = await startSidekey({
        domains: { [authority]: { grant: 'acme', allow_plain_http: true, rules: [{ upgrades: ['tcp'] }] } },
      });
      await sidekey.grant([authority]);
      const client = await (scheme === 'http' ? openClient(sidekey) : openTunnel(sidekey, authority));
      client.socket.allowHalfOpen = true;
      const target = scheme === 'http' ? `${url}/` : '/';
      client.send(
        `POST ${target} HTTP/1.1\r\nHost: ${authority}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`,
      );
      expect(await client.response()).toMatchObject({ status: 101 });
      client.send('input');
      client.socket.end();
      expect(await client.ended()).toBe('got input');
    },
  );
});
