import { describe, expect, test, vi } from 'vitest';
import { readBodyFacts, type BodyCopy } from '../../../../src/proxy/policy/body.ts';

const unread = { graphql: null, jsonrpc: null };
const read = (text: string | Uint8Array, copy: Partial<BodyCopy> = {}, complete = true) =>
  readBodyFacts(
    { contentType: 'application/json', contentEncoding: null, bytes: Buffer.from(text), ...copy },
    complete,
  );
const graphql = (query: string) => read(JSON.stringify({ query })).graphql;
const batch = (count: number, part: object) => read(JSON.stringify(Array(count).fill(part)));

describe('the operations of a body', () => {
  test.each<[string, unknown]>([
    ['{ a }', [{ type: 'query', name: '' }]],
    ['query A { a }', [{ type: 'query', name: 'A' }]],
    ['mutation query { a }', [{ type: 'mutation', name: 'query' }]],
    ['subscription ($a: [Int!]! = [1]) { a }', [{ type: 'subscription', name: '' }]],
    ['"""about""" query A @d(s: """}"" { \\""" """) { a(s: "} \\" {") }', [{ type: 'query', name: 'A' }]],
    [
      'fragment F on T { a } query A { ...F } mutation B { b }',
      [
        { type: 'query', name: 'A' },
        { type: 'mutation', name: 'B' },
      ],
    ],
    ['\uFEFF,,# }{\n{ a { b { c } } }', [{ type: 'query', name: '' }]],
    ['fragment F on T { a }', null],
    ['', null],
    ['query A', null],
    ['{ a } }', null],
    ['{ (a }) }', null],
    ['{ a " }', null],
    ['{ a ; b }', null],
    ['type T { a: Int }', null],
    ['"x" { a }', null],
    ['extend { a }', null],
    ['{ a(s: "") }', [{ type: 'query', name: '' }]],
    ['{ a(s: "x\n") }', null],
    ['{ a(s: "x\\\n") }', null],
    ['{ a(s: "\\\\") } #', [{ type: 'query', name: '' }]],
    ['{ a(s: """""") }', [{ type: 'query', name: '' }]],
    ['{ a(s: """x"") }', null],
    ['{ a(s: """\\""") }', null],
    ['{ a(s: """"} mutation B { b(s: ""\\"""""") }', [{ type: 'query', name: '' }]],
    ['{ a } # mutation { b }\r# mutation { c }', [{ type: 'query', name: '' }]],
  ])('of the GraphQL document %j', (document, operations) => {
    expect(graphql(document)).toEqual(operations);
  });

  test.each<[string, unknown]>([
    [`{"jsonrpc":"2.0","id":1,"method":"ping"}`, [{ method: 'ping', tool: null }]],
    [
      `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{}}}`,
      [{ method: 'tools/call', tool: 'x', arguments: new Map() }],
    ],
    [`{"jsonrpc":"2.0","id":1,"method":"tools/call"}`, null],
    // Names that some servers accept for the member and use to look up the tool.
    [`{"jsonrpc":"2.0","id":1,"method":"tools/Call","params":{"name":"x"}}`, null],
    [`{"jsonrpc":"2.0","id":1,"method":"tools/call ","params":{"name":"x"}}`, null],
    [`{"jsonrpc":"2.0","id":1,"method":"tools/\uff43all","params":{"name":"x"}}`, null],
    [`{"jsonrpc":"2.0","id":1,"method":"tools/call\\u0000","params":{"name":"x"}}`, null],
    [`{"jsonrpc":"2.0","id":1,"method":"tools\u200b/call","params":{"name":"x"}}`, null],
    [`{"jsonrpc":"2.0","id":1,"method":"tools/calls"}`, [{ method: 'tools/calls', tool: null }]],
    [`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["x"]}`, null],
    [`{"jsonrpc":"2.0","id":1,"error":{}}`, [{ method: null, tool: null }]],
    [`{"jsonrpc":"2.0","id":1}`, null],
    [`{"jsonrpc":"1.0","id":1,"method":"ping"}`, null],
    [`{"jsonrpc":"2.0","method":"ping","METHOD":"x"}`, null],
    [`{"jsonrpc":"2.0","method":"ping","\\u006dethod":"x"}`, null],
    [`{"jsonrpc":"2.0","j\u017fonrpc":"2.0","method":"ping"}`, null],
    [
      `[{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","method":"b"}]`,
      [
        { method: 'a', tool: null },
        { method: 'b', tool: null },
      ],
    ],
    [`[{"jsonrpc":"2.0","method":"a"},7]`, null],
    ['[]', null],
    ['7', null],
  ])('of the JSON-RPC message %s', (text, calls) => {
    expect(read(text).jsonrpc).toEqual(calls);
  });

  test.each(['documentId', 'doc_id', 'queryId', 'query_hash', 'DocumentID', 'document-id'])(
    'of a document with the hash %s of another document are unreadable',
    (name) => {
      expect(read(JSON.stringify({ query: '{a}', [name]: 'x' })).graphql).toBeNull();
      expect(read(JSON.stringify({ query: '{a}', [name]: null })).graphql).not.toBeNull();
    },
  );

  test.each([{ extensions: { persistedQuery: { sha256Hash: 'x' } } }, { id: 7 }])(
    'of a document together with %j are unreadable, because servers differ',
    (beside) => {
      expect(read(JSON.stringify({ query: '{a}', ...beside })).graphql).toBeNull();
    },
  );

  test('of a batch are read up to 1,000 requests, calls and operations', () => {
    const call = { jsonrpc: '2.0', method: 'ping' };
    expect(batch(1_000, call).jsonrpc).toHaveLength(1_000);
    expect(batch(1_001, call).jsonrpc).toBeNull();
    expect(batch(500, { query: '{a} query B{b}' }).graphql).toHaveLength(1_000);
    expect(batch(501, { query: '{a} query B{b}' }).graphql).toBeNull();
    const asItIs = { contentType: 'application/graphql' };
    expect(read('{a}'.repeat(1_000), asItIs).graphql).toHaveLength(1_000);
    expect(read('{a}'.repeat(1_001), asItIs).graphql).toBeNull();
  });

  const mebibytes = 8 * 1_048_576;
  test.each([
    ['a GraphQL block string', JSON.stringify({ query: `{ a(s: """${'x'.repeat(mebibytes)}""") }` })],
    [
      'a GraphQL block string of escapes',
      JSON.stringify({ query: `{ a(s: """${'\\"""'.repeat(mebibytes / 4)}""") }` }),
    ],
    ['a GraphQL string of escapes', JSON.stringify({ query: `{ a(s: "${'\\n'.repeat(mebibytes / 2)}") }` })],
    ['ignored commas and comments', JSON.stringify({ query: `{ ${', #\n'.repeat(mebibytes / 4)} a }` })],
    ['escapes in JSON', JSON.stringify({ query: '{ a }', pad: '\n'.repeat(mebibytes) })],
  ])('of 8 MiB are read completely: %s', (_, text) => {
    expect(read(text).graphql).toEqual([{ type: 'query', name: '' }]);
  });

  test('are unreadable beyond the stack of the parser, without an exception', () => {
    const full = vi.spyOn(String.prototype, 'normalize').mockImplementation(() => {
      throw new RangeError('Invalid string length');
    });
    try {
      expect(read('{"query":"{a}","\u00fc":1}')).toEqual(unread);
    } finally {
      full.mockRestore();
    }
  });

  const query = '{"query":"{ a }"}';

  test('are unreadable if a key is duplicate at any depth', () => {
    expect(read('{"query":"{a}","variables":{"x":{"y":1,"y":2}}}')).toEqual(unread);
    expect(read('{"query":"{a}","variables":[{"y":1},{"y":"y,\\"y"}]}').graphql).not.toBeNull();
  });

  test('are empty for a missing body, and unreadable for a truncated body', () => {
    expect(read('')).toEqual({ graphql: [], jsonrpc: [], json: { value: undefined }, parameters: new Map() });
    expect(read('', { contentType: null })).toEqual({
      graphql: [],
      jsonrpc: [],
      json: { value: undefined },
      parameters: new Map(),
    });
    for (const text of [query, '']) {
      expect(read(text, {}, false)).toMatchObject({
        ...unread,
        unread: { problem: 'has more than 65536 bytes' },
      });
    }
  });

  test.each([
    [{ contentType: null }],
    [{ contentType: 'text/plain' }],
    [{ contentType: 'application/json, text/plain' }],
    [{ contentType: 'application/json; charset=utf-16' }],
    [{ contentType: 'application/json; charset=utf-8; charset=utf-16' }],
    [{ bytes: Buffer.from([0x22, 0xff, 0x22]) }],
    [{ bytes: Buffer.from('{"query":') }],
  ])('are not read for %j', (copy) => {
    expect(read(query, copy)).toEqual(unread);
  });

  test.each(['application/x-www-form-urlencoded', 'multipart/form-data; boundary=x'])(
    'of %s are read from its parameters only',
    (contentType) => {
      expect(read(query, { contentType })).toMatchObject({ ...unread, form: expect.any(Array) });
    },
  );

  test.each([
    [{ contentType: 'Application/JSON ; charset="UTF-8"' }],
    [{ contentType: 'application/graphql-response+json' }],
    [{ contentEncoding: 'Identity' }],
  ])('are read for %j', (copy) => {
    expect(read(query, copy).graphql).toEqual([{ type: 'query', name: '' }]);
  });
});
