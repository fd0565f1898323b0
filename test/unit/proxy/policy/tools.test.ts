import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../../../src/config/load.ts';
import { EventRewriter, mayCallTool, withoutTools } from '../../../../src/proxy/policy/tools.ts';
import { factsOf } from '../../../support/request-facts.ts';

const isListed = (tool: string) => tool.startsWith('ok');
const answer = (...names: readonly unknown[]) =>
  JSON.stringify({ jsonrpc: '2.0', id: 1, result: { tools: names.map((name) => ({ name })) } });

describe('a list of tools', () => {
  test.each([
    ['an answer', answer('ok1', 'bad', 'ok2'), answer('ok1', 'ok2')],
    [
      'a tool without a name',
      `{"result":{"tools":[{"title":"x"},null,7,{"name":5},{"name":"ok"}]}}`,
      '{"result":{"tools":[{"name":"ok"}]}}',
    ],
    ['a batch', `[{"id":1,"result":{}},${answer('bad')}]`, `[{"id":1,"result":{}},${answer()}]`],
    [
      'large numbers and other members',
      '{"id":9007199254740993,"result":{"tools":[{"name":"bad"},{"name":"ok","inputSchema":{"maximum":9223372036854775807}}],"nextCursor":"a\\u2028"}}',
      '{"id":9007199254740993,"result":{"tools":[{"name":"ok","inputSchema":{"maximum":9223372036854775807}}],"nextCursor":"a\u2028"}}',
    ],
    ['an answer of the client stays unchanged', '{"id":1,"result":null}', '{"id":1,"result":null}'],
    [
      'a result without tools stays unchanged',
      '[{"result":{"tools":null}},7]',
      '[{"result":{"tools":null}},7]',
    ],
    ['a JSON number stays unchanged', '7', '7'],
    ['numbers keep their digits', '{"id":1e400}', '{"id":1e400}'],
  ])('loses the tools that may not be called: %s', (_, text, kept) => {
    expect(withoutTools(Buffer.from(text), isListed)).toBe(kept);
  });

  test.each(
    Object.entries<string | Buffer>({
      'text that is not JSON': 'nonsense',
      'an empty text': '',
      'a truncated text': answer('bad').slice(0, -1),
      'a byte order mark': `\uFEFF${answer('bad')}`,
      'UTF-16': Buffer.from(answer('bad'), 'utf16le'),
      'bytes that are not UTF-8': Buffer.from(`{"a":"\xff","b":${answer('bad')}}`, 'latin1'),
      'an overlong form': Buffer.from(`{"res\xc1\xb5lt":${answer('bad')}}`, 'latin1'),
      'JSON with comments': `/**/${answer('bad')}`,
      'a trailing comma': '{"result":{"tools":[{"name":"bad"},]}}',
      'two values': `${answer()}${answer('bad')}`,
      'a repeated result': '{"result":{"tools":[{"name":"bad"}]},"result":{}}',
      'a repeated list': '{"result":{"tools":[{"name":"ok"}],"tools":[{"name":"bad"}]}}',
      'a repeated name': '{"result":{"tools":[{"name":"bad","n\\u0061me":"ok"}]}}',
      'a result in capitals': '{"Result":{"tools":[{"name":"bad"}]}}',
      'a list in capitals': '{"result":{"TOOLS":[{"name":"bad"}]}}',
      'a name in capitals': '{"result":{"tools":[{"name":"ok","Name":"bad"}]}}',
      'a name in other letters': '{"re\u017fult":{"tools":[{"name":"bad"}]}}',
      'a name with an invisible character': '{"result":{"tools\u200b":[{"name":"bad"}]}}',
      'a name that ends at a NUL': '{"result":{"tools\\u0000":[{"name":"bad"}]}}',
      'a name with a lone surrogate': '{"result\\ud800":{"tools":[{"name":"bad"}]}}',
      'a list that is an object': '{"result":{"tools":{"a":{"name":"bad"}}}}',
      'a list that is a text': '{"result":{"tools":"[]"}}',
      'a batch in a batch': `[[${answer('bad')}]]`,
    }),
  )('is ambiguous with %s', (_, json) => {
    expect(withoutTools(Buffer.from(json), isListed)).toBeNull();
  });
});

