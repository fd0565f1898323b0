import { describe, expect, test } from 'vitest';
import { ruleOf, same, textsOf } from '../../../src/pages/rule-fields.ts';

describe('the fields of a rule', () => {
  test.each([
    [
      { methods: ['GET', 'HEAD'], paths: ['/a/**', '/b'] },
      { methods: 'GET, HEAD', paths: '/a/**, /b' },
    ],
    [
      { outcome: 'approve', require_reason: true, agents: ['ci'] },
      { outcome: 'approve', require_reason: 'yes' },
    ],
    [{ jsonrpc: { tools: ['search', 'read_*'] } }, { tools: 'search, read_*' }],
    [
      { limits: [{ rate: '60/1m', per: 'agent' }, { requests_per_day: 5 }] },
      { limits: '60/1m per agent, 5/day' },
    ],
    [
      {
        times: [
          { from: '09:00', to: '17:30', weekdays: ['mon-fri', 'sun'], zone: 'Europe/Berlin' },
          { zone: 'UTC' },
        ],
      },
      { times: '09:00-17:30 mon-fri sun Europe/Berlin, UTC' },
    ],
    [
      {
        query: { state: ['open', 'closed'] },
        json: { '$.amount': { max: 100 }, '$.price': { min: -1.5, max: 2 } },
        form: { n: { min: 0 } },
      },
      {
        parameters: 'query state = open, closed\njson $.amount = ..100\njson $.price = -1.5..2\nform n = 0..',
      },
    ],
    [{}, { outcome: 'allow', methods: '' }],
  ])('show %j and read it again', (rule, texts) => {
    const shown = textsOf(rule)!;
    expect(shown).toMatchObject(texts);
    expect(ruleOf(shown)).toEqual(rule);
  });

  test.each([
    { policy: 'read-only' },
    { name: 'x', methods: ['GET'] },
    { body_size: { max: '1KiB' } },
    { jsonrpc: { methods: ['tools/*'], tools: ['search'] } },
    { limits: [{ rate: '60/1m', burst: 3 }] },
    { limits: [{ bytes_per_day: '1GB' }] },
    { limits: 'many' },
    { times: [{ from: '09:00', zone: 'UTC' }] },
    { paths: ['/a, b'] },
    { query: { state: ['1..2'] } },
    { json: { '$.note': { values: ['*'], optional: true } } },
    { json: { '$.note': null } },
    { form: { 'a = b': ['c'] } },
    { methods: 'GET' },
    { methods: [] },
    { require_reason: false },
  ])('do not show %j, which they would change', (rule) => {
    expect(textsOf(rule)).toBeNull();
  });

  test.each([
    { limits: '60' },
    { limits: '60/1m per person' },
    { times: '09:00 UTC' },
    { times: 'mon-fri' },
    { parameters: 'state = open' },
    { parameters: 'query state' },
    { parameters: 'query state =' },
  ])('have no rule for %j', (texts) => {
    expect(ruleOf({ outcome: 'allow', ...texts })).toBeNull();
  });

  test('are compared without the order of members', () => {
    expect(same({ a: 1, b: [{ c: 1, d: 2 }] }, { b: [{ d: 2, c: 1 }], a: 1 })).toBe(true);
    expect(same({ a: [1, 2] }, { a: [2, 1] })).toBe(false);
  });
});
