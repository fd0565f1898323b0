/**
 * Ways to step around a rule: methods that a parameter names, GraphQL that is written as something else, and
 * paths that a server takes for others. Each vector must be refused, and what is alike and harmless must not.
 */
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { readBodyFacts } from '../../src/proxy/policy/body.ts';
import { decideRequest, type Decision } from '../../src/proxy/policy/decide.ts';
import { createDomainMap } from '../../src/proxy/policy/domain-map.ts';
import type { RequestFacts } from '../../src/proxy/policy/request.ts';
import { factsOf } from '../support/request-facts.ts';

async function deciderOf(domain: string): Promise<(path: string, facts?: Partial<RequestFacts>) => Decision> {
  const text = `version: 1\ndomains:\n  a.example: { grant: acme, ${domain} }\n`;
  const { domains } = await parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' });
  const policy = { domains: createDomainMap(domains), unmatched: 'deny' } as const;
  return (path, facts) => decideRequest(policy, factsOf(`https://a.example${path}`, facts));
}

const bodyOf = (contentType: string, text: string, complete = true): Partial<RequestFacts> => {
  const bytes = Buffer.from(text);
  const body = readBodyFacts({ contentType, contentEncoding: null, bytes }, complete);
  return { method: 'POST', contentType, contentLength: bytes.length, body };
};

const multipart = (name: string) =>
  `--x\r\nContent-Disposition: form-data; name=${name}\r\n\r\nDELETE\r\n--x--\r\n`;

