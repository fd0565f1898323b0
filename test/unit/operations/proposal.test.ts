import { describe, expect, test } from 'vitest';
import { scopesOf } from '../../../src/domain/scopes.ts';
import { acceptProposal, acceptProposalForGood, declineProposal } from '../../../src/operations/proposal.ts';

describe('the role approver', () => {
  test('may answer a proposal for a time, but may not change the config file', () => {
    const scopes = scopesOf('approver');
    expect(scopes.has(acceptProposal.scope)).toBe(true);
    expect(scopes.has(declineProposal.scope)).toBe(true);
    expect(scopes.has(acceptProposalForGood.scope)).toBe(false);
    expect(acceptProposalForGood.scope).toBe('config:write');
    const forGood = { proposal: 'k3f9q2xa', reach: 'for_good' };
    expect(acceptProposal.input.safeParse(forGood).success).toBe(false);
  });
});
