import { describe, expect, it } from 'vitest';
import {
  fromAgentRow,
  fromBindingRow,
  fromLeaseRow,
  fromPolicyRow,
  noPolicy,
  toAgentRow,
  toLeaseRow,
  toPolicyRow,
} from '../../../src/store/schema.ts';
import { agentRecord, leaseRecord } from '../../support/rights.ts';

describe('a row of the rights tables', () => {
  it.each(['', 'null', '{}', '"a"', '[1]', '[null]', '["a"'])('with the list %j is refused', (list) => {
    const rows = [
      () => fromAgentRow({ ...toAgentRow(agentRecord()), labels: list }),
      () => fromLeaseRow({ ...toLeaseRow(leaseRecord()), grants: list }),
      () => fromPolicyRow({ ...toPolicyRow(noPolicy('g')), labels: list }),
    ];
    for (const row of rows) expect(row).toThrow(expect.objectContaining({ code: 'store_damaged' }));
  });

  it.each([
    { grants: null, egress: ['a.example', '*.b.example:22'] },
    { grants: ['id'], egress: ['a.example'] },
    { grants: [], egress: ['a.example'] },
    { grants: null },
    { grants: [] },
  ])('has the grants and hosts of a lease: %j', (limits) => {
    const lease = leaseRecord(limits);
    expect(fromLeaseRow(toLeaseRow(lease))).toEqual(lease);
  });

  it.each(['', 'all', 'GRANT', '*'])('with the binding kind %j is refused', (kind) => {
    expect(() => fromBindingRow({ agent: 'claude', kind, value: '*', createdAt: 0 })).toThrow(
      expect.objectContaining({ code: 'store_damaged' }),
    );
  });
});
