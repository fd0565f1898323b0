import { createHash, randomBytes } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ownUserAgent } from '../../../src/lib/package-files.ts';
import { home } from '../../support/command-line.ts';
import { deskToken, fetchHome } from '../../support/fetch-home.ts';
import { startPlainUpstream, startUpstream, upstreamCa } from '../../support/upstream.ts';

const arrow = `Bearer ${deskToken}`;

/** Returns the words of the commands in a hint, up to the first alternative. */
function commandsIn(stderr: string): readonly string[][] {
  const [, hint = ''] = stderr.split('→ ');
  const [steps = ''] = hint.split('; or ');
  return [...steps.matchAll(/sidekey ([^,\n]*)/g)].map(([, words = '']) => words.trim().split(' '));
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('a request', () => {
  test('gets the credential of the grant instead of a credential of the caller', async () => {
    const seen: IncomingMessage['headers'][] = [];
    const { at, upstream, audit } = await fetchHome((request, response) => {
      seen.push(request.headers);
      response.end('hello\n');
    });
    const ran = await at.run([
      'fetch',
      `${upstream.url}/a?b=c`,
      '-H',
      'authorization: Bearer of-the-caller',
      '-H',
      'X-Trace: näh',
      '--reason',
      'ticket 7',
    ]);
    expect(ran).toEqual({
      exit: 0,
      stdout: 'hello\n',
      stderr: expect.stringMatching(/^Note: your Authorization header is not sent/),
    });
    expect(ran.stderr).not.toContain('of-the-caller');
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatchObject({ authorization: arrow, 'user-agent': ownUserAgent() });
    expect(Buffer.from(String(seen[0]?.['x-trace']), 'latin1').toString()).toBe('näh');
    expect(Object.keys(seen[0] ?? {}).filter((name) => /^(?:sidekey|proxy)-/.test(name))).toEqual([]);
    const lines = await audit();
    expect(lines.filter(({ event }) => event === 'access')).toMatchObject([
      { host: 'api.acme.test', path: '/a', method: 'GET', reason: 'ticket 7', provider: 'acme' },
    ]);
    expect(lines.filter(({ event }) => event === 'outcome')).toMatchObject([{ status: 200, bytes_out: 6 }]);
    expect(JSON.stringify(lines)).not.toMatch(/token-of-the-desk|of-the-caller/);
  });

  test('has a text body, with the type JSON by default', async () => {
    const seen: (string | undefined)[] = [];
    const { at, upstream } = await fetchHome(async (request, response) => {
      seen.push(request.method, request.headers['content-type'], String(await bodyOf(request)));
      response.end();
    });
    await at.run(['fetch', upstream.url, '-d', '{"a":1}']);
    await at.run(['fetch', upstream.url, '-X', 'PUT', '-d', 'a=1', '-H', 'Content-Type: text/x']);
    expect(seen).toEqual(['POST', 'application/json', '{"a":1}', 'PUT', 'text/x', 'a=1']);
  });

  test('sends any bytes of a file or of standard input, and returns any bytes', async () => {
    const bytes = randomBytes(300_000);
    const seen: (string | undefined)[] = [];
    const { at, upstream } = await fetchHome(async (request, response) => {
      seen.push(request.headers['content-length'] ?? request.headers['transfer-encoding']);
      response.end(await bodyOf(request));
    });
    await writeFile(at.at('bytes'), bytes);
    await at.run(['fetch', upstream.url, '--data-file', 'bytes', '-o', 'back-1']);
    await at.run(['fetch', upstream.url, '-d', '@bytes', '-o', 'back-2']);
    const ran = await at.run(['fetch', upstream.url, '-d', '@-', '-o', 'back-3'], { input: 'naïve' });
    expect(ran).toEqual({ exit: 0, stdout: '', stderr: '' });
    expect((await readFile(at.at('back-1'))).equals(bytes)).toBe(true);
    expect((await readFile(at.at('back-2'))).equals(bytes)).toBe(true);
    expect(await readFile(at.at('back-3'), 'utf8')).toBe('naïve');
    expect(seen).toEqual(['300000', '300000', 'chunked']);
  });

  test('streams large bodies in both directions', async () => {
    const size = 48 * 1_024 * 1_024;
    const hash = createHash('sha256');
    const { at, upstream } = await fetchHome(async (request, response) => {
      for await (const chunk of request as AsyncIterable<Buffer>) hash.update(chunk);
      response.writeHead(200, { 'Content-Length': size });
      const piece = Buffer.alloc(65_536, 'x');
      for (let sent = 0; sent < size; sent += piece.length) {
        if (!response.write(piece)) await new Promise((resolve) => response.once('drain', resolve));
      }
      response.end();
    });
    const sent = Buffer.alloc(size, 'y');
    await writeFile(at.at('large'), sent);
    const ran = await at.program(['fetch', upstream.url, '--data-file', 'large', '-o', 'back']);
    expect(ran).toEqual({ exit: 0, stdout: '', stderr: '' });
    expect(hash.digest('hex')).toBe(createHash('sha256').update(sent).digest('hex'));
    expect((await stat(at.at('back'))).size).toBe(size);
  });

  test.each([
    ['desk', 'domain allow HOST --grant desk'],
    ['NOSUCH', 'connect PROVIDER --name NOSUCH --allowed-domains HOST --widen'],
  ])('that names the grant %s is not sent without its credential', async (grant, command) => {
    const { at, upstream } = await fetchHome((_request, response) => response.end(), {
      proxy: { unmatched: 'tunnel' },
      domain: { rules: [{ paths: ['/open'], outcome: 'tunnel' }], default: 'allow' },
    });
    const unlisted = `https://other.acme.test:${upstream.authority.split(':')[1]}/`;
    expect((await at.run(['fetch', grant, unlisted])).stderr).toContain(
      `→ sidekey ${command.replace('HOST', new URL(unlisted).host)}; or name no grant`,
    );
    for (const url of [unlisted, `${upstream.url}/open`]) {
      expect(await at.run(['fetch', grant, url])).toMatchObject({
        exit: 4,
        stdout: '',
        stderr: expect.stringContaining(grant),
      });
    }
    expect(upstream.connections()).toBe(0);
    expect(await at.run(['fetch', `${upstream.url}/open`])).toMatchObject({ exit: 0 });
  });

  test('selects among the grants of a host', async () => {
    const seen: (string | undefined)[] = [];
    const { at, upstream } = await fetchHome(
      (request, response) => {
        seen.push(request.headers.authorization);
        response.end();
      },
      { domain: { grant: 'acme' } },
    );
    const args = ['--provider', 'acme', '--audience', upstream.authority];
    await at.grant('night', { type: 'api_key', value: 'night' }, args);
    await at.grant('alices', { type: 'api_key', value: 'alice' }, [...args, '--user', 'alice+x@acme.test']);
    expect(await at.run(['fetch', upstream.url])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('More than one grant fits'),
    });
    expect(await at.run(['fetch', 'night', upstream.url])).toMatchObject({ exit: 0 });
    expect(await at.run(['fetch', upstream.url, '--user', 'alice+x@acme.test'])).toMatchObject({ exit: 0 });
    expect(await at.run(['fetch', upstream.url, '--user', 'alice+grant=night'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('The name of the user is not valid.'),
    });
    expect(seen).toEqual(['Bearer night', 'Bearer alice']);
  });

  test('to the proxy itself returns the discovery document', async () => {
    const { at, upstream } = await fetchHome((_request, response) => response.end());
    const ran = await at.run(['fetch', 'http://sidekey.internal/']);
    expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining(`${upstream.authority} (https)`) });
  });
});

