/** Versions of Node.js that read the proxy variables only by the file in `NODE_OPTIONS`. */
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { writeTrustFiles } from '../../src/clients/trust-files.ts';
import { clientVariables } from '../../src/clients/variables.ts';
import { upstreamCa } from '../support/upstream.ts';
import { greeting, packageMissing, programs, stage } from './support/stage.ts';

const nodes = [
  ...['node-20', 'node-22'].map((name) => ({
    name,
    node: join(programs, 'node_modules', name, 'bin', 'node'),
    absent: packageMissing(name),
  })),
  { name: 'this Node.js', node: process.execPath, absent: packageMissing('axios') },
];
const calls = [
  ['fetch', ['-e', 'fetch(process.argv[1]).then((r) => r.text()).then(console.log)']],
  ['node:https', [`${programs}https-request.mjs`]],
  ['axios', [`${programs}version.mjs`, 'axios-1-13']],
  ['got', [`${programs}version.mjs`, 'got-13']],
  ['an agent of undici', [`${programs}version.mjs`, 'undici-6']],
] as const;

/** Starts a proxy that writes `answer` once a request head has arrived, in one piece. */
async function startConnectProxy(answer: string) {
  const heads: string[] = [];
  const server = createServer((socket) => {
    let head = '';
    socket.on('error', () => undefined);
    socket.setEncoding('latin1').on('data', (piece) => {
      const isAnswered = head.endsWith('\r\n\r\n');
      head += String(piece);
      if (isAnswered || !head.endsWith('\r\n\r\n')) return;
      heads.push(head);
      socket.write(answer);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    heads,
    url: (userInfo = '') => `http://${userInfo}127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.close();
      await once(server, 'close');
    },
  };
}

/** Entries of `NO_PROXY`, with URLs that they exempt and URLs that they do not. */
const noProxyCases: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ['api.example', ['http://api.example/', 'http://a.api.example/'], ['http://myapi.example/']],
  ['.api.example', ['http://api.example/', 'http://a.api.example/'], ['http://myapi.example/']],
  ['*.api.example', ['http://a.api.example/'], ['http://api.example/', 'http://myapi.example/']],
  ['API.example.', ['http://api.EXAMPLE/', 'http://api.example./'], ['http://example/']],
  ['api.example:8080', ['http://api.example:8080/'], ['http://api.example/', 'http://api.example:80/']],
  ['api.example:443', ['https://api.example/'], ['http://api.example/']],
  ['*', ['http://api.example/', 'https://127.0.0.1:3/', 'http://[::1]:3/'], []],
  ['other.example, *', ['http://api.example/'], []],
  ['other.example api.example', ['http://api.example/'], []],
  ['::1', ['http://[::1]:3/', 'https://[::1]:3/'], ['http://[::11]:3/']],
  ['[::1]', ['http://[::1]:3/', 'https://[::1]:3/'], ['http://[::11]:3/']],
  ['[::1]:3', ['http://[::1]:3/'], ['http://[::1]:4/']],
  ['127.0.0.1', ['http://127.0.0.1:3/'], ['http://127.0.0.2:3/']],
  ['127.0.0.0/8', [], ['http://127.0.0.1:3/']],
  ['[]', [], ['http://api.example/']],
  [' , ,.', [], ['http://api.example/']],
];

/** Prints for each URL by which way `fetch` and `http` call it. The proxy refuses, and no name resolves. */
const waysScript = `
  const { env } = process;
  require('dns').lookup = (host, options, done) => done(new Error('direct'));
  const wayOf = ({ cause, message }) => /proxy refused/.test(cause ? cause.message : message) ? 'proxy' : 'direct';
  (async () => {
    const ways = [];
    for (const [entries, ...urls] of JSON.parse(process.argv[1])) {
      env.NO_PROXY = env.no_proxy = entries;
      for (const url of urls.flat()) {
        const way = await fetch(url).catch(wayOf);
        const call = require(url.split(':')[0]);
        ways.push([entries, url, way, await new Promise((done) => call.get(url).on('error', (e) => done(wayOf(e))))]);
      }
    }
    console.log(JSON.stringify(ways));
    process.exit();
  })();`;

/** Runs a script in a Node.js with the file that reads the proxy variables, and returns what it prints. */
async function preloadedIn(
  node: string,
  variables: Readonly<Record<string, string>>,
  [script, word = '']: readonly [script: string, word?: string],
): Promise<string> {
  const preload = fileURLToPath(new URL('../../config/node-proxy.cjs', import.meta.url));
  const env = { NODE_USE_ENV_PROXY: '1', ...variables };
  const { stdout } = await promisify(execFile)(node, ['-r', preload, '-e', script, word], { env });
  return stdout;
}

/** Prints by which way an agent of the program, one with an option, and one of its own class call. */
const agentsScript = `
  const http = require('http');
  require('dns').lookup = (host, options, done) => done(new Error('direct'));
  class Own extends http.Agent {}
  const agents = [new http.Agent(), new http.Agent({ keepAlive: true }), new Own(), new http.Agent({ proxyEnv: {} })];
  const ask = (agent) => new Promise((done) =>
    http.get('http://api.example/', { agent }, ({ statusCode }) => done(statusCode)).on('error', (e) => done(e.message)));
  Promise.all(agents.map(ask)).then((ways) => { console.log(JSON.stringify(ways)); process.exit(); });`;

test('agents that a program of this Node.js creates use the proxy, but not those of a subclass', async () => {
  await using proxy = await startConnectProxy('HTTP/1.1 502 no\r\ncontent-length: 0\r\n\r\n');
  const printed = await preloadedIn(process.execPath, { http_proxy: proxy.url() }, [agentsScript]);
  expect(JSON.parse(printed)).toEqual([502, 502, 'direct', 'direct']);
});

for (const { name, node, absent } of nodes.slice(0, 2)) {
  const preloaded = (variables: Readonly<Record<string, string>>, ...script: [string, string?]) =>
    preloadedIn(node, variables, script);

  test.skipIf(absent)(`${name} reads each form of NO_PROXY as undici does`, async () => {
    await using proxy = await startConnectProxy('HTTP/1.1 502 no\r\ncontent-length: 0\r\n\r\n');
    const variables = { http_proxy: proxy.url(), https_proxy: proxy.url() };
    const printed = await preloaded(variables, waysScript, JSON.stringify(noProxyCases));
    const wanted = noProxyCases.flatMap(([entries, direct, proxied]) => [
      ...direct.map((url) => [entries, url, 'direct', 'direct']),
      ...proxied.map((url) => [entries, url, 'proxy', 'proxy']),
    ]);
    expect(JSON.parse(printed)).toEqual(wanted);
  });

  test.skipIf(absent).each([
    ['raw percent signs', '50%:100%zz%', '50%:100%zz%'],
    ['encoded bytes', 'a%40b:%c3%a9%ff%25', Buffer.from('a@b:\xc3\xa9\xff%', 'latin1')],
    ['a user name only', 'lease', 'lease:'],
  ])(`${name} sends a password with %s to the proxy`, async (_, userInfo, login) => {
    await using proxy = await startConnectProxy('HTTP/1.1 502 no\r\ncontent-length: 0\r\n\r\n');
    await preloaded({ http_proxy: proxy.url(`${userInfo}@`) }, `fetch('http://api.example').catch(() => {})`);
    expect(proxy.heads).toEqual([
      expect.stringContaining(`authorization: Basic ${Buffer.from(login).toString('base64')}\r\n`),
    ]);
  });

  test.skipIf(absent)(`${name} reads bytes that arrive with the answer to CONNECT`, async () => {
    const answer = 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nearly';
    await using proxy = await startConnectProxy(`HTTP/1.1 200 OK\r\n\r\n${answer}`);
    const script = `
      fetch('http://api.example').then((response) => response.text()).then((text) => {
        require('http').get('http://api.example', (response) => {
          response.setEncoding('utf8').on('data', (more) => console.log(text, more));
        });
      });`;
    expect(await preloaded({ http_proxy: proxy.url() }, script)).toBe('early early\n');
  });
}

for (const { name, node, absent } of nodes) {
  test.skipIf(absent)(`programs of ${name} get a response through the proxy`, async () => {
    const { perform, upstream, seen } = await stage(greeting);
    const env = { NODE_OPTIONS: '--no-deprecation' };
    for (const [call, words] of calls) {
      const ran = await perform([node, ...words, `${upstream.url}/me`], { env });
      expect([call, ran]).toMatchObject([
        call,
        { exit: 0, stdout: expect.stringContaining('hello from upstream') },
      ]);
      expect([call, seen.at(-1)]).toMatchObject([call, { method: 'GET', path: '/me' }]);
    }
    const free = await perform([node, ...calls[0][1], `${upstream.url}/me`], {
      env,
      flags: ['--no-isolate'],
    });
    expect(free).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('hello from upstream'),
      stderr: expect.any(String),
    });
  });

  test.skipIf(absent)(`${name} keeps its options, and calls hosts of NO_PROXY directly`, async () => {
    const folder = join(await mkdtemp(join(tmpdir(), 'sidekey-test-')), `a "b" c\\d`);
    await mkdir(folder);
    const parent = { NODE_OPTIONS: '--no-deprecation', NO_PROXY: 'direct.example' };
    const trust = await writeTrustFiles(folder, { authorityPem: upstreamCa, parent });
    // Nothing listens there.
    const proxy = { url: 'http://127.0.0.1:1', host: '127.0.0.1', port: 1 };
    const env = clientVariables({ parent, proxy, trust, noProxy: ['127.0.0.1'] });
    const script = `
      const server = require('http').createServer((_, response) => response.end('direct'));
      server.listen(0, '127.0.0.1', async () => {
        const url = 'http://127.0.0.1:' + server.address().port;
        const told = await fetch(url).then((response) => response.text());
        const refused = await fetch('http://other.example').catch(({ cause }) => cause.code);
        require('http').get(url, (response) => {
          console.log(process.noDeprecation, told, refused, response.statusCode);
          process.exit();
        });
      });`;
    expect(execFileSync(node, ['-e', script], { env, encoding: 'utf8' })).toBe(
      'true direct ECONNREFUSED 200\n',
    );
  });
}