const percent = (text: string) =>
  [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');

/** Forbidden requests that are allowed. */
const passed = <T>(vectors: readonly T[], decide: (vector: T) => Decision): readonly T[] =>
  vectors.filter((vector) => decide(vector).outcome !== 'deny');

describe('a method that a parameter selects', () => {
  const parameters = [
    '_method',
    '$httpMethod',
    'method',
    '_HttpMethod',
    'x-http-method-override',
    'X-HTTP-Method',
    'x-method-override',
    'httpMethod',
    'http_method',
  ];
  const spellings: readonly ((name: string) => string)[] = [
    (name) => name,
    percent,
    (name) => percent(percent(name)),
    (name) => name.replace('m', '%6D'),
    (name) => name.toUpperCase(),
    (name) => `${name}[]`,
    (name) => `${name}%5B0%5D`,
    (name) => `+${name}`,
    (name) => `${name}%00x`,
    (name) => name.replaceAll('e', '%u0065'),
  ];
  const places: readonly ((pair: string) => string)[] = [
    (pair) => `/x?${pair}`,
    (pair) => `/x?a=b&${pair}`,
    (pair) => `/x?a=b;${pair}`,
    (pair) => `/x?a?${pair}`,
    (pair) => `/x?method=GET&${pair}&method=GET`,
  ];
  const values = [
    'DELETE',
    'delete',
    '%44elete',
    'DELETE%00',
    '%20DELETE',
    'GET,DELETE',
    '%2544ELETE',
    '"DELETE"',
  ];
  const vectors = parameters.flatMap((name) =>
    spellings.flatMap((spell) =>
      places.flatMap((place) => values.map((value) => place(`${spell(name)}=${value}`))),
    ),
  );
  const methods = ['GET', 'POST', 'PUT', 'HEAD'];

  test(`cannot bypass a rule with any of ${vectors.length} queries and ${methods.length} methods`, async () => {
    expect(vectors.length * methods.length).toBeGreaterThan(300);
    for (const rules of [
      'rules: [{ methods: [DELETE], outcome: deny }], default: allow',
      'rules: [{ methods: [GET, POST, PUT, HEAD] }]',
    ]) {
      const decide = await deciderOf(rules);
      for (const method of methods) {
        expect(passed(vectors, (path) => decide(path, { method }))).toEqual([]);
      }
    }
  });

  test('is ignored without rules on methods, and in other parameters', async () => {
    const free = await deciderOf('rules: [{ paths: [/x] }]');
    expect(free('/x?_method=DELETE').outcome).toBe('inject');
    const reads = await deciderOf('rules: [{ methods: [GET] }]');
    for (const query of [
      'method=flickr.photos.search',
      'method=get',
      'method=GET&method=get',
      'methods=DELETE',
      'payment_method=DELETE',
      'methodology=DELETE',
      'q=method',
      'x_method=DELETE',
      'action=delete',
    ]) {
      expect([query, reads(`/x?${query}`).outcome]).toEqual([query, 'inject']);
    }
  });

  test('is judged by the strictest of all selected methods', async () => {
    const decide = await deciderOf(
      'rules: [{ methods: [DELETE], outcome: deny }, { name: ask, methods: [POST], outcome: approve }, { methods: [GET], limits: [{ rate: 1/m }] }]',
    );
    expect(decide('/x?method=post')).toMatchObject({ outcome: 'approve', ruleName: 'ask' });
    expect(decide('/x?method=get&method=post')).toMatchObject({ outcome: 'approve' });
    expect(decide('/x?method=post&method=delete')).toMatchObject({
      outcome: 'deny',
      reason:
        'the request is denied by a rule, for some servers run it as DELETE, which the parameter method names',
    });
    const same = decide('/x?method=get');
    expect(same).toMatchObject({ outcome: 'inject' });
    expect('limits' in same ? same.limits : []).toHaveLength(1);
  });

  test('counts one limit once if two methods match the same rule', async () => {
    const decide = await deciderOf('rules: [{ methods: [GET, POST], limits: [{ rate: 1/m }] }]');
    const decision = decide('/x?method=post');
    expect('limits' in decision ? decision.limits : []).toHaveLength(1);
  });

  test('may use a parameter name that a provider adds', async () => {
    const decide = await deciderOf('rules: [{ methods: [GET] }]');
    const methodParameters = ['verb'];
    expect(decide('/x?verb=DELETE').outcome).toBe('inject');
    for (const query of ['verb=DELETE', 'VERB=delete', '%76erb=DELETE', 'verb[]=DELETE', 'verb=unheard']) {
      expect([query, decide(`/x?${query}`, { methodParameters }).outcome]).toEqual([query, 'deny']);
    }
    expect(decide('/x?verb=get', { methodParameters }).outcome).toBe('inject');
  });

  test('is detected in a form body that the proxy reads', async () => {
    const decide = await deciderOf('rules: [{ methods: [POST] }]');
    const forms = [
      ...['_method', 'method', '$httpMethod', '%5Fmethod', '_METHOD', '_method[]'].map((name) =>
        bodyOf('application/x-www-form-urlencoded', `a=b&${name}=DELETE`),
      ),
      ...['"_method"', '_method', '"method"', '"_method[]"', `"a"; name*=utf-8''%5Fmethod`].map((name) =>
        bodyOf('multipart/form-data; boundary=x', multipart(name)),
      ),
      bodyOf('application/json', '{"_method":"DELETE"}'),
      bodyOf('application/x-www-form-urlencoded', 'a=b', false),
      bodyOf('application/x-www-form-urlencoded', 'a=b&'.repeat(2_000)),
    ];
    expect(passed(forms, (facts) => decide('/x', facts))).toEqual([]);
    expect(decide('/x', bodyOf('application/x-www-form-urlencoded', 'a=b&method=post')).outcome).toBe(
      'inject',
    );
    expect(decide('/x', bodyOf('application/json', '{"method":"DELETE"}')).outcome).toBe('inject');
  });

  test('is searched for in a form body before a person is asked', async () => {
    const decide = await deciderOf('rules: [{ methods: [POST], outcome: approve }]');
    const read = bodyOf('application/x-www-form-urlencoded', '_method=DELETE');
    const unread = { ...read, body: null };
    expect(decide('/x', unread)).toMatchObject({ outcome: 'approve', needsBody: true });
    expect(decide('/x', read)).toMatchObject({ outcome: 'deny', needsBody: false });
  });
});

describe('GraphQL in another encoding', () => {
  const domain =
    'rules: [{ name: no, paths: [/graphql], graphql: { types: [mutation] }, outcome: deny }], default: allow';
  const reads = 'rules: [{ paths: [/graphql], graphql: { types: [query] } }]';
  const mutations = ['mutation{x}', 'mutation M { x }', 'query Q{a} mutation M{x}', '# c\nmutation{x}'];
  const wrapped = mutations.flatMap((query) => [
    JSON.stringify({ query }),
    JSON.stringify({ query }, null, 2),
    ` \n${JSON.stringify({ query })}`,
    `\uFEFF${JSON.stringify({ query })}`,
    JSON.stringify({ variables: {}, query, operationName: null }),
    JSON.stringify([{ query }]),
    JSON.stringify({ a: { b: [1] }, query }),
    `{a, "query": ${JSON.stringify(query)}}`,
    `{a "query"}${JSON.stringify({ query })}`,
    `# c\n${JSON.stringify({ query })}`,
    `{query: ${JSON.stringify(query)}}`,
    `{query, ${JSON.stringify(query)}}`,
  ]);
  const types = [
    'application/graphql',
    'application/graphql; charset=utf-8',
    'APPLICATION/GRAPHQL',
    ' application/graphql',
  ];
  const asGraphql = types.flatMap((type) => wrapped.map((text) => [type, text] as const));
  const names = [
    'operationId',
    'hash',
    'sha256Hash',
    'persistedQueryId',
    'id',
    'documentId',
    'doc_id',
    'docId',
    'queryId',
    'query_hash',
    'persistedQuery',
    'document-id',
    'DocumentID',
    'ID',
    'OperationID',
  ];
  const texts = names.flatMap((name) => [
    JSON.stringify({ [name]: 'abc' }),
    JSON.stringify({ query: '{a}', [name]: 'abc' }),
    JSON.stringify([{ query: '{a}' }, { query: '{a}', [name]: 'abc' }]),
    JSON.stringify({ query: '{a}', extensions: { [name]: { sha256Hash: 'abc' } } }),
    JSON.stringify({ query: '{a}', extensions: JSON.stringify({ [name]: 'abc' }) }),
  ]);
  const urls = names.flatMap((name) => [
    `/graphql?${name}=abc`,
    `/graphql?query={a}&${name}=abc`,
    `/graphql?${percent(name)}=abc`,
    `/graphql?query={a}&extensions=${encodeURIComponent(JSON.stringify({ [name]: 'abc' }))}`,
    `/graphql?query={a}&extensions=${encodeURIComponent(`{"${name}":"abc"`)}`,
  ]);

  test(`cannot bypass a rule with any of ${asGraphql.length + texts.length + urls.length} requests`, async () => {
    expect(asGraphql.length + texts.length + urls.length).toBeGreaterThan(200);
    for (const rules of [domain, reads]) {
      const decide = await deciderOf(rules);
      expect(passed(asGraphql, ([type, text]) => decide('/graphql', bodyOf(type, text)))).toEqual([]);
      expect(passed(texts, (text) => decide('/graphql', bodyOf('application/json', text)))).toEqual([]);
      expect(passed(urls, (path) => decide(path))).toEqual([]);
    }
  });

  test('is allowed if it is a query that refers to no stored document', async () => {
    for (const rules of [domain, reads]) {
      const decide = await deciderOf(rules);
      for (const text of [
        '{a}',
        'query Q($a: I = {x: 1, y: ["mutation"]}) @d(e: "}{") { me(a: $a, b: "x", c: -1.5) { ...F, n: name @skip(if: true) } } fragment F on U { x }',
        '{ ... on U { x } ... @include(if: false) { y } }',
        'subscription S { a }\nquery { b }',
      ]) {
        const outcome = decide('/graphql', bodyOf('application/graphql', text)).outcome;
        expect([text, outcome]).toEqual([
          text,
          rules === reads && text.startsWith('sub') ? 'deny' : 'inject',
        ]);
      }
      const plain = {
        query: '{a}',
        variables: { id: 1 },
        operationName: null,
        extensions: { tracing: true },
      };
      expect(decide('/graphql', bodyOf('application/json', JSON.stringify(plain))).outcome).toBe('inject');
      expect(decide('/graphql?query={a}&extensions={%22tracing%22:true}').outcome).toBe('inject');
    }
  });

  test('cannot send a mutation over a WebSocket', async () => {
    const decide = await deciderOf(domain);
    expect(decide('/graphql', { upgrades: true })).toMatchObject({
      outcome: 'deny',
      ruleName: 'no',
      needsBody: false,
    });
    expect(decide('/other', { upgrades: true }).outcome).toBe('inject');
    const tools = await deciderOf(
      'rules: [{ paths: [/mcp], jsonrpc: { tools: [shell] }, outcome: deny }], default: allow',
    );
    expect(tools('/mcp', { upgrades: true }).outcome).toBe('deny');
    const read = await deciderOf(reads);
    expect(read('/graphql', { upgrades: true }).outcome).toBe('deny');
  });
});

describe('a path that a server treats as a denied path', () => {
  const suffixes = [
    '.json',
    '.JSON',
    '.xml',
    '.html',
    '.json.gz',
    '.',
    '..',
    '%2ejson',
    '%20',
    '%20.',
    '+.json',
    '/',
    './',
    '.json/',
    ';x',
    ';x=y',
    '%3bx',
    ';.json',
    '::$DATA',
    '::$data',
    ':$i30:$INDEX_ALLOCATION',
    '%3a%3a$DATA',
    ':stream',
    '()',
    "('')",
    '%00',
    '%0a',
    '%00.json',
    '%c2%a0',
    '%e2%80%8b',
    '%e2%80%8b.json',
    '/.',
    '//',
    '\\',
    '%5c',
    '%2f',
    '/index.html',
    '/index.php',
    '/default.aspx',
    '/Index',
    '%20%20::$DATA',
    '%ef%bc%8ejson',
    '%ef%bc%9a%ef%bc%9a$DATA',
    '%252ejson',
    '%u002ejson',
  ].filter((suffix) => suffix !== '+.json');
  const stems: readonly ((stem: string) => string)[] = [
    (stem) => stem,
    (stem) => stem.toUpperCase(),
    (stem) => stem.replace('admin', '%61dmin'),
    (stem) => stem.replace('admin', '%ef%bd%81dmin'),
    (stem) => `/index.php${stem}`,
    (stem) => `/APP.cgi${stem}`,
  ];
  const denied: readonly (readonly [glob: string, paths: readonly string[]])[] = [
    ['/admin', ['/admin']],
    ['/admin/**', ['/admin', '/admin/x']],
    ['/v1/*/admin', ['/v1/x/admin', '/v1/x.y/admin']],
    ['/**/admin', ['/admin', '/a/b/admin']],
    ['/adm*n', ['/admin', '/admen']],
    ['/admin*', ['/admin', '/admin2']],
  ];
  const count = denied.reduce((sum, [, paths]) => sum + paths.length * suffixes.length * stems.length, 0);

  test(`cannot bypass a rule with any of ${count} paths`, async () => {
    expect(count).toBeGreaterThan(300);
    for (const [glob, paths] of denied) {
      const decide = await deciderOf(`rules: [{ paths: ['${glob}'], outcome: deny }], default: allow`);
      const vectors = paths.flatMap((path) =>
        stems.flatMap((stem) => suffixes.map((suffix) => `${stem(path)}${suffix}`)),
      );
      expect([glob, passed(vectors, (path) => decide(path))]).toEqual([glob, []]);
    }
  });

  test('is detected within the path and after a program name', async () => {
    for (const [glob, paths] of [
      ['/users/*', ["/users('x')", '/users(1)', '/users(x).json', '/index.php/users/1']],
      ['/users/*/keys', ["/users('x')/keys", '/users.json/1/keys', '/users/1/keys.xml']],
      ['/admin.php', ['/admin.php/x.css', '/admin.php/a/b', '/ADMIN.php.']],
      ['/', ['/index.html', '/index.php', '/.json']],
    ] as const) {
      const decide = await deciderOf(`rules: [{ paths: ['${glob}'], outcome: deny }], default: allow`);
      expect([glob, passed(paths, (path) => decide(path))]).toEqual([glob, []]);
    }
  });

  test('does not match other segments, or paths that an earlier rule allows', async () => {
    const decide = await deciderOf(
      'rules: [{ paths: [/admin.css] }, { paths: [/admin], outcome: deny }], default: allow',
    );
    for (const path of [
      '/administrator',
      '/admin2',
      '/admin-x',
      '/admins',
      '/x/admin',
      '/admin.css',
      '/x.admin',
      '/admin/x',
    ]) {
      expect([path, decide(path).outcome]).toEqual([path, 'inject']);
    }
    expect(decide('/admin.xml')).toMatchObject({ outcome: 'deny' });
  });

  test('cannot be set by a header if rules judge paths', async () => {
    const pathFields = ['the header X-Original-URL'];
    const decide = await deciderOf('rules: [{ paths: [/admin], outcome: deny }], default: allow');
    expect(decide('/x', { pathFields })).toMatchObject({
      outcome: 'deny',
      code: 'policy_violation',
      reason:
        'the request names a path in the header X-Original-URL too, which some servers take for the path',
    });
    const free = await deciderOf('rules: [{ methods: [GET] }]');
    expect(free('/x', { pathFields }).outcome).toBe('inject');
  });
});

test('the time to match a path grows only with its length', async () => {
  const decide = await deciderOf(
    `rules: [{ paths: ['/**/*a*.*b*:c', '/a*a'], outcome: deny }], default: allow`,
  );
  const began = performance.now();
  for (const piece of ['a.', 'a:', '.', 'a%20', 'a('].map((text) => text.repeat(8_000 / text.length)))
    decide(`/${piece}`);
  expect(performance.now() - began).toBeLessThan(1_000);
});
