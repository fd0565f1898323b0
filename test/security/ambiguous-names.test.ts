/**
 * JSON, forms and queries in which one server reads another name or value than the next: no rule may be
 * passed by them.
 */
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { readBodyFacts } from '../../src/proxy/policy/body.ts';
import { decideRequest } from '../../src/proxy/policy/decide.ts';
import { createDomainMap } from '../../src/proxy/policy/domain-map.ts';
import { factsOf } from '../support/request-facts.ts';

const domains = `
  deny.example:
    grant: acme
    default: allow
    rules:
      - { paths: [/json], json: { $.role: [admin] }, outcome: deny }
      - { paths: [/form], form: { role: [admin] }, outcome: deny }
      - { paths: [/query], query: { role: [admin] }, outcome: deny }
      - { paths: [/mcp], jsonrpc: { tools: [delete] }, outcome: deny }
      - { paths: [/rpc], jsonrpc: { methods: [users/delete] }, outcome: deny }
  allow.example:
    grant: acme
    rules:
      - { paths: [/json], json: { $.role: { values: [guest], optional: true } } }
      - { paths: [/form], form: { role: { values: [guest], optional: true } } }
      - { paths: [/query], query: { role: { values: [guest], optional: true } } }
      - { paths: [/mcp], jsonrpc: { methods: [tools/*], tools: [search] } }
      - { paths: [/rpc], jsonrpc: { methods: [users/list] } }
`;
const { domains: entries } = await parseConfig(`version: 1\ndomains:${domains}`, '/x/sidekey.yaml', {
  env: {},
  cwd: '/x',
});
const policy = { domains: createDomainMap(entries), unmatched: 'deny' } as const;

const form = 'application/x-www-form-urlencoded';

/** Returns the outcomes at both hosts. */
function outcomesOf(path: string, body: string | Buffer, contentType = 'application/json') {
  const bytes = Buffer.from(body);
  const facts = {
    method: 'POST',
    contentType,
    contentLength: bytes.length,
    body: readBodyFacts({ contentType, contentEncoding: null, bytes }, true),
  };
  return ['deny', 'allow'].map(
    (host) => decideRequest(policy, factsOf(`https://${host}.example${path}`, facts)).outcome,
  );
}
const refused = ['deny', 'deny'];

describe('a JSON member name that some servers read differently', () => {
  test('is matched normally if all servers read it alike', () => {
    expect(outcomesOf('/json', '{"role":"guest","other":{"a\\u00a0":"b\\n"}}')).toEqual(['inject', 'inject']);
    expect(outcomesOf('/json', '{"role":"admin"}')).toEqual(refused);
  });

  test.each(
    Object.entries({
      'a repeated name': '{"role":"admin","role":"guest"}',
      'a repeated name in escapes': '{"role":"admin","r\\u006fle":"guest"}',
      'a name in capitals': '{"ROLE":"admin"}',
      'a name in full-width letters': '{"\uff52ole":"admin"}',
      'a name with an invisible character': '{"ro\u200ble":"admin"}',
      'a name with a NUL': '{"role\\u0000":"admin"}',
      'a name that ends at a NUL': '{"role\\u0000x":"admin","x":1}',
      'a name with a control character': '{"role\\u001f":"admin"}',
      'a name with DEL': '{"role\\u007f":"admin"}',
      'a name with a control character of C1': '{"role\\u0085":"admin"}',
      'a name with a tab': '{"role\\t":"admin"}',
      'a name with a high surrogate': '{"role\\ud800":"admin"}',
      'a name with a low surrogate': '{"\\udc00role":"admin"}',
      'a name with surrogates in the wrong order': '{"role\\udc00\\ud800":"admin"}',
      'a name with an unescaped control character': '{"role\u0001":"admin"}',
      'a name of the second level': '{"role":"guest","a":{"b\\u0000":1}}',
      'a byte order mark': '\uFEFF{"role":"guest"}',
      'UTF-16': Buffer.from('{"role":"admin"}', 'utf16le'),
      'a name in an overlong form': Buffer.from('{"rol\xc1\xa5":"admin"}', 'latin1'),
      'a name with an encoded surrogate': Buffer.from('{"role\xed\xa0\x80":"admin"}', 'latin1'),
      'a name with bytes that are not UTF-8': Buffer.from('{"role\xff":"admin"}', 'latin1'),
      'a value that ends at a NUL': '{"role":"admin\\u0000guest"}',
      'a value with a lone surrogate': '{"role":"admin\\ud800"}',
      'a value in capitals': '{"role":"ADMIN"}',
    }),
  )('is refused by a deny rule and by an allow rule: %s', (_, body) => {
    expect(outcomesOf('/json', body)).toEqual(refused);
  });

  test('is an ordinary name if it only contains a valid surrogate pair', () => {
    expect(outcomesOf('/json', '{"\\ud83d\\ude00":1,"role":"guest"}')).toEqual(['inject', 'inject']);
  });
});