describe('the response', () => {
  test('is a single object with --json: the response, the grant and the IDs of its audit records', async () => {
    const { at, upstream, audit } = await fetchHome((_request, response) => {
      response.setHeader('Set-Cookie', ['a=1', 'b=2']).end('grüß');
    });
    const envelope = await at.json(['fetch', upstream.url]);
    const access = (await audit()).find(({ event }) => event === 'access');
    expect(envelope).toMatchObject({
      url: `${upstream.url}/`,
      status: 200,
      headers: { 'set-cookie': ['a=1', 'b=2'], 'content-length': '6' },
      body: 'grüß',
      grant: { name: 'desk', user: 'default', provider: 'acme' },
      exchange: access?.exchange,
      agent: null,
      lease: null,
      approval: null,
    });
  });

  test('is base64 if it is not text, or goes to a file with -o', async () => {
    let sent = 0;
    const { at, upstream } = await fetchHome((_request, response) => {
      sent += 1;
      response.end(Buffer.from([0xff, 0, 1]));
    });
    const envelope = await at.json(['fetch', upstream.url]);
    expect(envelope).toMatchObject({ body_base64: '/wAB' });
    expect(envelope).not.toHaveProperty('body');
    expect(await at.json(['fetch', upstream.url, '-o', 'out'])).toMatchObject({ file: 'out', bytes: 3 });
    expect(await readFile(at.at('out'))).toEqual(Buffer.from([0xff, 0, 1]));
    expect(await at.run(['fetch', upstream.url, '-o', 'out'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('out exists.'),
    });
    expect(sent).toBe(2);
    expect(await at.run(['fetch', upstream.url, '-o', 'out', '--force'])).toMatchObject({ exit: 0 });
  });

  test('is refused with a hint if it is too large for one JSON object', async () => {
    const { at, upstream } = await fetchHome((_request, response) =>
      response.end(Buffer.alloc(8 * 1_024 * 1_024 + 1)),
    );
    const ran = await at.run(['fetch', upstream.url, '--json']);
    expect(ran).toMatchObject({ exit: 2, stdout: '' });
    expect(JSON.parse(ran.stderr)).toMatchObject({ error: { hint: expect.stringContaining('-o FILE') } });
  });

  test('is printed with its head first with -i', async () => {
    const { at, upstream } = await fetchHome((_request, response) => {
      response.sendDate = false;
      response.writeHead(202, 'Taken', { 'X-Case': 'Kept' }).end('body');
    });
    const { stdout } = await at.run(['fetch', '-i', upstream.url]);
    expect(stdout).toMatch(/^HTTP\/1\.1 202 Taken\r\nX-Case: Kept\r\n[^]*\r\n\r\nbody$/);
  });
});

describe('the exit code', () => {
  test('is 5 if the upstream refuses, and the response is printed', async () => {
    const { at, upstream } = await fetchHome((_request, response) =>
      response.writeHead(404).end('no such thing'),
    );
    expect(await at.run(['fetch', `${upstream.url}/x`])).toEqual({
      exit: 5,
      stdout: 'no such thing',
      stderr: `${upstream.authority} answered 404.\n`,
    });
    expect(await at.run(['fetch', `${upstream.url}/x`, '--json'])).toMatchObject({
      exit: 5,
      stdout: expect.stringContaining('"status":404'),
    });
  });

  test('is 5 for a 401, with a hint that replaces the credential or shows why none was sent', async () => {
    const { at, upstream } = await fetchHome((_request, response) => response.writeHead(401).end());
    expect((await at.run(['fetch', `${upstream.url}/x`])).stderr).toMatch(
      /answered 401\.\n {2}→ the server may have ended the credential of desk; to replace it: sidekey /,
    );
    await at.run(['domain', 'tunnel', upstream.authority]);
    expect((await at.run(['fetch', `${upstream.url}/x?key=secret`])).stderr).toContain(
      `→ sidekey explain GET ${upstream.url}/x shows which credential the request gets`,
    );
  });

  test.each([
    ['unlisted hosts are tunnelled', 'tunnel', 5, startUpstream],
    ['unlisted hosts are denied', 'deny', 2, startUpstream],
    ['the request is plain http, and unlisted hosts are tunnelled', 'tunnel', 5, startPlainUpstream],
    ['the request is plain http, and unlisted hosts are denied', 'deny', 2, startPlainUpstream],
  ] as const)(
    'is followed by a hint that lets the request succeed if the entry is for another port: %s',
    async (_condition, unmatched, exit, start) => {
      const upstream = await start(({ headers }, response) => {
        response.writeHead(headers.authorization === 'Bearer the-key' ? 200 : 401).end();
      });
      const at = await home({
        proxy: { listen: '127.0.0.1:0', unmatched },
        upstream: {
          ca: ['upstream-ca.pem'],
          resolve: { 'api.acme.test': '127.0.0.1' },
          private_addresses: ['127.0.0.1/32'],
        },
        providers: { corp: { audience: ['api.acme.test'] } },
      });
      await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
      await at.run(['connect', 'corp'], { input: 'the-key' });
      const url = `${new URL(upstream.url).protocol}//api.acme.test:${new URL(upstream.url).port}/`;
      const refused = await at.run(['fetch', url]);
      expect(refused.exit).toBe(exit);
      expect(refused.stderr).toContain('the entry api.acme.test is for another port');
      expect((await at.run(['explain', url])).stdout).toContain(commandsIn(refused.stderr)[0]!.join(' '));
      for (const words of commandsIn(refused.stderr))
        expect(await at.run(words, { input: 'the-key' })).toMatchObject({ exit: 0 });
      expect(await at.run(['fetch', url])).toMatchObject({ exit: 0 });
    },
  );

  test.each([
    [
      'a host that is not listed',
      'https://other.acme.test/',
      2,
      'is not in the allowed-domains map',
      '→ sidekey domain tunnel',
    ],
    [
      'a grant that is not there',
      'https://none.acme.test/',
      4,
      'There is no grant none',
      '→ sidekey connect',
    ],
  ])('of a refusal depends on the error code: %s', async (_name, url, exit, sentence, hint) => {
    const { at } = await fetchHome((_request, response) => response.end(), {
      domains: { 'none.acme.test': { grant: 'none' } },
    });
    const ran = await at.run(['fetch', url, '-o', 'out']);
    expect(ran).toMatchObject({ exit, stdout: '' });
    expect(ran.stderr).toContain(sentence);
    expect(ran.stderr).toContain(hint);
    await expect(stat(at.at('out'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('is 6 if the upstream is unreachable, breaks off, or is too slow', async () => {
    const { at, upstream } = await fetchHome((request, response) => {
      if (request.url === '/slow') return;
      response.writeHead(200, { 'Content-Length': 100 });
      response.write('half', () => response.destroy());
    });
    const broken = await at.run(['fetch', `${upstream.url}/half`]);
    expect(broken).toMatchObject({
      exit: 6,
      stdout: 'half',
      stderr: expect.stringContaining('before the response was complete'),
    });
    const slow = await at.run(['fetch', `${upstream.url}/slow`, '--max-time', '0.2']);
    expect(slow).toMatchObject({ exit: 6, stderr: expect.stringContaining('not complete after 0.2 s') });
    await upstream.close();
    expect(await at.run(['fetch', upstream.url])).toMatchObject({ exit: 6 });
  });

  test('is 3 if agents are required and no agent is named', async () => {
    const { at, upstream } = await fetchHome((_request, response) => response.end(), {
      proxy: { authentication: 'required' },
    });
    const ran = await at.run(['fetch', upstream.url]);
    expect(ran).toMatchObject({ exit: 3, stderr: expect.stringContaining('--agent AGENT') });
    expect(upstream.connections()).toBe(0);
  });
});

describe('a redirect', () => {
  test('is followed only with -L, and each target gets a new decision', async () => {
    const seen: string[] = [];
    const { at, upstream, audit } = await fetchHome((request, response) => {
      seen.push(`${request.method} ${request.url} ${request.headers.authorization}`);
      if (request.url === '/from') response.writeHead(303, { Location: '/to' }).end('moved');
      else if (request.url === '/away')
        response.writeHead(302, { Location: 'https://other.acme.test/stolen' }).end();
      else response.end('there');
    });
    const from = ['fetch', `${upstream.url}/from`, '-d', 'x'];
    expect(await at.run(from)).toMatchObject({ exit: 0, stdout: 'moved' });
    expect(await at.run([...from, '-L'])).toMatchObject({ exit: 0, stdout: 'there' });
    expect(seen).toEqual([`POST /from ${arrow}`, `POST /from ${arrow}`, `GET /to ${arrow}`]);
    expect(
      await at.run(['fetch', 'desk', `${upstream.url}/away`, '-L', '-H', 'X-Api-Key: mine']),
    ).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('other.acme.test is not in the allowed-domains map'),
    });
    const events = (await audit()).filter(({ event }) => event === 'access' || event === 'denied');
    expect(events.map(({ event, host }) => `${event} ${host}`)).toEqual([
      'access api.acme.test',
      'access api.acme.test',
      'access api.acme.test',
      'access api.acme.test',
      'denied other.acme.test',
    ]);
  });
});

describe('the caller', () => {
  test('is the named agent, under a lease that ends with the command', async () => {
    const { at, upstream, audit } = await fetchHome((_request, response) => response.end('ok'), {
      proxy: { authentication: 'required' },
    });
    await at.run(['agent', 'create', 'ci', '--grant', 'desk']);
    await at.run(['agent', 'create', 'hal', '--provider', 'github']);
    const envelope = await at.json(['fetch', upstream.url, '--agent', 'ci']);
    expect(envelope).toMatchObject({ status: 200, agent: 'ci', lease: expect.any(String) });
    const { lease } = envelope as { lease: string };
    const lines = await audit();
    expect(lines.filter((line) => line.lease === lease).map(({ event }) => event)).toEqual(
      expect.arrayContaining(['lease.created', 'access', 'lease.revoked']),
    );
    expect(await at.json(['lease', 'list', '--all'])).toMatchObject([{ id: lease, state: 'revoked' }]);
    expect(await at.run(['fetch', upstream.url, '--agent', 'hal'])).toMatchObject({ exit: 4 });
    expect(await at.run(['fetch', upstream.url, '--agent', 'nobody'])).toMatchObject({ exit: 2 });
  });

  test('names no grant to a proxy that is not a Sidekey', async () => {
    const { at, upstream } = await fetchHome((_request, response) => response.end('ok'));
    const other = createServer((_request, response) => response.end('sent without a credential'));
    await once(other.listen(0, '127.0.0.1'), 'listening');
    onTestFinished(() => void other.close());
    const place = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
    expect(await at.run(['fetch', 'desk', upstream.url, '--proxy', place])).toMatchObject({
      exit: 2,
      stdout: '',
      stderr: expect.stringContaining('is not a Sidekey'),
    });
    expect(await at.run(['fetch', upstream.url, '--proxy', place])).toMatchObject({ exit: 0 });
    const { exit } = await at.run(['fetch', 'desk', upstream.url, '--proxy', 'http://127.0.0.1:1']);
    expect(exit).toBe(6);
  });

  test('is the agent of the running proxy with --proxy or the environment', async () => {
    const { at, upstream, audit } = await fetchHome((_request, response) => response.end('ok'), {
      proxy: { authentication: 'required' },
    });
    const { token } = (await at.json(['agent', 'create', 'ci', '--grant', 'desk'])) as { token: string };
    const { url } = await at.start();
    const proxy = url.replace('//', `//ci:${token}@`);
    expect(await at.run(['fetch', upstream.url, '--proxy', proxy])).toMatchObject({ exit: 0, stdout: 'ok' });
    expect(await at.run(['fetch', upstream.url, '--proxy', url])).toMatchObject({ exit: 3 });
    const env = { HTTPS_PROXY: proxy };
    expect(await at.run(['fetch', upstream.url], { env })).toMatchObject({ exit: 0, stdout: 'ok' });
    const lines = await audit();
    expect(lines.filter(({ event }) => event === 'access').map(({ agent }) => agent)).toEqual(['ci', 'ci']);
    expect(lines.filter(({ event }) => event === 'proxy.started')).toHaveLength(1);
  });

  test('is not replaced if the proxy of the environment refuses', async () => {
    const { at, upstream } = await fetchHome((_request, response) => response.end('ok'));
    const { url } = await at.start();
    const env = { HTTPS_PROXY: url.replace('//', '//ci:unknown@') };
    expect(await at.run(['fetch', upstream.url], { env })).toMatchObject({ exit: 3, stdout: '' });
    expect(upstream.connections()).toBe(0);
  });

  test('is not sent to a proxy that is not Sidekey', async () => {
    const { at, upstream } = await fetchHome((_request, response) => response.end('ok'));
    const env = { HTTPS_PROXY: `http://127.0.0.1:${upstream.port}` };
    expect(await at.run(['fetch', upstream.url], { env })).toMatchObject({ exit: 0, stdout: 'ok' });
  });
});

test.each([
  [['fetch', 'https://user:pass@a.test/'], 'contains a user name'],
  [['fetch', 'ftp://a.test/'], 'The URL is not valid'],
  [['fetch', 'a b', 'https://a.test/'], 'The name of the grant is not valid'],
  [['fetch', 'a.test', '-H', 'no header secret-1'], 'A header is not valid'],
  [['fetch', 'a.test', '-H', 'Proxy-Authorization: Basic secret-1'], 'cannot be set with --header'],
  [['fetch', 'a.test', '-X', 'CONNECT'], 'The method is not valid'],
  [['fetch', 'a.test', '-d', '@none'], 'none cannot be read (ENOENT)'],
  [['fetch', 'a.test', '-d', 'x', '--data-file', 'y'], 'both given'],
  [['fetch', 'a.test', '--max-time', '0'], '--max-time is not a number of seconds'],
  [['fetch', 'a.test', '--proxy', 'http://proxy.corp.test:3128'], '--proxy is not a proxy on this machine'],
  [['fetch', 'a.test', '--proxy', 'http://127.0.0.1:1', '--agent', 'ci'], 'both given'],
])('%j is refused before anything is sent', async (args, sentence) => {
  const { at } = await fetchHome((_request, response) => response.end());
  const ran = await at.run(args);
  expect(ran).toMatchObject({ exit: 2, stdout: '', stderr: expect.stringContaining(sentence) });
  expect(ran.stderr).not.toMatch(/pass@|secret-1/);
});
