import { expect, test } from 'vitest';
import { readBodyFacts } from '../../src/proxy/policy/body.ts';
import { formTest, jsonTest, parseJsonPath } from '../../src/proxy/policy/parameters.ts';
import { ReadRequest } from '../../src/proxy/policy/request.ts';
import type { ConditionResult } from '../../src/proxy/policy/rule.ts';
import * as fc from '../support/fast-check.ts';
import { factsOf } from '../support/request-facts.ts';

/** Conditions on parameters, against servers that read them in different ways. */

const wanted = { values: null, min: null, max: 100, optional: false };

const requestOf = (contentType: string, text: string, query = ''): ReadRequest => {
  const bytes = Buffer.from(text);
  const body = readBodyFacts({ contentType, contentEncoding: null, bytes }, true);
  return new ReadRequest(
    factsOf(`https://a.example/${query}`, { method: 'POST', contentType, contentLength: bytes.length, body }),
  );
};

/** Returns the number that a server reads; null: none. */
type Reader = (pairs: readonly (readonly [string, string])[]) => number | null;

const numberOf = (text: string | undefined): number | null => {
  const number = text === undefined || text.trim() === '' ? Number.NaN : Number(text);
  return Number.isNaN(number) ? null : number;
};

/** If the condition holds, it does so for all servers that find a number; if it does not, for none. */
function expectAlike(
  result: ConditionResult,
  pairs: Parameters<Reader>[0],
  readers: readonly Reader[],
): void {
  for (const reader of readers) {
    const number = reader(pairs);
    if (result === 'yes') expect([pairs, number === null || number <= 100]).toEqual([pairs, true]);
    if (result === 'no') expect([pairs, number !== null && number <= 100]).toEqual([pairs, false]);
  }
}

const seenAll = (seen: ReadonlySet<ConditionResult>) =>
  expect([...seen].toSorted()).toEqual(['no', 'unclear', 'yes']);

const jsonReaders: readonly Reader[] = [
  // Parsers in C end a name at a NUL.
  (pairs) =>
    numberOf(pairs.findLast(([name]) => name.split('\\u0000')[0] === 'amount')?.[1].replaceAll('"', '')),
  (pairs) => numberOf(pairs.find(([name]) => name === 'amount')?.[1].replaceAll('"', '')),
  (pairs) => numberOf(pairs.findLast(([name]) => name === 'amount')?.[1].replaceAll('"', '')),
  (pairs) => numberOf(pairs.findLast(([name]) => name.toLowerCase() === 'amount')?.[1].replaceAll('"', '')),
];

test('a JSON member is judged as each server reads it', () => {
  const name = fc.constantFrom(
    'amount',
    'amount',
    'Amount',
    'AMOUNT',
    'amount\\u0000',
    'amount\\u0000x',
    'other',
  );
  const value = fc.constantFrom(
    '1',
    '100',
    '100.5',
    '101',
    '5e3',
    '1e2',
    '"1"',
    '"5000"',
    'null',
    '[5000]',
    '{}',
    'true',
  );
  const test = jsonTest(new Map([['$.amount', wanted]]));
  const seen = new Set<ConditionResult>();
  fc.assert(
    fc.property(
      fc.array(fc.tuple(name, value), { maxLength: 3 }),
      fc.constantFrom('', '?x=1', '?amount=5000'),
      (pairs, query) => {
        const text = `{${pairs.map(([name, value]) => `"${name}":${value}`).join()}}`;
        const result = test(requestOf('application/json', text, query));
        seen.add(result);
        const merged: Reader = () => (query === '?amount=5000' ? 5_000 : null);
        expectAlike(result, pairs, query === '?amount=5000' ? [...jsonReaders, merged] : jsonReaders);
      },
    ),
    { numRuns: 5_000 },
  );
  seenAll(seen);
});

const formReaders: readonly Reader[] = [
  (pairs) => numberOf(pairs.find(([name]) => name === 'amount')?.[1]),
  (pairs) => numberOf(pairs.findLast(([name]) => name === 'amount')?.[1]),
  // PHP, and servers that ignore case.
  (pairs) =>
    numberOf(
      pairs.findLast(([name]) => name.trimStart().split('[', 1)[0]!.split('\0', 1)[0] === 'amount')?.[1],
    ),
  (pairs) => numberOf(pairs.findLast(([name]) => name.toLowerCase() === 'amount')?.[1]),
  (pairs) => numberOf(pairs.find(([name]) => name === 'amount')?.[1].replace(/[^0-9.].*/, '')),
];

test('a form parameter is judged as each server reads it', () => {
  const name = fc.constantFrom(
    'amount',
    'amount',
    'Amount',
    'amount[]',
    'amount[x]',
    ' amount',
    'amount\0',
    'amount\u0001',
    'amounts',
    'other',
  );
  const value = fc.constantFrom(
    '1',
    '100',
    '100.5',
    '101',
    '5e3',
    '0x500',
    ' 1',
    '1 000',
    '',
    '-1',
    '1;5000',
  );
  const test = formTest(new Map([['amount', wanted]]));
  const seen = new Set<ConditionResult>();
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 3 }), (pairs) => {
      const result = test(
        requestOf(
          'application/x-www-form-urlencoded',
          new URLSearchParams(pairs.map(([a, b]) => [a, b])).toString(),
        ),
      );
      seen.add(result);
      expectAlike(result, pairs, formReaders);
    }),
    { numRuns: 5_000 },
  );
  seenAll(seen);
});

test('a number is never judged below a bound that its digits exceed', () => {
  const digits = fc
    .tuple(fc.constantFrom('99', '100', '101'), fc.array(fc.constantFrom('0', '1', '9'), { maxLength: 25 }))
    .map(([whole, fraction]) => (fraction.length === 0 ? whole : `${whole}.${fraction.join('')}`));
  const ofJson = jsonTest(new Map([['$.amount', wanted]]));
  const ofForm = formTest(new Map([['amount', wanted]]));
  fc.assert(
    fc.property(digits, (digits) => {
      const isAbove = !/^(?:99|100(?:\.0*)?$)/.test(digits);
      const results = [
        ofJson(requestOf('application/json', `{"amount":${digits}}`)),
        ofForm(requestOf('application/x-www-form-urlencoded', `amount=${digits}`)),
      ];
      for (const result of results) expect(result).not.toBe(isAbove ? 'yes' : 'no');
    }),
    { numRuns: 3_000 },
  );
});

test('any text is parsed as a JSON path or refused', () => {
  const part = fc.constantFrom('$', '.', 'a', '[*]', "['b c']", '*', '[', ']', "'", ' ', '..', '[0]', '"');
  let parsed = 0;
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (more) => {
      const parts = more.length % 2 === 0 ? ['$', ...more] : more;
      const steps = parseJsonPath(parts.join(''));
      if (steps === null) return;
      parsed += 1;
      expect(parts[0]).toBe('$');
      expect(steps.every((step) => typeof step === 'symbol' || step !== '')).toBe(true);
    }),
    { numRuns: 20_000 },
  );
  expect(parsed).toBeGreaterThan(50);
});
