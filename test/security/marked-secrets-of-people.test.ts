/** See marked-secrets.test.ts: here for what people hand over, rightly or in the wrong place. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { startProgram, type Home } from '../support/command-line.ts';
import { markedHome, runStateCommands, requestText } from '../support/marked-home.ts';
import { filesBelow } from '../support/marks.ts';
import { startUpstream } from '../support/upstream.ts';

const acme = (fields: object) => ({
  providers: {
    acme: {
      authorization_endpoint: 'https://127.0.0.1:1/authorize',
      token_endpoint: 'https://127.0.0.1:1/token',
      client_id: 'sidekey',
      audience: ['api.acme.test'],
      ...fields,
    },
  },
});
const sh = (words: string) => acme({ client_secret: `command:sh -c '${words}'` });

test('the program writes no secret from the command line, even from a wrong argument', async () => {
  const token = await startUpstream((request, response) => {
    void requestText(request).then((all) =>
      response
        .writeHead(400, { 'content-type': 'application/json' })
        .end(JSON.stringify({ error: 'invalid_client', error_description: all })),
    );
  });
  const at = await markedHome({
    domains: { [token.authority]: { grant: 'keyed' } },
    providers: {
      keyed: { audience: [token.authority] },
      acme: {
        authorization_endpoint: `${token.url}/authorize`,
        token_endpoint: `${token.url}/token`,
        client_id: 'sidekey',
        client_secret: 'env:ACME_SECRET',
        audience: [token.authority],
      },
    },
  });
  const { mark, token: tokenMark, password } = at.marks;
  const env = { ACME_SECRET: tokenMark('client secret'), SUBJECT: tokenMark('subject token') };
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const credentials: Readonly<Record<string, object>> = {
    oauth: {
      access_token: tokenMark('access token'),
      refresh_token: tokenMark('refresh token'),
      client_secret: tokenMark('client secret of a grant'),
      client_id: 'sidekey',
      token_endpoint: `${token.url}/token`,
      id_token: `e30.${mark('id token')}.x`,
    },
    key: { type: 'api_key', value: tokenMark('key') },
    jwt: { type: 'jwt', value: `eyJhbGciOiJub25lIn0.${mark('claims')}.${mark('signature')}` },
    basic: { type: 'basic', username: 'bot', password: password('password') },
    headers: { type: 'headers', headers: { 'X-Key': tokenMark('header') } },
  };
  // Each well, and then in ways that are refused.
  for (const [name, credential] of Object.entries(credentials)) {
    const input = JSON.stringify(credential);
    const add = ['grant', 'import', name, '--provider', 'keyed'];
    const stored = at.keep(add.join(' '), await at.program(add, { input }));
    expect([name, stored.exit, stored.stderr]).toMatchObject([name, 0, expect.anything()]);
    for (const wrong of [
      input,
      input.slice(0, -3),
      `${input}${input}`,
      input.replaceAll('"', "'"),
      input.replace(/":"/, '":["'),
      input.replace(/"\}+$/, '\\u0000"}'),
      JSON.stringify({ ...credential, [mark('unknown field')]: mark('value of it') }),
      JSON.stringify({ ...credential, type: mark('unknown type') }),
      Object.values(credential).join('\n'),
    ]) {
      await at.say([...add, '--json'], { input: wrong });
      await at.say(['connect', 'keyed', '--token', '--no-domains', '--replace', '--name', `${name}-2`], {
        input: wrong,
      });
      await at.say(['connect', 'acme', '--import', '--no-domains', '--replace', '--name', `${name}-3`], {
        input: wrong,
        env,
      });
    }
  }
  const more: readonly (readonly [args: readonly string[], input?: string])[] = [
    [
      ['connect', 'keyed', '--token', '--no-domains', '--replace', '--name', 'pasted'],
      tokenMark('pasted key'),
    ],
    [
      ['connect', 'keyed', '--token', '--no-domains', '--replace'],
      `${mark('first line')}\n${mark('second line')}`,
    ],
    [['connect', 'acme', '--client-credentials', '--no-domains', '--replace']],
    [['connect', 'acme', '--jwt-bearer', '--key', '-', '--issuer', 'me', '--no-domains', '--replace'], pem],
    [
      ['connect', 'acme', '--jwt-bearer', '--key', '-', '--issuer', 'me', '--no-domains', '--replace'],
      pem.replace(/A/g, '!'),
    ],
    [
      ['connect', 'acme', '--jwt-bearer', '--key', '-', '--issuer', 'me', '--no-domains', '--replace'],
      `-----BEGIN PRIVATE KEY-----\n${mark('no key')}\n-----END PRIVATE KEY-----\n`,
    ],
    [
      ['connect', 'acme', '--jwt-bearer', '--key', '-', '--issuer', 'me', '--no-domains', '--replace'],
      JSON.stringify({ kty: 'RSA', n: mark('modulus'), d: mark('exponent'), e: 'AQAB' }),
    ],
    [['connect', 'acme', '--token-exchange', '--subject-token', 'env:SUBJECT', '--no-domains', '--replace']],
    [
      [
        'connect',
        'acme',
        '--token-exchange',
        '--subject-token',
        mark('literal subject'),
        '--no-domains',
        '--replace',
      ],
    ],
    [
      ['connect', 'acme', '--finish', '-', '--no-domains', '--replace'],
      `http://127.0.0.1/?code=${mark('code')}&state=x`,
    ],
    [['connect', 'acme', '--finish', '-', '--no-domains', '--replace'], mark('bare code')],
    [
      ['connect', 'acme', '--paste', '--no-domains', '--replace'],
      `https://x.test/cb?code=${mark('pasted code')}&state=x`,
    ],
    [['connect', 'acme', '--client-secret', mark('literal client secret'), '--no-domains', '--replace']],
  ];
  for (const [args, input] of more) {
    const ran = await at.run(args, { env, ...(input === undefined ? {} : { input }) });
    // The literal in the arguments is the test's own word.
    at.keep(args.slice(0, 3).join(' '), ran);
  }

  // A secret in the place of a name: nobody shows it again.
  const wrong = mark('argument');
  const places = [
    [wrong],
    ['grant', wrong],
    ['grant', 'import', `:${wrong}`, '--provider', 'keyed'],
    ['grant', 'import', 'work', wrong, '--provider', 'keyed'],
    ['grant', 'import', 'work', '--provider', `:${wrong}`],
    ['grant', 'import', 'work', '--provider', 'keyed', `--token=${wrong}`],
    ['grant', 'import', 'work', '--provider', 'keyed', '--user', `:${wrong}`],
    ['grant', 'show', `:${wrong}`],
    ['grant', 'refresh', `:${wrong}`],
    ['grant', 'revoke', `:${wrong}`],
    ['agent', 'create', `:${wrong}`],
    ['agent', 'remove', `sidekey_agent_${wrong}`],
    ['domain', 'allow', `user:${wrong}@example.com`, '--grant', 'keyed'],
    ['audit', 'query', '--since', wrong],
    ['audit', 'query', '--limit', wrong],
    ['connect', 'acme', '--timeout', wrong],
    ['connect', 'acme', '--port', wrong],
    ['connect', 'acme', '--redirect-uri', `x:${wrong}`],
    ['connect', `https://user:${wrong}@${token.authority}/?${wrong}`, '--discover'],
    ['explain', wrong, token.url],
    ['explain', `https://user:${wrong}@example.com/?token=${wrong}`],
    ['explain', `https://example.com/?token=${wrong}#${wrong}`],
  ];
  for (const args of places) {
    const [json, plain] = [await at.run([...args, '--json'], { env }), await at.run(args, { env })];
    at.keep(`words: ${args.slice(0, 2).join(' ').replace(wrong, 'MARK')}`, json);
    at.keep(`words: ${args.slice(0, 2).join(' ').replace(wrong, 'MARK')}`, plain);
  }
  await runStateCommands(at, Object.keys(credentials));
  expect(await at.leaks()).toEqual([]);
  // The key itself is random enough to be its own mark.
  const places2 = [...(await filesBelow(at.folder))];
  const keyPiece = pem.split('\n')[5]!.slice(0, 32);
  expect(places2.filter(([, bytes]) => bytes.includes(keyPiece)).map(([file]) => file)).toEqual([]);
}, 60_000);

test('the program writes no secret from a wrong place in the config, or from a reference', async () => {
  const at = await markedHome({});
  const { mark, password } = at.marks;
  // What the test wrote is not what the program wrote: it lies elsewhere.
  const elsewhere = await markedHome({});
  const script = elsewhere.at('print-secret');
  const bad: readonly (string | object)[] = [
    acme({ client_secret: mark('literal secret') }),
    acme({ client_secret: { value: mark('secret in a map') } }),
    acme({ client_secret: `env:${mark('name of a variable')} ${mark('after it')}` }),
    acme({ client_secret: `file:/nowhere/\u0007${mark('path with a bell')}` }),
    acme({ token_endpoint: `https://user:${mark('user info of an endpoint')}@x.test/${mark('path')}` }),
    acme({ token_endpoint: `http://x.test/?key=${mark('query of an endpoint')}` }),
    acme({ client_auth: mark('way to authenticate') }),
    acme({ audience: [`user:${mark('user info of an audience')}@x`] }),
    acme({ scopes: mark('scopes') }),
    { store: `postgres://user:${mark('password of a store')}@db/sidekey` },
    { store: mark('store') },
    { key: { source: mark('source of a key') } },
    { key: mark('key') },
    { upstream: { proxy: `http://user:${mark('password of a proxy')}@proxy:1` } },
    { upstream: { ca: [`${mark('a key instead of a path')}\u0000`] } },
    { proxy: { listen: mark('listen') } },
    { domains: { 'x.test': { grant: `:${mark('grant of a domain')}` } } },
    { domains: { 'x.test': mark('action of a domain') } },
    {
      audit: {
        file: '../data/audit.jsonl',
        sinks: [{ type: 'webhook', url: `ftp://u:${mark('sink')}@x` }],
      },
    },
    { tokens: { refresh_before_expiry: mark('duration') } },
    { limits: { head_bytes: mark('size') } },
    { log: { level: mark('level') } },
    `version: 1\nproviders:\n  acme:\n    client_secret: "${mark('unclosed text')}\n  x: 1\n`,
    `version: 1\nproviders: { acme: { client_secret: ${mark('unclosed map')}\n`,
    `version: 1\n\tclient_secret: ${mark('tab')}\n`,
    `version: 1\nstore: &${mark('anchor')} *${mark('alias')}\n`,
    `version: 1\nstore: !${mark('tag')} ${mark('tagged')}\n`,
    `${mark('no map')}\n`,
    `version: ${mark('version')}\n`,
    `version: 1\nstore: "\\x${mark('escape')}"\n`,
    // The secret is read, and the way to it goes wrong.
    sh(`echo ${mark('on stderr')} >&2; exit 1`),
    sh(`echo ${mark('on stdout, and fails')}; exit 1`),
    sh(`echo ${mark('on stderr, and none')} >&2`),
    sh(`printf "${mark('first line')}\\\\n${mark('second line')}"`),
    sh(`printf "${mark('no UTF-8')}\\\\377"`),
    sh(`yes ${mark('too long')}`),
    acme({ client_secret: `command:${script} ${mark('argument of a command')}` }),
    acme({ client_secret: 'env:EMPTY' }),
    acme({ client_secret: 'env:BROKEN' }),
  ];
  const env = {
    BROKEN: `${mark('first line of a variable')}\n${password('second line of it')}`,
    EMPTY: '',
  };
  await mkdir(at.at('data'), { recursive: true, mode: 0o700 });
  for (const [index, config] of bad.entries()) {
    const file = elsewhere.at('config', 'sidekey.yaml');
    const written = { version: 1, store: `sqlite:${at.at('data', 'sidekey.db')}` };
    const content = typeof config === 'string' ? config : stringify({ ...written, ...config });
    await writeFile(file, content, { mode: 0o600 });
    for (const args of [
      ['status'],
      ['status', '--json'],
      ['connect', 'acme', '--client-credentials', '--no-domains', '--replace'],
      ['connect', 'acme', '--print-url', '--no-domains', '--replace', '--json'],
      ['provider', 'show', 'acme'],
      ['domain', 'list'],
      ['domain', 'allow', 'y.test', '--grant', 'y'],
    ]) {
      at.keep(`${index}: ${args.join(' ')}`, await elsewhere.run(args, { env }));
    }
  }
  // A running proxy meets each of them at a reload, and says what is wrong with it.
  const file = elsewhere.at('config', 'reloaded.yaml');
  const good = stringify({ version: 1, proxy: { listen: '127.0.0.1:0' }, log: { level: 'debug' } });
  await writeFile(file, good, { mode: 0o600 });
  const running = await startProgram(['start', '--json', '--config', file], at.folder, { env });
  for (const [index, config] of bad.entries()) {
    const content = typeof config === 'string' ? config : stringify({ version: 1, ...config });
    await writeFile(file, `${content}\n# ${index}\n`);
    await reloaded(elsewhere, index + 1);
  }
  at.keep('sidekey start', await running.stop());
  await elsewhere.say(['audit', 'tail', '-n', '1000']);

  const files = await filesBelow(elsewhere.at('data'));
  expect([...files.keys()]).toContain('audit.jsonl');
  const inFiles = [...files].flatMap(([path, bytes]) =>
    at.marks.findIn(bytes).map((it) => `${it} in ${path}`),
  );
  expect([...inFiles, ...(await at.leaks())]).toEqual([]);
}, 60_000);
/** Resolves when the proxy has looked at its config so often. */
async function reloaded(at: Home, times: number): Promise<void> {
  for (;;) {
    const audit = await readFile(at.at('data', 'audit.jsonl'), 'utf8');
    if (audit.split('"config.re').length > times) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
