/** A request is read once, however many rules are evaluated. The tests count calls instead of time. */
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { PathGlob } from '../../../../src/proxy/policy/path.ts';
import { type Conditions, noConditions, type RuleStep } from '../../../../src/proxy/policy/rule.ts';
import { parseGlob } from '../../../../src/proxy/policy/text.ts';
import { factsOf } from '../../../support/request-facts.ts';

// The functions work as before; their calls are counted.
vi.mock('../../../../src/proxy/policy/graphql.ts', { spy: true });
vi.mock('../../../../src/proxy/policy/path.ts', { spy: true });

// Test files share their modules, and another one may have loaded these without the mocks.
vi.resetModules();
const graphql = await import('../../../../src/proxy/policy/graphql.ts');
const reading = await import('../../../../src/proxy/policy/path.ts');
const judging = await import('../../../../src/proxy/policy/judge.ts');
const bodies = await import('../../../../src/proxy/policy/body.ts');
const requests = await import('../../../../src/proxy/policy/request.ts');

afterAll(() => {
  vi.resetModules();
});

beforeEach(() => {
  vi.clearAllMocks();
});

/** A domain with 50 rules that each look for something else. */
const domainOf = (conditions: (index: number) => Partial<Conditions>) =>
  judging.compileRules({
    rules: Array.from({ length: 50 }, (_, index) =>
      judging.compileRule({
        name: null,
        origin: 'here',
        key: 'rule',
        outcome: 'deny',
        conditions: { ...noConditions, ...conditions(index) },
        requireReason: false,
        limits: [],
        maxResponse: null,
        upgrades: [],
      }),
    ),
    default: 'deny',
    key: 'domain',
    defaultOrigin: 'here',
    mode: 'enforce',
    origin: 'here',
  });

describe('a request evaluated by 50 rules', () => {
  test('has each GraphQL document of its URL parsed once', () => {
    const domain = domainOf((index) => ({ graphql: { types: null, names: [parseGlob(`Secret${index}`)] } }));
    const steps: RuleStep[] = [];
    judging.evaluateRules(domain, factsOf('https://api.example.com/?query={a}&query=mutation+B{b}'), steps);
    expect(steps).toHaveLength(51);
    expect(graphql.urlOperations).toHaveBeenCalledTimes(1);
    expect(reading.readQuery).toHaveBeenCalledTimes(1);
  });

  test('with an unreadable body has no document of its URL parsed', () => {
    const domain = domainOf(() => ({ graphql: { types: ['query'], names: null } }));
    judging.evaluateRules(domain, factsOf('https://api.example.com/?query={a}', { contentLength: null }));
    expect(graphql.urlOperations).not.toHaveBeenCalled();
  });

  test('has its path and query parsed once, including for the suggested rule', () => {
    const domain = domainOf((index) => ({
      paths: [reading.parsePathGlob(`/a/${index}`) as PathGlob],
      query: new Map([['q', [parseGlob('x')]]]),
    }));
    expect(judging.evaluateRules(domain, factsOf('https://api.example.com/a/b?q=1')).hint).toContain('/a/b');
    expect(reading.readPath).toHaveBeenCalledTimes(1);
    expect(reading.readQuery).toHaveBeenCalledTimes(1);
  });

  test('has nothing parsed that no rule uses', () => {
    const domain = domainOf(() => ({ methods: ['GET'] }));
    judging.evaluateRules(domain, factsOf('https://api.example.com/a?q=1'));
    expect(reading.readPath).not.toHaveBeenCalled();
    expect(reading.readQuery).not.toHaveBeenCalled();
  });
});

const operations = (count: number) =>
  Array.from({ length: count }, (_, index) => `query A${index}{a}`).join('');

/** A request with so many operations in its body, and in each document of its URL. */
const requestWith = (inBody: number, ...inUrl: readonly number[]) => {
  const body = bodies.readBodyFacts(
    { contentType: 'application/graphql', contentEncoding: null, bytes: Buffer.from(operations(inBody)) },
    true,
  );
  const query = inUrl.map((count) => `query=${encodeURIComponent(operations(count))}`).join('&');
  return new requests.ReadRequest(factsOf(`https://api.example.com/?${query}`, { body, contentLength: 1 }));
};

describe('the operations of a request', () => {
  test('include those of the body and of the URL', () => {
    expect(requestWith(1, 2, 1).operations()).toMatchObject(
      ['A0', 'A0', 'A1', 'A0'].map((name) => ({ name })),
    );
  });

  test.each([
    ['1,000 in the body', requestWith(1_000), true],
    ['more in the body', requestWith(1_001), false],
    ['1,000 in the URL', requestWith(0, 1_000), true],
    ['more in the URL', requestWith(0, 1_001), false],
    ['more in two documents of the URL', requestWith(0, 600, 401), false],
    ['1,000 in both', requestWith(500, 500), true],
    ['more in both', requestWith(500, 501), false],
  ])('are read up to a bound: %s', (_, read, isRead) => {
    expect(read.operations()?.length ?? null).toBe(isRead ? 1_000 : null);
  });
});
