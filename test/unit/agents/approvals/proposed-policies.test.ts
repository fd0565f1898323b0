import { expect, test } from 'vitest';
import { createProposedPolicies } from '../../../../src/agents/approvals/proposals.ts';
import { onceMs, type Proposal, type Proposer } from '../../../../src/domain/proposal.ts';
import { proposal } from '../../../support/question.ts';

const ci = { agent: 'ci', lease: null };
const other = { agent: 'other', lease: null };

/** Policies of a store in which `ci` may call a host once, and functions that change the store and the clock. */
function policies() {
  const asked: Proposer[] = [];
  const state = { epoch: 5, others: true, at: 0, restrict: undefined as (() => never) | undefined };
  let held: Promise<unknown> | null = null;
  const accepted: Proposal[] = [proposal({ ...ci, answer: { at: 0, by: 'alice', outcome: 'once' } })];
  const inForce = async (who: Proposer) => {
    asked.push(who);
    const found = who.agent === 'ci' && state.at < onceMs ? [...accepted] : [];
    await held;
    return found;
  };
  const subject = createProposedPolicies({
    store: {
      epoch: () => state.epoch,
      changesSince: () => ({ grants: null, names: [], rights: null, others: state.others }),
      proposals: { inForce } as never,
    },
    now: () => state.at,
    restrict: () => state.restrict,
  });
  const hosts = async (who: Proposer) =>
    (await subject.policyFor(who))?.domains.entries.map(({ pattern }) => pattern.text) ?? null;
  const hold = (until: Promise<unknown>) => {
    held = until;
  };
  return { subject, hosts, asked, state, accepted, hold };
}

test('accepted domains are read once for each caller, also if there are none', async () => {
  const { subject, hosts, asked } = policies();
  expect(await hosts(ci)).toEqual(['api.example.com']);
  expect(await hosts(other)).toBeNull();
  expect(subject.policyFor(ci)).not.toBeInstanceOf(Promise);
  expect(subject.policyFor(other)).toBeNull();
  expect(asked).toEqual([ci, other]);
});

test.each<[string, number, (state: ReturnType<typeof policies>['state']) => void]>([
  ['after a change of something else', 2, (state) => (state.epoch += 1)],
  [
    'not after a change of a grant or a right',
    1,
    (state) => Object.assign(state, { epoch: 6, others: false }),
  ],
  ['after a change of the config', 2, (state) => (state.restrict = () => undefined as never)],
  ['after the end of a yes for one exchange', 2, (state) => (state.at = onceMs)],
  ['not before the end of a yes for one exchange', 1, (state) => (state.at = onceMs - 1)],
])('accepted domains are read again %s', async (_when, reads, change) => {
  const { subject, asked, state, accepted } = policies();
  await subject.policyFor(ci);
  accepted.pop();
  change(state);
  const policy = await subject.policyFor(ci);
  expect([asked.length, policy === null]).toEqual([reads, reads === 2]);
});

test('accepted domains that change during a read are read again', async () => {
  const { hosts, state, accepted, hold } = policies();
  const { promise, resolve } = Promise.withResolvers<void>();
  hold(promise);
  const first = hosts(ci);
  accepted.pop();
  state.epoch += 1;
  hold(Promise.resolve());
  await hosts(other);
  resolve();
  expect([await first, await hosts(ci)]).toEqual([['api.example.com'], null]);
});
