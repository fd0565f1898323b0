/**
 * Tokens in audit lines, logs, crash output and world-readable files, each time from a place that nobody had
 * thought of. So here every secret is random, is sent through every input of the program, and is then looked
 * for in every byte that the program wrote, in every form in which it could stand there. What was sent
 * upstream is not the program's writing, and neither are the answers that it passes on.
 */
import { expect, test } from 'vitest';
import { markedHome, portsOf, requestText, sendAndRead, recordReceived } from '../support/marked-home.ts';
import { createMarks, filesBelow } from '../support/marks.ts';
import { openClient, openTunnel } from '../support/raw-client.ts';
import { startUpstream } from '../support/upstream.ts';

const basic = (words: string) => `Basic ${Buffer.from(words).toString('base64')}`;

test('the search finds a secret, or a long piece of it, in every encoding', async () => {
  const marks = createMarks();
  const secret = marks.password('it');
  const piece = marks.mark('piece');
  const forms = [
    secret,
    `"${JSON.stringify({ a: { b: secret } })}"`,
    encodeURIComponent(secret),
    encodeURIComponent(encodeURIComponent(secret)),
    new URLSearchParams({ secret }).toString(),
    Buffer.from(secret).toString('hex'),
    Buffer.from(secret).toString('base64'),
    Buffer.from(`:${secret}`).toString('base64'),
    Buffer.from(`a:${secret}`).toString('base64'),
    Buffer.from(`ab:${secret}`).toString('base64url'),
    Array.from(secret, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`).join(''),
    Array.from(secret, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`).join(''),
    Buffer.from(secret, 'utf16le').toString('latin1'),
    secret.slice(5, 30),
  ];
  for (const form of forms) expect(marks.findIn(Buffer.from(`x${form}y`)), form).not.toEqual([]);
  expect(marks.findIn(Buffer.from(piece.slice(7, 7 + 15)))).toEqual(['piece (as it is)']);
  expect(marks.findIn(Buffer.from(createMarks().mark('other')))).toEqual([]);
});

