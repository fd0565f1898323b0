import { describe, expect, test } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { defaultLimits } from '../../../src/proxy/policy/limits.ts';
import { ConnectionPlan } from '../../../src/proxy/plan.ts';
import { PlannedFields } from '../../../src/proxy/schemes/apply.ts';
import { authorityOf } from './policy/policy-for-test.ts';

/**
 * `test/property/plan.test.ts` compares what a plan leads to. Here are the checks that no request of it can
 * reach.
 */
describe('a connection’s plan', () => {
  test('computes new labels if the agent or the grant has another list of labels', () => {
    const plan = new ConnectionPlan({ address: '127.0.0.1:4711' });
    const [agent, grant] = [['a'], ['g']];
    const both = plan.labels(agent, grant);
    expect(both).toEqual(['a', 'g']);
    expect(plan.labels(agent, grant)).toBe(both);
    expect(plan.labels(agent, ['h'])).toEqual(['a', 'h']);
    expect(plan.labels(['b'], grant)).toEqual(['b', 'g']);
    expect(plan.labels(agent, grant)).toEqual(['a', 'g']);
  });

  test('computes a new framing if the HTTP version changes', () => {
    const plan = new ConnectionPlan({ address: '127.0.0.1:4711' });
    const head = { method: 'POST', target: '/', fields: ['Transfer-Encoding', 'chunked'] } as const;
    const framing = (version: '1.0' | '1.1') =>
      plan.facts({ ...head, version }, defaultLimits, { find: () => [] }).framing;
    expect(framing('1.1')).toEqual({ kind: 'chunked' });
    expect(framing('1.0')).toBeInstanceOf(SidekeyError);
  });

  test('computes new fields if the authority changes', () => {
    const plan = new ConnectionPlan({ address: '127.0.0.1:4711' });
    const head = { method: 'GET', target: '/', version: '1.1', fields: ['Accept', '*/*'] } as const;
    expect(plan.forwarded(head, authorityOf('a.example'))).toEqual(['Host', 'a.example', 'Accept', '*/*']);
    expect(plan.forwarded(head, authorityOf('b.example'))).toEqual(['Host', 'b.example', 'Accept', '*/*']);
  });
});

describe('planned fields with a credential', () => {
  const fields = ['Host', 'a.example'];
  const sealed = { credential: { type: 'api_key', value: 'secret' }, audience: ['a.example'] } as const;
  const bearer = { kind: 'bearer' } as const;
  const applied = { fields: [...fields, 'Authorization', 'Bearer secret'] };

  test('are found only for the same objects', () => {
    const planned = new PlannedFields();
    const authority = authorityOf('a.example');
    planned.keep(fields, { sealed, placement: bearer, authority }, applied);
    expect(planned.find(fields, sealed, bearer, authority)).toBe(applied);
    expect(planned.find([...fields], sealed, bearer, authority)).toBeNull();
    expect(planned.find(fields, { ...sealed }, bearer, authority)).toBeNull();
    expect(planned.find(fields, sealed, { ...bearer }, authority)).toBeNull();
    expect(planned.find(fields, sealed, bearer, authorityOf('a.example'))).toBeNull();
  });

  test('are not kept for plain http, which the domain may forbid for the next request', () => {
    const planned = new PlannedFields();
    const plain = authorityOf('a.example', 'http');
    planned.keep(fields, { sealed, placement: bearer, authority: plain }, applied);
    expect(planned.find(fields, sealed, bearer, plain)).toBeNull();
  });
});
