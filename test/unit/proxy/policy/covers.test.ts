import { expect, test } from 'vitest';
import { parseCidr } from '../../../../src/proxy/policy/authority.ts';
import { parsePathGlob, type PathGlob } from '../../../../src/proxy/policy/path.ts';
import {
  boundsOf,
  type Conditions,
  conditionsCover,
  noConditions,
} from '../../../../src/proxy/policy/rule.ts';
import { parseGlob } from '../../../../src/proxy/policy/text.ts';

const globs = (...texts: readonly string[]) => texts.map(parseGlob);
const paths = (...texts: readonly string[]) => ({
  paths: texts.map(parsePathGlob).filter((parsed): parsed is PathGlob => !('problem' in parsed)),
});
const clients = (...texts: readonly string[]) => ({
  clients: texts.map(parseCidr).filter((block) => block !== null),
});
const query = (name: string, ...values: readonly string[]) => ({
  query: new Map([[name, globs(...values)]]),
});
const value = { ...boundsOf([]), values: null };
const json = (condition: Partial<ReturnType<typeof boundsOf>>) => ({
  json: new Map([['$.a', { ...value, ...condition }]]),
});
const jsonrpc = (methods: readonly string[] | null, tools: readonly string[] | null) => ({
  jsonrpc: { methods: methods && globs(...methods), tools: tools && globs(...tools) },
});
const time = { from: 540, to: 1_020, weekdays: [1, 2, 3], zone: 'UTC' };

test.each<[string, Partial<Conditions>, Partial<Conditions>]>([
  ['no condition covers any condition', {}, { methods: ['GET'], agents: globs('a') }],
  ['the same methods in another order', { methods: ['GET', 'PUT'] }, { methods: ['PUT', 'GET'] }],
  ['more methods', { methods: ['GET', 'PUT'] }, { methods: ['PUT'] }],
  ['a wider glob', { agents: globs('ci-*') }, { agents: globs('ci-bot', 'ci-*-x') }],
  ['** in a path covers any depth', paths('/v1/**'), paths('/v1/users/*', '/v1', '/v1/**/x')],
  ['* in a path covers a narrower segment', paths('/v1/*/x'), paths('/v1/a*/x')],
  ['a larger address block', clients('10.0.0.0/8'), clients('10.1.0.0/16', '10.2.3.4')],
  [
    'fewer parameters',
    query('a', '*'),
    {
      query: new Map([
        ['a', globs('1')],
        ['b', globs('2')],
      ]),
    },
  ],
  ['more days', { times: [time] }, { times: [{ ...time, weekdays: [2] }] }],
  ['a longer body', { bodySize: { min: 0, max: null } }, { bodySize: { min: 1, max: 9 } }],
  ['more tools', jsonrpc(['tools/*'], ['a', 'b']), jsonrpc(['tools/call'], ['a'])],
  ['a wider range', json({ min: 0, max: 9 }), json({ min: 1, max: 9 })],
  ['a range without a list of values', json({ max: 9 }), json({ values: globs('1'), max: 9 })],
  ['an optional member covers a required one', json({ max: 9, optional: true }), json({ max: 9 })],
])('conditions cover others: %s', (_, outer, inner) => {
  expect(conditionsCover({ ...noConditions, ...outer }, { ...noConditions, ...inner })).toBe(true);
});

test.each<[string, Partial<Conditions>, Partial<Conditions>]>([
  ['a method condition does not cover no condition', { methods: ['GET'] }, {}],
  ['a condition of another kind', { methods: ['GET'] }, { agents: globs('a') }],
  ['an additional method', { methods: ['GET'] }, { methods: ['GET', 'PUT'] }],
  ['a wider glob', { agents: globs('ci-bot') }, { agents: globs('ci-*') }],
  ['a*b does not cover a*', { agents: globs('a*b') }, { agents: globs('a*') }],
  ['one segment does not cover any depth', paths('/v1/*'), paths('/v1/**')],
  ['one segment does not cover an empty segment', paths('/v1/*'), paths('/v1/')],
  ['a deeper path does not cover its parent', paths('/v1/*/**'), paths('/v1/**')],
  ['a larger block of the same address', clients('10.0.0.0/16'), clients('10.0.0.0/8')],
  ['another address family', clients('::/0'), clients('10.0.0.0/8')],
  [
    'one required parameter fewer',
    {
      query: new Map([
        ['a', globs('1')],
        ['b', globs('2')],
      ]),
    },
    query('a', '1'),
  ],
  ['another time zone', { times: [time] }, { times: [{ ...time, zone: 'Europe/Berlin' }] }],
  ['an unbounded body', { bodySize: { min: 0, max: 9 } }, { bodySize: { min: 1, max: null } }],
  ['methods other than tools/call', jsonrpc(null, ['a']), jsonrpc(['ping', 'tools/*'], ['a'])],
  ['a condition of tools without one of methods', jsonrpc(['ping'], ['a']), jsonrpc(null, ['a'])],
  ['a larger maximum', json({ max: 9 }), json({ max: 10 })],
  ['a smaller minimum', json({ min: 1 }), json({ min: 0 })],
  ['values without a range', json({ min: 1 }), json({ values: globs('1') })],
  ['a required member does not cover an optional one', json({ max: 9 }), json({ max: 9, optional: true })],
  [
    'a form field does not satisfy a JSON condition',
    json({ max: 9 }),
    { form: new Map([['$.a', globs('1')]]) },
  ],
])('conditions do not cover others: %s', (_, outer, inner) => {
  expect(conditionsCover({ ...noConditions, ...outer }, { ...noConditions, ...inner })).toBe(false);
});
