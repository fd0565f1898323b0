/** See marked-secrets.test.ts: here for what others answer, who like to quote what they were sent. */
import type { RequestListener, ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { markedHome, runStateCommands, portsOf, requestText, sendAndRead } from '../support/marked-home.ts';
import { openTunnel } from '../support/raw-client.ts';
import { startRawUpstream, startUpstream } from '../support/upstream.ts';

const notAsked = (): never => {
  throw new Error('Nothing was asked for yet.');
};

const json = (status: number, value: object, message?: string) => (response: ServerResponse) =>
  response
    .writeHead(status, ...(message === undefined ? [] : [message]), {
      'content-type': 'application/json',
    })
    .end(JSON.stringify(value));

test('the program writes no secret from an upstream response, valid or not', async () => {
  let answer: RequestListener = notAsked;
  const upstream = await startUpstream((request, response) => answer(request, response));
  let badly: (head: string) => string = notAsked;
  const broken = await startRawUpstream((socket) => {
    let head = '';
    socket.on('data', (chunk) => {
      head += chunk.toString('latin1');
      if (head.includes('\r\n\r\n')) socket.end(badly(head), 'latin1');
    });
  });
  const at = await markedHome({
    // The client is to get what they say, so that one sees that they have said it.
    domains: {
      [upstream.authority]: { grant: 'acme', leak_guard: 'off' },
      [broken.authority]: { grant: 'acme', leak_guard: 'off' },
    },
    providers: { acme: { audience: [upstream.authority, broken.authority] } },
  });
  const { mark, token } = at.marks;
  const key = token('the key');
  await at.grant('acme', { type: 'api_key', value: key });
  const running = await at.start();
  const ports = await portsOf(running);
  const ask = async (authority: string, fields = '') =>
    sendAndRead(
      await openTunnel(ports, authority),
      `GET /a?b=c HTTP/1.1\r\nHost: ${authority}\r\n${fields}Connection: close\r\n\r\n`,
    );

  const own = mark('of upstream');
  const answers: readonly ((response: ServerResponse, given: string) => void)[] = [
    (response, given) => response.writeHead(200, given.replaceAll('~', ''), { 'X-Echo': given }).end(given),
    (response, given) =>
      response.writeHead(401, { 'WWW-Authenticate': `Bearer error_description="${given}"` }).end(given),
    (response, given) => response.writeHead(302, { Location: `https://x.test/?t=${given}` }).end(),
    (response, given) => response.writeHead(500, { 'Set-Cookie': `t=${given}${own}` }).end(`${given}${own}`),
    (response, given) => {
      response.writeHead(200, { 'Content-Length': '1000' });
      response.write(given, () => response.destroy());
    },
    (response, given) => {
      response.writeHead(200, { Trailer: 'X-Echo' });
      response.write(given);
      response.addTrailers({ 'X-Echo': given });
      response.end();
    },
  ];
  for (const each of answers) {
    answer = (request, response) => each(response, request.headers.authorization ?? '');
    expect(await ask(upstream.authority)).toContain(key);
  }

  const wrongs: readonly ((given: string) => string)[] = [
    (given) => `HTTP/1.1 ${given}\r\n\r\n`,
    (given) => `${given}\r\n\r\n`,
    (given) => `HTTP/1.1 200 OK\r\n${given}\r\n\r\n`,
    (given) => `HTTP/1.1 200 OK\r\nX Y${given}: 1\r\n\r\n`,
    (given) => `HTTP/1.1 200 OK\r\nX: \u0000${given}\r\n\r\n`,
    (given) => `HTTP/1.1 200 OK\r\nContent-Length: ${given}\r\n\r\n`,
    (given) => `HTTP/1.1 200 OK\r\nTransfer-Encoding: ${given}\r\n\r\n`,
    (given) => `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${given}\r\n`,
    (given) => `HTTP/1.1 200 OK\r\nContent-Encoding: ${given}\r\nContent-Length: 1\r\n\r\n`,
    (given) => `HTTP/1.1 101 ${given}\r\nUpgrade: ${given}\r\nConnection: upgrade\r\n\r\n${given}`,
    (given) => `HTTP/1.1 103 ${given}\r\nLink: ${given}\r\n\r\nHTTP/1.1 ${given}`,
    (given) => `HTTP/1.1 200 OK\r\nX: ${given.repeat(3_000)}\r\n\r\n`,
  ];
  let quoted = 0;
  for (const wrong of wrongs) {
    badly = (head) => {
      const [, given = ''] = /^authorization: (.*)$/im.exec(head) ?? [];
      if (given.includes(key)) quoted += 1;
      return wrong(`${given}${own}`);
    };
    await ask(broken.authority);
    const socket = `Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${Buffer.alloc(16).toString('base64')}\r\n`;
    await sendAndRead(
      await openTunnel(ports, broken.authority),
      `GET /ws?${mark('query of a handshake')} HTTP/1.1\r\nHost: ${broken.authority}\r\n${socket}Sec-WebSocket-Protocol: ${mark('protocol')}\r\n\r\n`,
    );
  }
  expect(quoted).toBeGreaterThanOrEqual(2 * wrongs.length);

  await runStateCommands(at, ['acme']);
  at.keep('sidekey start', await running.stop());
  expect(await at.leaks()).toEqual([]);
  expect(await at.looked()).toBeGreaterThan(50_000);
}, 60_000);

test('the program writes no secret from a token response, even if the response quotes the secret', async () => {
  const answers = new Map<string, (response: ServerResponse, given: string) => void>();
  const quoted = new Set<string>();
  const upstream = await startUpstream((request, response) => {
    void requestText(request).then((all) => {
      const [name] = [...answers].find(([secret]) => all.includes(secret.slice(0, 8))) ?? [];
      const given = `${name} ${request.headers.authorization ?? ''} ${all.replace(/[^\x20-\x7e]/g, ' ')}`;
      if (name === undefined) return void response.end('fine');
      quoted.add(name);
      answers.get(name)?.(response, given);
    });
  });
  const at = await markedHome({
    domains: { [upstream.authority]: { grant: 'acme' } },
    limits: { refresh_timeout: '1s', refresh_wait: '1s' },
    providers: {
      acme: {
        authorization_endpoint: `${upstream.url}/authorize`,
        token_endpoint: `${upstream.url}/token`,
        client_id: 'sidekey',
        client_secret: 'env:ACME_SECRET',
        audience: [upstream.authority],
      },
    },
  });
  const { mark, token } = at.marks;
  const env = { ACME_SECRET: token('client secret') };
  const own = mark('of the provider');
  const kinds: Readonly<Record<string, (response: ServerResponse, given: string) => void>> = {
    describes: (response, given) => json(400, { error: 'invalid_grant', error_description: given })(response),
    names: (response, given) => json(400, { error: given.split(' ')[0], error_uri: given })(response),
    says: (response, given) => json(400, { error: 'x' }, given.slice(0, 40).replaceAll('~', ''))(response),
    page: (response, given) =>
      response.writeHead(500, { 'content-type': 'text/html' }).end(`<p>${given}${own}`),
    cut: (response, given) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(`{"access_token": "${given}`),
    elsewhere: (response, given) =>
      response.writeHead(302, { location: `https://x.test/?${encodeURIComponent(given)}` }).end(),
    control: (response) => json(200, { access_token: `${own}\r\nX: ${own}`, token_type: 'Bearer' })(response),
    type: (response, given) => json(200, { access_token: own, token_type: given })(response),
    numbers: (response) =>
      json(200, { access_token: own, token_type: 'Bearer', expires_in: own, scope: ['read'] })(response),
    none: (response, given) => json(200, { [own]: given })(response),
    closes: (response) => response.destroy(),
    rotates: (response) =>
      json(200, {
        access_token: mark('new access token'),
        refresh_token: mark('new refresh token'),
        id_token: `e30.${mark('identity')}.x`,
        token_type: 'Bearer',
        expires_in: 3_600,
      })(response),
  };
  const running = await at.start({ env });
  const ports = await portsOf(running);
  for (const [name, answer] of Object.entries(kinds)) {
    const refresh = token(`refresh token, ${name}`);
    answers.set(refresh, answer);
    const credential = {
      access_token: token(`access token, ${name}`),
      refresh_token: refresh,
      expires_at: Math.floor(Date.now() / 1_000) - 60,
    };
    await at.grant(name, credential);
    await sendAndRead(
      await openTunnel(ports, upstream.authority),
      `GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\nSidekey-Grant: ${name}\r\nConnection: close\r\n\r\n`,
    );
    // The same where a person asks for it, and where the refresh token comes from another tool.
    await at.say(['grant', 'refresh', name], { env });
    await at.say(['connect', 'acme', '--name', `${name}-2`, '--import', '--no-domains', '--replace'], {
      env,
      input: refresh,
    });
    await at.say(
      ['connect', 'acme', '--name', `${name}-3`, '--import', '--no-domains', '--replace', '--json'],
      {
        env,
        input: JSON.stringify({ ...credential, token_type: own }),
      },
    );
    const revoke = await at.say(['grant', 'revoke', name], { env });
    expect(revoke.stderr).not.toContain('should not');
  }
  expect(quoted.size).toBe(answers.size);
  await runStateCommands(at, Object.keys(kinds));
  // While it runs, the log of the database is beside it.
  expect(await at.leaks()).toEqual([]);
  expect(await at.everything()).toSatisfy((files: ReadonlyMap<string, string>) =>
    files.has('data/sidekey.db-wal'),
  );
  at.keep('sidekey start', await running.stop());
  expect(await at.leaks()).toEqual([]);
}, 60_000);
