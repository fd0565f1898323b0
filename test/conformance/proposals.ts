import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { onceMs, type Proposal, type ProposalOutcome } from '../../src/domain/proposal.ts';
import type { Store } from '../../src/store/store.ts';
import { proposal } from '../support/question.ts';
import { agentRecord, leaseRecord } from '../support/rights.ts';
import type { StoreUnderTest } from './store.ts';

const host = (text: string) => ({ kind: 'domain', host: text, grant: null }) as const;

/** Requirements on every implementation of `Store` for proposals. */
export function proposalsConformance(
  name: string,
  open: (now: () => number) => Promise<StoreUnderTest>,
): void {
  describe(`${name} as a store of proposals`, () => {
    const time = 1_700_000_000_000;
    const lease = leaseRecord({ createdAt: time - 1_000, expiresAt: time + 10_000 });
    let subject: StoreUnderTest;
    let store: Store;

    beforeEach(async () => {
      subject = await open(() => time);
      store = subject.store;
      await store.agents.insert(agentRecord());
      await store.leases.insert(lease);
    });
    afterEach(() => subject.cleanup());

    const made = async (fields: Partial<Proposal> = {}) => {
      const wanted = proposal({ agent: 'claude', askedAt: time, ...fields });
      expect(await store.proposals.propose(wanted, 20)).toEqual(wanted);
      return wanted;
    };
    const claude = { agent: 'claude', lease: null };
    const answer = (id: string, outcome: ProposalOutcome, at = time) =>
      store.proposals.answer(id, { at, by: 'alice', outcome });

    it('returns proposals unchanged, to other processes too', async () => {
      const all = [
        await made({ reason: 'x\n\u001b[2J', lease: lease.id }),
        await made({ askedAt: time + 1, change: { kind: 'grant', provider: 'github', scopes: ['a', 'b'] } }),
        await made({ askedAt: time + 2, agent: null, change: { kind: 'scope', grant: 'g', scopes: ['a'] } }),
      ];
      const second = await subject.second();
      expect(await second.proposals.list()).toEqual(all);
      expect(await second.proposals.list({ limit: 1 })).toEqual(all.slice(0, 1));
      expect(await second.proposals.list({ after: all[0], limit: 1 })).toEqual(all.slice(1, 2));
      expect(await second.proposals.list({ after: all[2] })).toEqual([]);
      expect(await second.proposals.list({ agent: 'claude' })).toEqual(all.slice(0, 2));
      expect(await second.proposals.list({ agent: 'claude', after: all[0] })).toEqual(all.slice(1, 2));
      expect(await second.proposals.list({ agent: null })).toEqual(all.slice(2));
      expect(await second.proposals.list({ agent: 'codex' })).toEqual([]);
      expect(await second.proposals.get(all[0]!.id)).toEqual(all[0]);
      expect(await second.proposals.get('none')).toBeNull();
    });

    it('stores the longest change', async () => {
      const scopes = Array.from({ length: 20 }, () => randomBytes(128).toString('hex'));
      await made({ change: { kind: 'scope', grant: 'g', scopes } });
    });

    it('truncates a reason at a character boundary', async () => {
      const wanted = proposal({ reason: `x${'😀'.repeat(5_000)}` });
      const { reason } = (await store.proposals.propose(wanted, 1))!;
      expect([reason.length, reason.isWellFormed()]).toEqual([1_024, true]);
    });

    it('returns the existing proposal to the same caller, and creates another proposal for another caller', async () => {
      const { id } = await made();
      const again = proposal({ agent: 'claude', askedAt: time + 1, reason: 'another' });
      expect((await store.proposals.propose(again, 20))?.id).toBe(id);
      await made({ lease: lease.id });
      await made({ agent: null });
      await made({ change: host('other.example.com') });
    });

    it('returns a declined proposal until it expires, then creates a new proposal', async () => {
      const { id, expiresAt } = await made();
      await answer(id, 'declined');
      const ids: unknown[] = [];
      for (const askedAt of [expiresAt - 1, expiresAt])
        ids.push((await store.proposals.propose(proposal({ agent: 'claude', askedAt }), 20))?.id);
      expect(ids).toEqual([id, expect.not.stringMatching(id)]);
    });

    it('counts the proposals that can be answered and have no answer', async () => {
      const { expiresAt } = await made();
      await made({ agent: null });
      const answered = await made({ change: host('a.example') });
      await answer(answered.id, 'declined');
      const grant = await made({ change: { kind: 'grant', provider: 'github', scopes: [] } });
      await answer(grant.id, 'connect');
      expect(await store.proposals.countWaiting(expiresAt - 1)).toBe(2);
      expect(await store.proposals.countWaiting(expiresAt)).toBe(0);
    });

    it('limits the waiting proposals of each agent separately', async () => {
      const first = await made({ change: host('a.example') });
      await made({ change: host('b.example') });
      await made({ agent: null });
      const third = proposal({ agent: 'claude', askedAt: time, change: host('c.example') });
      expect(await store.proposals.propose(third, 2)).toBeNull();
      expect(await store.proposals.list()).toHaveLength(3);
      await answer(first.id, 'declined');
      expect(await store.proposals.propose(third, 2)).toEqual(third);
    });

    it('refuses a proposal of a missing agent or lease, and deletes the proposals of a removed agent', async () => {
      for (const fields of [{ agent: 'nobody' }, { agent: 'claude', lease: 'none' }]) {
        const refused = store.proposals.propose(proposal(fields), 20);
        await expect(refused).rejects.toMatchObject({ code: 'not_found' });
      }
      await made();
      await made({ agent: null });
      await store.agents.remove('claude');
      expect(await store.proposals.list()).toHaveLength(1);
    });

    it('accepts one answer, before the proposal expires', async () => {
      const { id, expiresAt } = await made();
      expect(await answer(id, 'for_good', expiresAt)).toBeNull();
      expect(await answer(id, 'for_good', expiresAt - 1)).toMatchObject({
        answer: { at: expiresAt - 1, by: 'alice', outcome: 'for_good' },
      });
      for (const outcome of ['once', 'lease', 'declined', 'connected'] as const)
        expect(await answer(id, outcome)).toBeNull();
      expect(await answer('none', 'declined')).toBeNull();
    });

    it('accepts a later refusal of an approval for one exchange, and completes a connection', async () => {
      const once = await made();
      await answer(once.id, 'once');
      expect(await answer(once.id, 'declined')).toMatchObject({ answer: { outcome: 'declined' } });
      expect(await answer(once.id, 'connected')).toBeNull();
      const grant = await made({ change: { kind: 'grant', provider: 'github', scopes: [] } });
      await answer(grant.id, 'connect');
      expect(await answer(grant.id, 'once')).toBeNull();
      expect(await answer(grant.id, 'connected', grant.expiresAt + 1)).not.toBeNull();
      expect(await answer(grant.id, 'declined')).toBeNull();
    });

    it('returns the accepted domains of a caller in the order of their answers, those of one time by ID', async () => {
      const all = await Promise.all(
        [1, 2, 3].map((n) => made({ lease: lease.id, askedAt: time - n, change: host(`${n}.example.com`) })),
      );
      const [first, ...others] = all.map(({ id }) => id).toSorted();
      for (const id of others) await answer(id, 'lease', time + 1);
      await answer(first!, 'lease', time + 2);
      const inForce = await store.proposals.inForce({ agent: 'claude', lease: lease.id }, time + 3);
      expect(inForce.map(({ id }) => id)).toEqual([...others, first]);
    });

    it('allows an approval for one exchange to be used once, within an hour, by one of several processes', async () => {
      const { id } = await made();
      expect(await store.proposals.use(id, time)).toBe(false);
      await answer(id, 'once');
      expect(await store.proposals.inForce(claude, time + onceMs)).toEqual([]);
      expect(await store.proposals.use(id, time + onceMs)).toBe(false);
      const forNobody = await made({ agent: null });
      await answer(forNobody.id, 'once');
      expect(await store.proposals.inForce(claude, time)).toMatchObject([{ id }]);
      expect(await store.proposals.inForce({ agent: null, lease: null }, time)).toMatchObject([
        { id: forNobody.id },
      ]);
      const second = await subject.second();
      const used = await Promise.all([store, second].map((each) => each.proposals.use(id, time + 1)));
      expect(used.filter(Boolean)).toEqual([true]);
      expect(await store.proposals.inForce(claude, time)).toEqual([]);
      expect(await store.proposals.get(id)).toMatchObject({ usedAt: time + 1 });
      const again = proposal({ agent: 'claude', askedAt: time + 2 });
      expect(await store.proposals.propose(again, 20)).toEqual(again);
    });

    it('applies an approval for a lease until the lease ends, and not after its renewal', async () => {
      const { id } = await made({ lease: lease.id });
      await answer(id, 'lease');
      const who = { agent: 'claude', lease: lease.id };
      expect(await store.proposals.inForce(who, time + 9_999)).toMatchObject([{ id }]);
      for (const other of [claude, { agent: null, lease: lease.id }, { agent: null, lease: null }])
        expect(await store.proposals.inForce(other, time)).toEqual([]);
      expect(await store.proposals.inForce(who, time + 10_000)).toEqual([]);
      await store.leases.renew(lease.id, { at: time + 20_000, expiresAt: time + 90_000, moreUses: 0 });
      expect(await store.proposals.inForce(who, time + 20_000)).toEqual([]);
    });

    it('refuses an approval for a lease if the proposal has no lease', async () => {
      const { id } = await made();
      expect(await answer(id, 'lease')).toBeNull();
      expect(await answer(id, 'once')).not.toBeNull();
    });

    it('deletes expired proposals, and keeps those in force', async () => {
      const standing = await made({ lease: lease.id });
      const over = await made();
      const declined = await made({ change: host('a.example') });
      const live = await made({ change: host('b.example'), expiresAt: time + 999_999_999 });
      await answer(standing.id, 'lease');
      await answer(declined.id, 'declined');
      await store.proposals.removeEnded(over.expiresAt);
      expect(await store.proposals.list()).toHaveLength(4);
      await store.proposals.removeEnded(over.expiresAt + 1);
      expect((await store.proposals.list()).map(({ id }) => id).toSorted()).toEqual(
        [standing.id, live.id].toSorted(),
      );
    });
  });
}