const ok = answer('ok');
const both = answer('ok', 'bad');
/** Bytes of a stream, in latin1. */
const bytesOf = (text: string) => Buffer.from(text).toString('latin1');
const rewriter = () => new EventRewriter((data) => withoutTools(data, isListed));

function rewritten(...pieces: readonly string[]): string | null {
  const events = rewriter();
  let out = '';
  for (const piece of pieces) {
    const complete = events.push(piece);
    if (complete === null) return null;
    out += complete;
  }
  const rest = events.end();
  return rest === null ? null : out + rest;
}
const linesOf = (out: string | null) => out?.split('\n').filter((line) => line !== '');

describe('events', () => {
  const middle = both.indexOf(',') + 1;
  const [half, rest] = [both.slice(0, middle), both.slice(middle)];
  test.each<[string, string, string]>([
    ['with LF line ends', `data: ${both}\n\n`, `data: ${ok}\n\n`],
    [
      'with CR LF line ends, and data in several lines',
      `data:${half}\r\ndata:${rest}\r\n\r\n`,
      `data: ${ok}\n\n`,
    ],
    [
      'with CR line ends',
      `event: message\rid: 7\rdata: ${both}\r\r`,
      `event: message\nid: 7\ndata: ${ok}\n\n`,
    ],
    ['with mixed line ends', `data: ${both}\n\rid: 8\r\r\n`, `data: ${ok}\n\nid: 8\n\n`],
    ['several events', `data: ${both}\n\ndata: ${both}\n\n`, `data: ${ok}\n\ndata: ${ok}\n\n`],
    [
      'a repeated event id',
      `id: 1\ndata: ${both}\n\nid: 1\ndata: 1\n\n`,
      `id: 1\ndata: ${ok}\n\nid: 1\ndata: 1\n\n`,
    ],
    ['comments and retry fields', `: ping\n\nretry: 5\n\ndata\n\n`, ': ping\n\nretry: 5\n\ndata: \n\n'],
    [
      'an endpoint event with a URL',
      'event: endpoint\ndata: /messages?id=1\n\n',
      'event: endpoint\ndata: /messages?id=1\n\n',
    ],
    ['no empty line at the end', `data: ${both}`, `data: ${ok}\n\n`],
    ['a byte order mark', bytesOf(`\uFEFFdata: ${both}\n\n`), `data: ${ok}\n\n`],
    [
      'a byte order mark after the first event',
      bytesOf(`data: 1\n\n\uFEFFdata: ${both}\n\n`),
      `data: 1\n\ndata: ${ok}\n\n`,
    ],
    [
      'fields with names other than data',
      `database: ${both}\nData: ${both}\ndata : ${both}\n${both}\n\n`,
      '\n\n',
    ],
    ['UTF-16', Buffer.from(`data: ${both}\n\n`, 'utf16le').toString('latin1'), ''],
    ['line ends that only Python recognizes, in a comment', bytesOf(`: x\u2028data: ${both}\n\n`), '\n\n'],
    ['line ends that only Python recognizes, in a field', bytesOf(`id: 1\u0085data: ${both}\n\n`), '\n\n'],
    [
      'line ends that only Python recognizes, in a text',
      bytesOf('data: {"a":"\u2028data: {}\u0085ü"}\n\n'),
      bytesOf('data: {"a":"\\u2028data: {}\\u0085ü"}\n\n'),
    ],
    [
      'a message over several lines, one of them a message too',
      `data: {"a":\ndata: ${both}\ndata: }\n\n`,
      `data: {"a":${both}}\n\n`,
    ],
  ])('are rewritten one by one: %s', (_, text, expected) => {
    expect(linesOf(rewritten(text))).toEqual(linesOf(expected));
    for (let at = 0; at <= text.length; at += 1) {
      expect(linesOf(rewritten(text.slice(0, at), text.slice(at)))).toEqual(linesOf(expected));
    }
  });

  test.each([
    ['a repeated member', '{"result":{"tools":[{"name":"bad"}]},"result":{}}'],
    ['two messages', `${ok}\ndata: ${both}`],
    ['a byte order mark', bytesOf(`\uFEFF${both}`)],
    ['bytes that are not UTF-8', `{"a":"\xff"}${both}`],
    ['a prefix before the JSON text', `)]}'${both}`],
  ])('are refused if programs read one in different ways: %s', (_, data) => {
    expect(rewritten(`data: 1\n\ndata: ${data}\n\n`)).toBeNull();
    expect(rewritten(`data: ${data}`)).toBeNull();
  });

  test('are sent when they are complete, and not before', () => {
    const events = rewriter();
    expect(events.push('data: 1\n')).toBe('');
    expect(events.held).toBe(8);
    expect(events.push('\ndata')).toBe('data: 1\n\n');
    expect(events.held).toBe(4);
  });
});

