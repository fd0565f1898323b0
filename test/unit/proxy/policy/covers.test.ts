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
  ['none, anything', {}, { methods: ['GET'], agents: globs('a') }],
  ['the same', { methods: ['GET', 'PUT'] }, { methods: ['PUT', 'GET'] }],
  ['more methods', { methods: ['GET', 'PUT'] }, { methods: ['PUT'] }],
  ['a wider glob', { agents: globs('ci-*') }, { agents: globs('ci-bot', 'ci-*-x') }],
  ['any depth', paths('/v1/**'), paths('/v1/users/*', '/v1', '/v1/**/x')],
  ['any segment', paths('/v1/*/x'), paths('/v1/a*/x')],
  ['a larger block', clients('10.0.0.0/8'), clients('10.1.0.0/16', '10.2.3.4')],
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
  ['any value', json({ max: 9 }), json({ values: globs('1'), max: 9 })],
  ['what may be absent', json({ max: 9, optional: true }), json({ max: 9 })],
])('conditions cover others: %s', (_, outer, inner) => {
  expect(conditionsCover({ ...noConditions, ...outer }, { ...noConditions, ...inner })).toBe(true);
});

test.each<[string, Partial<Conditions>, Partial<Conditions>]>([
  ['anything by one', { methods: ['GET'] }, {}],
  ['another condition', { methods: ['GET'] }, { agents: globs('a') }],
  ['one method more', { methods: ['GET'] }, { methods: ['GET', 'PUT'] }],
  ['a wider glob', { agents: globs('ci-bot') }, { agents: globs('ci-*') }],
  ['a star by letters that it may be', { agents: globs('a*b') }, { agents: globs('a*') }],
  ['any depth by one segment', paths('/v1/*'), paths('/v1/**')],
  ['no segment by one', paths('/v1/*'), paths('/v1/')],
  ['what is above', paths('/v1/*/**'), paths('/v1/**')],
  ['a larger block of the same address', clients('10.0.0.0/16'), clients('10.0.0.0/8')],
  ['another family', clients('::/0'), clients('10.0.0.0/8')],
  [
    'a parameter less',
    {
      query: new Map([
        ['a', globs('1')],
        ['b', globs('2')],
      ]),
    },
    query('a', '1'),
  ],
  ['another zone', { times: [time] }, { times: [{ ...time, zone: 'Europe/Berlin' }] }],
  ['an unbounded body', { bodySize: { min: 0, max: 9 } }, { bodySize: { min: 1, max: null } }],
  ['methods without a tool', jsonrpc(null, ['a']), jsonrpc(['ping', 'tools/*'], ['a'])],
  ['tools alone by methods', jsonrpc(['ping'], ['a']), jsonrpc(null, ['a'])],
  ['a larger maximum', json({ max: 9 }), json({ max: 10 })],
  ['a smaller minimum', json({ min: 1 }), json({ min: 0 })],
  ['an open range', json({ min: 1 }), json({ values: globs('1') })],
  ['an absent member', json({ max: 9 }), json({ max: 9, optional: true })],
  ['a form', json({ max: 9 }), { form: new Map([['$.a', globs('1')]]) }],
])('conditions do not cover others: %s', (_, outer, inner) => {
  expect(conditionsCover({ ...noConditions, ...outer }, { ...noConditions, ...inner })).toBe(false);
});