test.each(
  Object.entries({
    'a NUL': 'role%00=admin',
    'a name that ends at a NUL': 'role%00x=admin',
    'a control character': 'role%01=admin',
    'a tab': '%09role=admin',
    'a line break': 'role%0a=admin',
    DEL: 'role%7f=admin',
    'a control character of C1': 'role%c2%85=admin',
    'an overlong form': 'rol%c1%a5=admin',
    'an encoded surrogate': 'role%ed%a0%80=admin',
    'a byte that is not UTF-8': 'role%ff=admin',
    'an invisible character': 'ro%e2%80%8ble=admin',
    'full-width letters': '%ef%bd%92ole=admin',
    capitals: 'ROLE=admin',
    'a control character in the name of another': 'x%1f=1&role=guest',
    'a value with a NUL': 'role=admin%00guest',
  }),
)('a form or query parameter is refused by a deny rule and by an allow rule, with %s', (_, text) => {
  expect(outcomesOf('/form', text, form)).toEqual(refused);
  expect(outcomesOf(`/query?${text}`, '')).toEqual(refused);
});

const calls = (method: string, params = '{"name":"delete"}') =>
  `{"jsonrpc":"2.0","id":1,"method":"${method}","params":${params}}`;

describe('an RPC call that some servers read differently', () => {
  test('is matched normally if all servers read it alike', () => {
    expect(outcomesOf('/mcp', calls('tools/call', '{"name":"search"}'))).toEqual(['inject', 'inject']);
    expect(outcomesOf('/mcp', calls('tools\\u002fcall', '{"name":"search"}'))).toEqual(['inject', 'inject']);
    expect(outcomesOf('/mcp', calls('tools\\u002fcall'))).toEqual(refused);
  });

  test.each(
    Object.entries({
      'a method in capitals': calls('Tools/Call'),
      'a method with a blank': calls('tools/call '),
      'a method with a NUL': calls('tools/call\\u0000'),
      'a list in capitals': calls('TOOLS/LIST', '{}'),
      'a list with a NUL': calls('tools/list\\u0000', '{}'),
      'a repeated method': calls('tools/list","method":"tools/call'),
      'a method in another spelling': calls('tools/list","Method":"tools/call'),
      'a method up to a NUL': calls('tools/list","method\\u0000":"tools/call'),
      'a tool in capitals': calls('tools/call', '{"name":"Delete"}'),
      'a tool with a NUL': calls('tools/call', '{"name":"delete\\u0000"}'),
      'a tool with a lone surrogate': calls('tools/call', '{"name":"delete\\ud800"}'),
      'a repeated tool': calls('tools/call', '{"name":"search","name":"delete"}'),
      'a tool under another spelling': calls('tools/call', '{"name":"search","NAME":"delete"}'),
      'a tool up to a NUL': calls('tools/call', '{"name":"search","name\\u0000x":"delete"}'),
      'no version': '{"id":1,"method":"tools/call","params":{"name":"delete"}}',
      'a batch': `[${calls('tools/call', '{"name":"search"}')},${calls('tools/call')}]`,
      'a batch in a batch': `[[${calls('tools/call')}]]`,
      'two values': `${calls('ping')}${calls('tools/call')}`,
    }),
  )('is refused by a deny rule and by an allow rule: %s', (_, body) => {
    expect(outcomesOf('/mcp', body)).toEqual(refused);
  });

  test.each(['Users/Delete', 'users/delete\\u0000', 'users/delete\\ud800', 'users/\uff44elete'])(
    'is refused if its method is %s',
    (method) => {
      expect(outcomesOf('/rpc', calls(method))).toEqual(refused);
    },
  );
});