const listed = async (rules: string, mode = 'enforce', method = 'POST') => {
  const text = `version: 1\ndomains:\n  a.example: { grant: acme, mode: ${mode}, ${rules} }\n`;
  const { domains } = await parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' });
  const facts = factsOf('https://a.example/mcp', { method, agent: 'ci' });
  return ['search', 'mail', 'shell'].filter((tool) => mayCallTool(domains[0]!.rules!, facts, tool));
};

describe('a listing', () => {
  test.each([
    ['rules: [{ jsonrpc: { methods: [tools/*], tools: [search] } }]', ['search']],
    ['rules: [{ jsonrpc: { tools: [s*] }, outcome: approve }]', ['search', 'shell']],
    ['rules: [{ jsonrpc: { tools: [shell] }, outcome: deny }], default: allow', ['search', 'mail']],
    ['rules: [{ jsonrpc: { tools: [mail], arguments: { $.to: [a] } } }]', ['mail']],
    [
      'rules: [{ jsonrpc: { tools: [mail], arguments: { $.to: [a] } }, outcome: deny }], default: allow',
      ['search', 'mail', 'shell'],
    ],
    [
      'rules: [{ jsonrpc: { tools: [mail] }, agents: [other] }, { jsonrpc: { tools: [search] }, agents: [ci] }]',
      ['search'],
    ],
    ['rules: [{ jsonrpc: { tools: [mail] }, body_size: { max: 9 } }]', ['mail']],
    ['rules: [{ jsonrpc: { methods: [tools/list] } }]', []],
    ['rules: [{ graphql: { types: [query] } }]', []],
    ['rules: [{ paths: [/other] }]', []],
  ])('has each tool for which some call may pass: %s', async (rules, tools) => {
    expect(await listed(rules)).toEqual(tools);
  });

  test.each([
    ['rules: [{ methods: [GET, DELETE] }, { methods: [POST], jsonrpc: { tools: [mail] } }]', ['mail']],
    [
      'rules: [{ paths: [/mcp], methods: [GET] }, { paths: [/messages], jsonrpc: { tools: [mail] } }]',
      ['mail'],
    ],
    [
      'rules: [{ paths: [/other] }, { content_types: [application/json], jsonrpc: { tools: [s*] } }]',
      ['search', 'shell'],
    ],
    [
      'rules: [{ paths: [/other], jsonrpc: { tools: [mail] }, outcome: deny }], default: allow',
      ['search', 'shell'],
    ],
    ['rules: [{ paths: [/mcp] }, { jsonrpc: { tools: [mail] } }]', ['search', 'mail', 'shell']],
  ])('in a stream has each tool for which some call may pass: %s', async (rules, tools) => {
    expect(await listed(rules, 'enforce', 'GET')).toEqual(tools);
  });

  test('in report mode has every tool', async () => {
    expect(await listed('rules: [{ paths: [/other] }]', 'report')).toEqual(['search', 'mail', 'shell']);
  });
});
