import { describe, expect, it } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import type { Grant } from '../../../src/domain/grant.ts';
import { ExchangeRecord } from '../../../src/proxy/record.ts';
import { authorityOf } from './policy/policy-for-test.ts';

const grant: Grant = {
  id: '7b1d2d5c-2f7e-4d3b-9a53-2f6f0a4b5c6d',
  name: 'work',
  user: 'alice',
  provider: 'acme',
  type: 'oauth2',
  state: 'active',
  stateReason: null,
  lease: null,
  parent: null,
  mint: null,
  scopes: [],
  expiresAt: null,
  refreshable: true,
  revision: 1,
  createdAt: 0,
  updatedAt: 0,
};

function begun(fields: readonly string[] = []) {
  let time = 1_000;
  const record = new ExchangeRecord(
    {
      head: { method: 'GET', target: '/', version: '1.1', fields },
      body: null,
      client: { address: '127.0.0.1:5', loopback: true, owner: () => 'own' as const, tunnel: null },
    },
    () => time,
  );
  return { record, wait: (ms: number) => (time += ms) };
}

describe('the record of an exchange', () => {
  it('consists of an access, and an outcome that does not repeat it', () => {
    const { record, wait } = begun(['Sidekey-Reason', 'a ticket']);
    record.target({ authority: authorityOf('api.example') });
    record.path('/a?token=secret');
    record.identity({
      agent: 'bot',
      lease: { id: 'lease-1', purpose: 'a test', expiresAt: 9_000 },
      subject: null,
    });
    record.grant(grant, 'fingerprint');
    const access = record.access();
    wait(25);
    const outcome = record.outcome({ status: 200, bytesIn: 3, bytesOut: 4, outcome: 'complete' });
    const facts = {
      exchange: expect.stringMatching(/^[A-Za-f][\w-]{11}$/),
      client: '127.0.0.1:5',
      method: 'GET',
      reason: 'a ticket',
      scheme: 'https',
      host: 'api.example',
      port: 443,
      path: '/a',
      agent: 'bot',
      lease: 'lease-1',
      grant: grant.id,
      user: 'alice',
      provider: 'acme',
      credential: 'fingerprint',
    };
    expect(access).toEqual({ ...facts, event: 'access', outcome: 'allow' });
    expect(outcome).toEqual({
      exchange: access.exchange,
      event: 'outcome',
      outcome: 'ok',
      status: 200,
      bytes_in: 3,
      bytes_out: 4,
      duration_ms: 25,
    });
  });

  it('never contains a query, in any field', () => {
    const { record } = begun();
    for (const path of ['/a?secret', '/?secret', '/a??secret', '/a?b?secret']) {
      record.path(path);
      expect(JSON.stringify(record.access())).not.toContain('secret');
    }
  });

  it('contains how the response ended', () => {
    const { record } = begun();
    const facts = { status: 200, bytesIn: 0, bytesOut: 0 };
    expect(record.outcome({ ...facts, outcome: 'gone' }).outcome).toBe('aborted');
    expect(record.outcome({ ...facts, outcome: 'broken' }).outcome).toBe('failed');
  });

  it('is one event for a refusal, and two events for a failure after the access record', () => {
    const refusal = new SidekeyError('domain_not_allowed', 'No.');
    const { record, wait } = begun();
    wait(5);
    expect(record.refused(refusal, 403)).toMatchObject({
      event: 'denied',
      outcome: 'deny',
      code: 'domain_not_allowed',
      status: 403,
      duration_ms: 5,
    });
    const bytes = { bytesIn: 3, bytesOut: 4 };
    expect(record.refused(refusal, 403, bytes)).not.toHaveProperty('bytes_in');
    record.access();
    expect(record.refused(new Error('a fault'), 500, bytes)).toMatchObject({
      event: 'outcome',
      outcome: 'failed',
      code: 'internal',
      status: 500,
      bytes_in: 3,
      bytes_out: 4,
    });
  });

  it('names the requested grant in a refusal, and only the used grant in an access record', () => {
    const { record } = begun();
    record.selected(grant);
    const facts = { grant: grant.id, user: 'alice', provider: 'acme' };
    expect(record.refused(new SidekeyError('rate_limited', 'No.'), 429)).toMatchObject(facts);
    expect(record.reported({ outcome: 'deny', code: 'rule_denied', reason: 'no', hint: null })).toMatchObject(
      facts,
    );
    // A rule may let it through without one.
    expect(record.access().grant).toBeUndefined();
    expect(record.refused(new Error('a fault'), 500).grant).toBeUndefined();
  });

  it('omits an unauthenticated agent', () => {
    const { record } = begun();
    record.identity({ agent: null, lease: null, subject: null });
    expect(record.access().agent).toBeUndefined();
    expect(record.access().lease).toBeUndefined();
  });
});
