import { expect, it } from 'vitest';
import { limitReached } from '../../../../src/proxy/policy/limits.ts';
import type { RuleLimit } from '../../../../src/proxy/policy/rule.ts';

const rate = {
  kind: 'rate',
  per: 'agent',
  count: 60,
  perMs: 60_000,
  burst: 60,
  key: 'api.example 508baf84dacd6f93 rate agent 0',
  origin: 'policies.read[0] (sidekey.yaml:12)',
} as const;
const budget = {
  kind: 'budget',
  per: 'grant',
  requests: 1_000,
  bytes: null,
  key: 'sidekey.yaml:12',
} as const;

it('a limit refusal is a 429 with Retry-After', () => {
  expect(limitReached(rate, 1_500)).toMatchObject({
    code: 'rate_limited',
    status: 429,
    retryAfterMs: 1_500,
    hint: 'Try again in 2 s, or raise the limit of policies.read[0] (sidekey.yaml:12)',
  });
});

it.each<[RuleLimit, string]>([
  [rate, 'this agent 60 requests every 1 min'],
  [{ ...rate, count: 1, perMs: 1_500, burst: 5 }, 'this agent 1 request every 1.5 s (and 5 at once)'],
  [{ ...rate, per: 'rule', perMs: 86_400_000 }, 'all requests of the rule together 60 requests every 1 d'],
  [budget, 'all requests with this grant together 1,000 requests a day (UTC)'],
  [{ ...budget, bytes: 1 }, 'all requests with this grant together 1,000 requests and 1 byte a day (UTC)'],
  [
    { ...budget, requests: null, bytes: 1_048_576 },
    'all requests with this grant together 1,048,576 bytes a day (UTC)',
  ],
])('the message of a limit refusal describes the limit %j', (limit, text) => {
  expect(limitReached(limit, 1).message).toBe(`A rule allows ${text}, and they are used up.`);
});