test('the program writes no secret from any part of an agent request', async () => {
  const seen = recordReceived();
  const upstream = await startUpstream((request, response) => {
    requestText(request).then(
      (all) => {
        seen.saw(all);
        response.end('fine');
      },
      // Some of these requests are malformed in their body, and cut.
      () => response.destroy(),
    );
  });
  const bot = await startUpstream((request, response) => {
    seen.saw(request.url ?? '');
    response.end();
  });
  const open = await startUpstream((_request, response) => response.end());
  const at = await markedHome({
    domains: {
      [upstream.authority]: { grant: 'acme' },
      [bot.authority]: { grant: 'bot' },
      [open.authority]: 'tunnel',
    },
    providers: {
      acme: { audience: [upstream.authority] },
      bot: { audience: [bot.authority], inject: { path: ['/bot'] } },
    },
  });
  const { mark, token, password } = at.marks;
  const key = token('the key');
  const botKey = `123:${mark('the key in the path')}`;
  await at.grant('acme', { type: 'api_key', value: key });
  await at.grant('bot', { type: 'api_key', value: botKey }, ['--provider', 'bot']);
  // It prints the token once, for the person to keep: that is what it is for.
  const agent = (await at.json(['agent', 'create', 'ci', '--everything'])) as { token: string };
  const running = await at.start();
  const ports = await portsOf(running);
  const inside = async (authority: string, head: string, body = '', fields: readonly string[] = []) =>
    sendAndRead(
      await openTunnel(ports, authority, { fields }),
      `${head}\r\nHost: ${authority}\r\nConnection: close\r\n\r\n${body}`,
    );

  // What is passed on.
  const [cookie, field, query, body, trailer] = ['cookie', 'field', 'query', 'body', 'trailer'].map(mark);
  const good = await inside(
    upstream.authority,
    [
      `POST /items?key=${query}&${mark('name in the query')}=1 HTTP/1.1`,
      `Authorization: Bearer ${token('placeholder')}`,
      `Cookie: session=${cookie}`,
      `X-${mark('name of a field')}: 1`,
      `X-Key: ${field}`,
      `Referer: https://user:${password('user info').replace(/[^\w]/g, '')}@example.com/?${mark('referer')}`,
      'Transfer-Encoding: chunked',
    ].join('\r\n'),
    `20\r\n${body}\r\n0\r\nX-Checksum: ${trailer}\r\n\r\n`,
  );
  expect(good).toContain('200 OK');
  expect(seen.missed(cookie!, field!, query!, body!, key)).toEqual([]);
  await inside(
    bot.authority,
    `GET /bot${mark('in the place of the key')}/getMe?q=${mark('query of a bot')} HTTP/1.1`,
  );
  expect(seen.missed(botKey)).toEqual([]);

  // What is refused.
  const refused: readonly (readonly [head: string, body?: string])[] = [
    [`GET /%zz?${mark('query of a bad target')} HTTP/1.1\r\nX: \u0001${mark('control byte')}`],
    [`GET /#${mark('fragment')} HTTP/1.1`],
    [`GET https://user:${mark('user info of a target')}@${upstream.authority}/ HTTP/1.1`],
    [`GET https://${mark('another host')}.test/ HTTP/1.1`],
    [`GET / HTTP/${mark('version')}`],
    [`${mark('method')} / HTTP/1.1`],
    [`GET / HTTP/1.1\r\n${mark('line without a colon')}`],
    [`GET / HTTP/1.1\r\nX Y${mark('blank in a name')}: 1`],
    [`GET / HTTP/1.1\r\nX: 1\r\n ${mark('folded line')}`],
    [`GET / HTTP/1.1\r\nHost: ${mark('second host')}`],
    [`GET / HTTP/1.1\r\nContent-Length: ${mark('length')}`],
    [`GET / HTTP/1.1\r\nTransfer-Encoding: ${mark('coding')}`],
    [`POST / HTTP/1.1\r\nTransfer-Encoding: chunked`, `${mark('size of a chunk')}\r\n`],
    [
      `POST / HTTP/1.1\r\nTransfer-Encoding: chunked`,
      `1;${mark('extension of a chunk')}\r\nxx${mark('rest')}`,
    ],
    [`GET / HTTP/1.1\r\nSidekey-Grant: ${mark('grant')}`],
    [`GET / HTTP/1.1\r\nSidekey-Grant: no name: ${mark('bad grant')}`],
    [`GET / HTTP/1.1\r\nSidekey-${mark('unknown field of ours')}: ${mark('value of it')}`],
    [`GET / HTTP/1.1\r\nProxy-Authorization: ${basic(`ci:${mark('inner proxy token')}`)}`],
    [`TRACE /?${mark('query of a trace')} HTTP/1.1`],
    [`GET / HTTP/1.1\r\nUpgrade: ${mark('protocol')}\r\nConnection: upgrade`],
    [`GET / HTTP/1.1\r\nExpect: ${mark('expectation')}`],
    [`GET / HTTP/1.1\r\nX: ${mark('too long').repeat(4_000)}`],
  ];
  for (const [head, more] of refused) await inside(upstream.authority, head, more);
  // In the place of the key, where nobody has come to look for one yet.
  await inside(
    bot.authority,
    `POST /bot${mark('key of a request framed in two ways')}/a HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked`,
  );
  await inside(
    bot.authority,
    `GET /bot${mark('key of a request with a bad grant')}/a HTTP/1.1\r\nSidekey-Grant: no name`,
  );
  await sendAndRead(await openTunnel(ports, upstream.authority), `${mark('no HTTP')}\r\n\r\n`);
  await sendAndRead(await openTunnel(ports, upstream.authority), `\u0016\u0003\u0001${mark('TLS in TLS')}`);

  // Who they say they are.
  const wrong = mark('wrong token');
  const authorizations = [
    basic(`ci:${wrong}`),
    basic(`nobody:${wrong}`),
    basic(`${mark('token in the place of the name')}:`),
    basic(mark('no colon')),
    basic(`ci+grant=${mark('selected grant')}:${agent.token}`),
    basic(`ci+user=${mark('selected user')}:${agent.token}`),
    basic(`ci+${mark('selector')}=x:${agent.token}`),
    basic(`+grant=${mark('selected grant without a token')}:`),
    `Basic ${mark('no base64')}!`,
    mark('no scheme'),
    `${mark('scheme')} ${mark('credentials')}`,
    `Bearer ${mark('bearer')}`,
    `Digest username="ci", response="${mark('digest')}"`,
  ];
  for (const value of authorizations) {
    const field = `Proxy-Authorization: ${value}\r\n`;
    const { authority } = upstream;
    await sendAndRead(
      await openClient(ports),
      `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${field}\r\n`,
    );
    await sendAndRead(
      await openClient(ports),
      `GET ${upstream.url}/?${query} HTTP/1.1\r\nHost: ${authority}\r\nConnection: close\r\n${field}\r\n`,
    );
  }
  const outside = [
    `CONNECT user:${mark('user info of a CONNECT')}@${upstream.authority} HTTP/1.1`,
    `CONNECT ${mark('no authority')} HTTP/1.1`,
    `CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${mark('host of a CONNECT')}`,
    `CONNECT ${upstream.authority} HTTP/1.1\r\nX: ${mark('field of a CONNECT')}\r\nX ${mark('bad one')}`,
    `GET https://${bot.authority}/bot${mark('key of a wrong token')}/a HTTP/1.1\r\nProxy-Authorization: Bearer x`,
    `GET http://bots.test/bot${mark('key for a host that is not listed')}/a HTTP/1.1`,
    `GET http://${bot.authority}//%62ot${mark('key in the clear, oddly written')}/a HTTP/1.1`,
    `GET /${mark('path of the proxy itself')}?${mark('query of it')} HTTP/1.1`,
    `GET ${mark('no target')} HTTP/1.1`,
    `GET ftp://x/${mark('target of another scheme')} HTTP/1.1`,
    mark('no request'),
  ];
  for (const head of outside) await sendAndRead(await openClient(ports), `${head}\r\nHost: x\r\n\r\n`);
  // A blind tunnel is not looked into, and what is said in one is nobody's business.
  const blind = await openClient(ports);
  blind.send(`CONNECT ${open.authority} HTTP/1.1\r\nHost: ${open.authority}\r\n\r\n`);
  await blind.response('CONNECT');
  await sendAndRead(blind, `${mark('blind tunnel')}\r\n\r\n`);

  // What the audit file is for: why, and where to. A secret does not belong there, and nobody can tell.
  const reason = mark('reason');
  const path = mark('path');
  await inside(upstream.authority, `GET /${path} HTTP/1.1\r\nSidekey-Reason: ${reason}`);

  const ended = at.keep('sidekey start', await running.stop());
  expect(ended.exit).toBe(0);
  expect(ended.stderr).not.toBe('');
  const written = await at.leaks();
  expect(written.toSorted()).toEqual([
    'path (as it is) in data/audit.jsonl',
    'reason (as it is) in data/audit.jsonl',
  ]);
  // The key of an agent is kept as a hash.
  const files = [...(await filesBelow(at.folder)).values()];
  expect(files.some((bytes) => bytes.includes(agent.token.slice(-20)))).toBe(false);
  expect(await at.looked()).toBeGreaterThan(50_000);
  expect(at.marks.size()).toBeGreaterThan(50);
}, 60_000);
