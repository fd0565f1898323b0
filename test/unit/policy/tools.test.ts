import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';
import { EventRewriter, mayCallTool, withoutTools } from '../../../src/policy/tools.ts';
import { factsOf } from '../../support/request-facts.ts';

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
    [
      'the last of two equal members',
      '{"result":{"tools":[{"name":"ok"}],"tools":[{"name":"bad"}]}}',
      '{"result":{"tools":[]}}',
    ],
  ])('loses the tools that may not be called: %s', (_, text, kept) => {
    expect(withoutTools(text, isListed)).toBe(kept);
  });

  test.each([
    answer('ok'),
    answer(),
    '{"result":null}',
    '{"result":{"tools":{}}}',
    '[null,7]',
    'null',
    'nonsense',
    '',
  ])('stays as it is: %s', (text) => {
    expect(withoutTools(text, isListed)).toBeNull();
  });
});

const rewriter = () =>
  new EventRewriter((data) => (data.includes('x') ? data.replaceAll(/[\nx]/g, '') : null));
const data = (out: string) => out.split(/\r\n|\n|\r/).filter((line) => line !== '');

const wholeOf = (text: string) => {
  const events = rewriter();
  return events.push(text) + events.end();
};

describe('events', () => {
  test.each([
    ['data: x1\n\n', 'data: 1\n\n'],
    ['data:x1\r\ndata:2\r\n\r\ndata: 3\r\n\r\n', 'data: 12\n\ndata: 3\r\n\r\n'],
    ['event: message\rid: 7\rdata: x1\r\r', 'event: message\nid: 7\ndata: 1\n\n'],
    [': comment\n\nretry: 5\n\ndata\ndata: x\n\n', ': comment\n\nretry: 5\n\ndata: \n\n'],
    ['data: x1', 'data: 1\n\n'],
    ['database: x\n\n', 'database: x\n\n'],
  ])('are rewritten one by one: %j', (text, rewritten) => {
    expect(wholeOf(text)).toBe(rewritten);
    for (let at = 0; at <= text.length; at += 1) {
      const events = rewriter();
      expect(data(events.push(text.slice(0, at)) + events.push(text.slice(at)) + events.end())).toEqual(
        data(rewritten),
      );
    }
  });

  test('are sent when they are complete, and not before', () => {
    const events = rewriter();
    expect(events.push('data: 1\n')).toBe('');
    expect(events.held).toBe(8);
    expect(events.push('\ndata')).toBe('data: 1\n\n');
    expect(events.held).toBe(4);
  });
});

const listed = async (rules: string, mode = 'enforce') => {
  const text = `version: 1\ndomains:\n  a.example: { grant: acme, mode: ${mode}, ${rules} }\n`;
  const { domains } = await parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' });
  const facts = factsOf('https://a.example/mcp', { method: 'POST', agent: 'ci' });
  return ['search', 'mail', 'shell'].filter((tool) => mayCallTool(domains[0]!.rules!, facts, tool));
};

describe('a tool is listed if some call of it may pass', () => {
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
  ])('%s', async (rules, tools) => {
    expect(await listed(rules)).toEqual(tools);
  });

  test('in report mode all are', async () => {
    expect(await listed('rules: [{ paths: [/other] }]', 'report')).toEqual(['search', 'mail', 'shell']);
  });
});
