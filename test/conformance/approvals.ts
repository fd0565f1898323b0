import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Question } from '../../src/domain/approval.ts';
import type { Store } from '../../src/store/store.ts';
import { grantRecord } from '../support/grant-record.ts';
import { no, question, yes } from '../support/question.ts';
import { agentRecord, leaseRecord } from '../support/rights.ts';
import type { StoreUnderTest } from './store.ts';

/** Tests of every implementation of `Store`: requests that wait for people. */
export function approvalsConformance(
  name: string,
  open: (now: () => number) => Promise<StoreUnderTest>,
): void {
  describe(`${name} as a store of approvals`, () => {
    const time = 1_700_000_000_000;
    const grant = grantRecord();
    const lease = leaseRecord({ grants: [grant.id] });
    const who = { agent: 'claude', lease: lease.id, grantId: grant.id, ruleKey: 'rule-1' };
    let subject: StoreUnderTest;
    let store: Store;

    beforeEach(async () => {
      subject = await open(() => time);
      store = subject.store;
      await store.grants.insert(grant);
      await store.agents.insert(agentRecord());
      await store.leases.insert(lease);
    });
    afterEach(() => subject.cleanup());

    const asked = async (fields: Partial<Question> = {}) => {
      const made = question({ who, ...fields });
      await store.approvals.ask(made);
      return made;
    };

    describe('a question for approval', () => {
      it('is returned unchanged, with and without its optional fields', async () => {
        const full = await asked({
          scheme: 'http',
          reason: 'ticket 7\n\u001b[2J \u202e',
          purpose: 'nightly',
          ruleName: 'deletes',
          query: 'a=b',
          fields: ['X-User: alice', '(trailer) X-Mode: ü'],
          bodyBytes: null,
        });
        const bare = await asked({ who: { ...who, agent: null, lease: null } });
        const second = await subject.second();
        expect(await second.approvals.get(full.id)).toEqual({ ...full, answer: null });
        expect(await second.approvals.get(bare.id)).toEqual({ ...bare, answer: null });
        expect(await second.approvals.get('none')).toBeNull();
      });

      it('truncates path, reason and purpose at a character boundary', async () => {
        const { id } = await asked({
          path: `/${'p'.repeat(5_000)}`,
          reason: `x${'😀'.repeat(5_000)}`,
          purpose: 'u'.repeat(5_000),
        });
        const { path, reason, purpose } = (await store.approvals.get(id))!;
        expect([path.length, reason?.length, purpose?.length]).toEqual([2_048, 1_024, 1_024]);
        expect(reason?.isWellFormed()).toBe(true);
      });

      it('has a key of its rule of any length', async () => {
        const long = { ...who, ruleKey: randomBytes(20_000).toString('hex') };
        const { id } = await asked({ who: long });
        await store.approvals.answer(id, yes(time, { kind: 'until', at: time + 1_000 }));
        expect((await store.approvals.standing(long, time))?.id).toBe(id);
      });

      it('is listed as waiting until it expires or is answered, in order of creation', async () => {
        const late = await asked({ askedAt: time + 2 });
        const early = await asked({ askedAt: time + 1 });
        const short = await asked({ askedAt: time, expiresAt: time + 10 });
        expect(idsOf(await store.approvals.waiting(time + 9))).toEqual([short.id, early.id, late.id]);
        expect(idsOf(await store.approvals.waiting(time + 10))).toEqual([early.id, late.id]);
        await store.approvals.answer(early.id, no(time + 10));
        expect(idsOf(await store.approvals.waiting(time + 10))).toEqual([late.id]);
      });

      it('is listed in pages, and counted for all and for each agent', async () => {
        const { approvals } = store;
        const local = { ...who, agent: null, lease: null };
        const all = [await asked({ id: 'a' }), await asked({ id: 'b', who: local })];
        all.push(await asked({ askedAt: time + 1 }), await asked({ askedAt: time + 1, who: local }));
        all.sort((a, b) => a.askedAt - b.askedAt || (a.id < b.id ? -1 : 1));
        await approvals.answer((await asked()).id, no(time));
        await asked({ aliveUntil: time });
        expect(idsOf(await approvals.waiting(time, { limit: 2 }))).toEqual(['a', 'b']);
        expect(idsOf(await approvals.waiting(time, { after: all[0]!, limit: 2 }))).toEqual(
          idsOf(all.slice(1, 3)),
        );
        expect(idsOf(await approvals.waiting(time, { after: all[2]! }))).toEqual(idsOf(all.slice(3)));
        const count = [undefined, 'claude', null, 'codex'].map((agent) =>
          approvals.countWaiting(time, agent),
        );
        expect(await Promise.all(count)).toEqual([4, 2, 2, 0]);
      });

      it('waits only as long as its proxy keeps it alive, and cannot be answered after that', async () => {
        const silent = await asked({ aliveUntil: time + 10 });
        const kept = await asked({ aliveUntil: time + 10 });
        const done = await asked({ aliveUntil: time + 10 });
        await store.approvals.answer(done.id, no(time));
        const second = await subject.second();
        await second.approvals.keepAlive([kept.id, done.id], time + 20);
        expect(idsOf(await store.approvals.waiting(time + 10))).toEqual([kept.id]);
        const long = { kind: 'until', at: time + 1_000 } as const;
        expect(await store.approvals.answer(silent.id, yes(time + 10, long))).toBeNull();
        expect(await store.approvals.answer(silent.id, yes(time + 10, { kind: 'lease' }))).toBeNull();
        expect(await store.approvals.listStanding(time + 10)).toEqual([]);
        expect(await store.approvals.answer(kept.id, yes(time + 10))).toMatchObject({
          aliveUntil: time + 20,
        });
        expect((await store.approvals.get(done.id))?.aliveUntil).toBe(time + 10);
      });

      it('is refused with an id that exists', async () => {
        const first = await asked();
        await expect(asked({ id: first.id, path: '/other' })).rejects.toMatchObject({
          code: 'already_exists',
        });
        expect((await store.approvals.get(first.id))?.path).toBe(first.path);
      });

      it.each([
        ['grant', { grantId: 'gone' }],
        ['agent', { agent: 'gone' }],
        ['lease', { lease: 'gone' }],
      ])('is refused if its %s does not exist', async (_what, part) => {
        await expect(asked({ who: { ...who, ...part } })).rejects.toMatchObject({ code: 'grant_missing' });
        expect(await store.approvals.waiting(time)).toEqual([]);
      });

      it.each([
        ['grant', () => store.grants.remove(grant.id)],
        ['agent', () => store.agents.remove('claude')],
        ['lease', () => store.leases.removeEnded(Number.MAX_SAFE_INTEGER)],
      ])('is deleted with its %s, and so is a standing approval', async (_what, remove) => {
        const { id } = await asked();
        const { id: other } = await asked();
        await store.approvals.answer(other, yes(time, { kind: 'until', at: time + 1_000 }));
        await remove();
        expect(await store.approvals.get(id)).toBeNull();
        expect(await store.approvals.waiting(time)).toEqual([]);
        expect(await store.approvals.listStanding(time)).toEqual([]);
        expect(await store.approvals.revoke(other)).toBeNull();
      });

      it('is deleted if it both started and expired before the given time, answered or not', async () => {
        const over = await asked();
        const answered = await asked();
        const young = await asked({ askedAt: time + 900_000, expiresAt: time + 1 });
        const long = await asked({ expiresAt: time + 900_000 });
        await store.approvals.answer(answered.id, no(time));
        const known = async () => {
          const found = [over, answered, young, long].map(({ id }) => store.approvals.get(id));
          return (await Promise.all(found)).map((it) => it !== null);
        };
        await store.approvals.removeEnded(over.expiresAt);
        expect(await known()).toEqual([true, true, true, true]);
        await store.approvals.removeEnded(over.expiresAt + 1);
        expect(await known()).toEqual([false, false, true, true]);
      });
    });

    describe('an answer to a question', () => {
      it.each([
        no(time + 5),
        yes(time + 5),
        yes(time + 5, { kind: 'lease' }),
        yes(time, { kind: 'until', at: 9 }),
      ])('is stored unchanged: %j', async (answer) => {
        const made = await asked();
        const answered = { ...made, answer };
        expect(await store.approvals.answer(made.id, answer)).toEqual(answered);
        const second = await subject.second();
        expect(await second.approvals.get(made.id)).toEqual(answered);
        expect(await second.approvals.withdraw(made.id)).toEqual(answer);
      });

      it('is final: a second answer changes nothing and creates no standing approval', async () => {
        const { id } = await asked();
        await store.approvals.answer(id, no(time));
        expect(await store.approvals.answer(id, yes(time, { kind: 'lease' }))).toBeNull();
        expect((await store.approvals.get(id))?.answer).toEqual(no(time));
        expect(await store.approvals.listStanding(time)).toEqual([]);
      });

      it('is refused from the millisecond in which the question expires', async () => {
        const { id, expiresAt } = await asked();
        for (const at of [expiresAt, expiresAt + 1])
          expect(await store.approvals.answer(id, yes(at, { kind: 'lease' }))).toBeNull();
        expect((await store.approvals.get(id))?.answer).toBeNull();
        expect(await store.approvals.listStanding(expiresAt)).toEqual([]);
        expect(await store.approvals.answer(id, yes(expiresAt - 1))).not.toBeNull();
        expect(await store.approvals.answer('none', yes(time))).toBeNull();
      });

      it('for the life of a lease is refused without a lease, and the question still waits', async () => {
        const { id } = await asked({ who: { ...who, lease: null } });
        await expect(store.approvals.answer(id, yes(time, { kind: 'lease' }))).rejects.toMatchObject({
          code: 'input_invalid',
        });
        expect(await store.approvals.listStanding(time)).toEqual([]);
        expect(await store.approvals.answer(id, yes(time))).not.toBeNull();
      });

      it('is accepted from exactly one of several concurrent callers', async () => {
        const second = await subject.second();
        for (let round = 0; round < 10; round += 1) {
          const { id } = await asked();
          const answers = [no(time), yes(time, { kind: 'lease' }), { ...no(time), by: 'carol' }];
          const won = await Promise.all(
            answers.map((answer, index) =>
              (index % 2 === 0 ? store : second).approvals.answer(id, answer).then((it) => it?.answer),
            ),
          );
          const [winner, ...more] = won.filter((it) => it !== undefined);
          expect(more).toEqual([]);
          expect((await store.approvals.get(id))?.answer).toEqual(winner);
          expect(idsOf(await store.approvals.listStanding(time)).includes(id)).toBe(
            winner?.outcome === 'allowed',
          );
        }
      });
    });

    describe('a withdrawn question', () => {
      it('cannot be answered, whatever the clock of the answer', async () => {
        const { id } = await asked();
        expect(await store.approvals.withdraw(id)).toBeNull();
        const second = await subject.second();
        expect(await second.approvals.answer(id, yes(time - 1_000_000, { kind: 'lease' }))).toBeNull();
        expect(await second.approvals.get(id)).toBeNull();
        expect(await second.approvals.waiting(time)).toEqual([]);
        expect(await second.approvals.withdraw(id)).toBeNull();
        expect(await second.approvals.withdraw('none')).toBeNull();
      });

      it('is either answered before the withdrawal or never', async () => {
        const second = await subject.second();
        for (let round = 0; round < 10; round += 1) {
          const { id } = await asked();
          const race = [
            () => second.approvals.answer(id, yes(time, { kind: 'until', at: time + 1_000 })),
            () => store.approvals.withdraw(id),
          ];
          if (round % 2 === 1) race.reverse();
          const results = await Promise.all(race.map((run) => run()));
          if (round % 2 === 1) results.reverse();
          const [answered, said] = results;
          expect(answered === null).toBe(said === null);
          expect(idsOf(await store.approvals.listStanding(time)).includes(id)).toBe(answered !== null);
        }
      });
    });

    describe('a standing approval', () => {
      const until = { kind: 'until', at: time + 1_000 } as const;

      it('is listed with its caller, rule and end, in order of the answers', async () => {
        const first = await asked({ ruleName: 'deletes' });
        const second = await asked();
        await store.approvals.answer(second.id, yes(time + 1, until));
        await store.approvals.answer(first.id, yes(time, { kind: 'lease' }));
        const { grantName, rule } = first;
        const known = { who, grantName, rule, by: 'alice in a terminal' };
        expect(await store.approvals.listStanding(time)).toEqual([
          { ...known, id: first.id, ruleName: 'deletes', at: time, until: null },
          { ...known, id: second.id, ruleName: null, at: time + 1, until: time + 1_000 },
        ]);
      });

      it('is listed in pages, and found by its ID while it is valid', async () => {
        const { approvals } = store;
        for (const id of ['c', 'b', 'a']) {
          await asked({ id });
          await approvals.answer(id, yes(id === 'a' ? time + 1 : time, until));
        }
        const first = await approvals.listStanding(time, { limit: 1 });
        expect(idsOf(first)).toEqual(['b']);
        expect(idsOf(await approvals.listStanding(time, { after: first[0]!, limit: 2 }))).toEqual(['c', 'a']);
        expect(await approvals.standingOf('b', time)).toEqual(first[0]);
        expect(await approvals.standingOf('b', until.at)).toBeNull();
        const once = await asked();
        await approvals.answer(once.id, yes(time));
        expect(await approvals.standingOf(once.id, time)).toBeNull();
      });

      it('is found only for the same agent, lease, grant and rule', async () => {
        const other = grantRecord({ name: 'other' });
        await store.grants.insert(other);
        const { id } = await asked();
        await store.approvals.answer(id, yes(time, until));
        const second = await subject.second();
        expect((await second.approvals.standing(who, time))?.id).toBe(id);
        for (const part of [
          { agent: 'codex' },
          { agent: null },
          { lease: 'another' },
          { lease: null },
          { grantId: other.id },
          { ruleKey: 'rule-2' },
        ]) {
          expect(await second.approvals.standing({ ...who, ...part }, time), JSON.stringify(part)).toBeNull();
        }
      });

      it('for callers without an agent applies only to callers without an agent', async () => {
        const local = { ...who, agent: null, lease: null };
        const { id } = await asked({ who: local });
        await store.approvals.answer(id, yes(time, until));
        expect((await store.approvals.standing(local, time))?.id).toBe(id);
        expect(await store.approvals.standing(who, time)).toBeNull();
        expect(await store.approvals.standing({ ...local, agent: 'claude' }, time)).toBeNull();
      });

      it('is not created by a refusal or by a one-time approval', async () => {
        for (const answer of [no(time), yes(time)]) {
          const { id } = await asked();
          await store.approvals.answer(id, answer);
        }
        expect(await store.approvals.standing(who, time)).toBeNull();
        expect(await store.approvals.listStanding(time)).toEqual([]);
      });

      it('ends in the millisecond of its end, and is deleted later', async () => {
        const { id } = await asked();
        await store.approvals.answer(id, yes(time, until));
        expect((await store.approvals.standing(who, until.at - 1))?.id).toBe(id);
        expect(await store.approvals.standing(who, until.at)).toBeNull();
        expect(await store.approvals.listStanding(until.at)).toEqual([]);
        await store.approvals.removeEnded(time + 1_000_000);
        expect(await store.approvals.get(id)).toBeNull();
      });

      it.each([{ kind: 'lease' }, { kind: 'until', at: lease.expiresAt * 2 }] as const)(
        'under a lease ends when that lease ends: %j',
        async (reach) => {
          const { id } = await asked();
          await store.approvals.answer(id, yes(time, reach));
          expect((await store.approvals.standing(who, lease.expiresAt - 1))?.id).toBe(id);
          expect(await store.approvals.standing(who, lease.expiresAt)).toBeNull();
          await store.leases.revoke({ id: lease.id }, time);
          expect(await store.approvals.standing(who, time)).toBeNull();
          expect(await store.approvals.listStanding(time)).toEqual([]);
          // The approval is deleted, not only left out of the list.
          expect(await store.approvals.revoke(id)).toBeNull();
        },
      );

      it('is not created if its lease was already revoked', async () => {
        const { id } = await asked();
        await store.leases.revoke({ agent: 'claude' }, time);
        await store.approvals.answer(id, yes(time, { kind: 'lease' }));
        expect(await store.approvals.standing(who, time)).toBeNull();
      });

      it.each([
        ['expired', { expiresAt: time + 10 }],
        ['not used for too long', { idleMs: 10 }],
        ['used up', { maxUses: 1, uses: 1 }],
      ])('does not return when its lease is renewed after it was %s', async (_how, fields) => {
        const other = leaseRecord({ grants: [grant.id], ...fields });
        await store.leases.insert(other);
        const { id } = await asked({ who: { ...who, lease: other.id } });
        await store.approvals.answer(id, yes(time, { kind: 'lease' }));
        const renewal = { at: time + 10, expiresAt: time + 5_000, moreUses: 5 };
        await store.leases.renew(other.id, renewal);
        expect(await store.approvals.listStanding(time + 10)).toEqual([]);
        expect(await store.approvals.standing({ ...who, lease: other.id }, time + 10)).toBeNull();
      });

      it('continues if its lease is renewed before the lease expires', async () => {
        const { id } = await asked();
        await store.approvals.answer(id, yes(time, { kind: 'lease' }));
        const renewal = { at: lease.expiresAt - 1, expiresAt: lease.expiresAt + 5_000, moreUses: 0 };
        await store.leases.renew(lease.id, renewal);
        expect((await store.approvals.standing(who, lease.expiresAt + 1))?.id).toBe(id);
      });

      it('continues when another lease is revoked', async () => {
        const second = leaseRecord({ grants: [grant.id] });
        await store.leases.insert(second);
        const { id } = await asked({ who: { ...who, lease: second.id } });
        await store.approvals.answer(id, yes(time, { kind: 'lease' }));
        await store.leases.revoke({ id: lease.id }, time);
        expect(idsOf(await store.approvals.listStanding(time))).toEqual([id]);
      });

      it('is kept long after its question expired', async () => {
        const forLease = await asked();
        const forTime = await asked({ who: { ...who, ruleKey: 'rule-2' } });
        await store.approvals.answer(forLease.id, yes(time, { kind: 'lease' }));
        await store.approvals.answer(forTime.id, yes(time, { kind: 'until', at: time + 2_000_000 }));
        await store.approvals.removeEnded(time + 1_000_000);
        expect(idsOf(await store.approvals.listStanding(time)).toSorted()).toEqual(
          [forLease.id, forTime.id].toSorted(),
        );
      });

      it('ends when it is revoked, and can be revoked only once', async () => {
        const { id } = await asked();
        await store.approvals.answer(id, yes(time, until));
        const second = await subject.second();
        expect(await second.approvals.revoke(id)).toMatchObject({ id, who, until: until.at });
        expect(await store.approvals.standing(who, time)).toBeNull();
        expect(await store.approvals.revoke(id)).toBeNull();
        // The proxy that waits for it gets the answer that was given.
        expect(await store.approvals.withdraw(id)).toEqual(yes(time, until));
      });
    });

    it('changes the epoch of other connections with each write, but not the revision of the rights', async () => {
      const second = await subject.second();
      const revision = await store.rights.revision();
      let seen = second.epoch();
      const hears = () =>
        vi.waitFor(() => expect(second.epoch()).not.toBe(seen), {
          timeout: subject.epochWithinMs,
          interval: 1,
        });
      const { id } = await asked();
      await hears();
      seen = second.epoch();
      await store.approvals.answer(id, yes(time, { kind: 'until', at: time + 1 }));
      await hears();
      seen = second.epoch();
      await store.approvals.revoke(id);
      await hears();
      expect(await store.rights.revision()).toBe(revision);
    });

    it('fails after close instead of looking empty', async () => {
      await store.close();
      const uses = [
        () => asked(),
        () => store.approvals.get('x'),
        () => store.approvals.waiting(time),
        () => store.approvals.countWaiting(time),
        () => store.approvals.standingOf('x', time),
        () => store.approvals.keepAlive(['x'], time),
        () => store.approvals.answer('x', yes(time)),
        () => store.approvals.withdraw('x'),
        () => store.approvals.standing(who, time),
        () => store.approvals.listStanding(time),
        () => store.approvals.revoke('x'),
        () => store.approvals.removeEnded(time),
      ];
      for (const use of uses) await expect(use()).rejects.toMatchObject({ code: 'store_unavailable' });
    });
  });
}

function idsOf(all: readonly { readonly id: string }[]): string[] {
  return all.map(({ id }) => id);
}
