import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Question } from '../../src/domain/approval.ts';
import type { Store } from '../../src/store/store.ts';
import { grantRecord } from '../support/grant-record.ts';
import { no, question, yes } from '../support/question.ts';
import { agentRecord, leaseRecord } from '../support/rights.ts';
import type { StoreUnderTest } from './store.ts';

/** What every implementation of `Store` must do about requests that wait for people. */
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

    describe('a question', () => {
      it('is given back as it was asked, with every field that it may have and without', async () => {
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

      it('keeps of what an agent says no more than so much, in whole characters', async () => {
        const { id } = await asked({
          path: `/${'p'.repeat(5_000)}`,
          reason: `x${'😀'.repeat(5_000)}`,
          purpose: 'u'.repeat(5_000),
        });
        const { path, reason, purpose } = (await store.approvals.get(id))!;
        expect([path.length, reason?.length, purpose?.length]).toEqual([2_048, 1_024, 1_024]);
        expect(reason?.isWellFormed()).toBe(true);
      });

      it('waits from the asking until its end, in order of asking', async () => {
        const late = await asked({ askedAt: time + 2 });
        const early = await asked({ askedAt: time + 1 });
        const short = await asked({ askedAt: time, expiresAt: time + 10 });
        expect(idsOf(await store.approvals.waiting(time + 9))).toEqual([short.id, early.id, late.id]);
        expect(idsOf(await store.approvals.waiting(time + 10))).toEqual([early.id, late.id]);
        await store.approvals.answer(early.id, no(time + 10));
        expect(idsOf(await store.approvals.waiting(time + 10))).toEqual([late.id]);
      });

      it('waits for as long as whoever asks says so, and can be answered no longer', async () => {
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

      it('is not taken under an id that was given before', async () => {
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
      ])('is not taken where its %s is gone', async (_what, part) => {
        await expect(asked({ who: { ...who, ...part } })).rejects.toMatchObject({ code: 'grant_missing' });
        expect(await store.approvals.waiting(time)).toEqual([]);
      });

      it.each([
        ['grant', () => store.grants.remove(grant.id)],
        ['agent', () => store.agents.remove('claude')],
        ['lease', () => store.leases.removeEnded(Number.MAX_SAFE_INTEGER)],
      ])('goes with its %s, and so does a yes', async (_what, remove) => {
        const { id } = await asked();
        const { id: other } = await asked();
        await store.approvals.answer(other, yes(time, { kind: 'until', at: time + 1_000 }));
        await remove();
        expect(await store.approvals.get(id)).toBeNull();
        expect(await store.approvals.waiting(time)).toEqual([]);
        expect(await store.approvals.listStanding(time)).toEqual([]);
        expect(await store.approvals.revoke(other)).toBeNull();
      });

      it('is forgotten when it was asked and over before, answered or not', async () => {
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

    describe('an answer', () => {
      it.each([
        no(time + 5),
        yes(time + 5),
        yes(time + 5, { kind: 'lease' }),
        yes(time, { kind: 'until', at: 9 }),
      ])('is kept as it was given: %j', async (answer) => {
        const made = await asked();
        const answered = { ...made, answer };
        expect(await store.approvals.answer(made.id, answer)).toEqual(answered);
        const second = await subject.second();
        expect(await second.approvals.get(made.id)).toEqual(answered);
        expect(await second.approvals.withdraw(made.id)).toEqual(answer);
      });

      it('is the first one: a second changes nothing, and nothing stands for it', async () => {
        const { id } = await asked();
        await store.approvals.answer(id, no(time));
        expect(await store.approvals.answer(id, yes(time, { kind: 'lease' }))).toBeNull();
        expect((await store.approvals.get(id))?.answer).toEqual(no(time));
        expect(await store.approvals.listStanding(time)).toEqual([]);
      });

      it('comes too late in the millisecond in which the question ends, and from then on', async () => {
        const { id, expiresAt } = await asked();
        for (const at of [expiresAt, expiresAt + 1])
          expect(await store.approvals.answer(id, yes(at, { kind: 'lease' }))).toBeNull();
        expect((await store.approvals.get(id))?.answer).toBeNull();
        expect(await store.approvals.listStanding(expiresAt)).toEqual([]);
        expect(await store.approvals.answer(id, yes(expiresAt - 1))).not.toBeNull();
        expect(await store.approvals.answer('none', yes(time))).toBeNull();
      });

      it('as long as a lease is refused where there is none, and the question still waits', async () => {
        const { id } = await asked({ who: { ...who, lease: null } });
        await expect(store.approvals.answer(id, yes(time, { kind: 'lease' }))).rejects.toMatchObject({
          code: 'input_invalid',
        });
        expect(await store.approvals.listStanding(time)).toEqual([]);
        expect(await store.approvals.answer(id, yes(time))).not.toBeNull();
      });

      it('is given by exactly one of those who race for it', async () => {
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

    describe('a question that is taken back', () => {
      it('can be answered by nobody, by whatever clock', async () => {
        const { id } = await asked();
        expect(await store.approvals.withdraw(id)).toBeNull();
        const second = await subject.second();
        expect(await second.approvals.answer(id, yes(time - 1_000_000, { kind: 'lease' }))).toBeNull();
        expect(await second.approvals.get(id)).toBeNull();
        expect(await second.approvals.waiting(time)).toEqual([]);
        expect(await second.approvals.withdraw(id)).toBeNull();
        expect(await second.approvals.withdraw('none')).toBeNull();
      });

      it('was answered before, or is not: never both', async () => {
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

    describe('a yes that stands', () => {
      const until = { kind: 'until', at: time + 1_000 } as const;

      it('says whose it is and for how long, in order of the answers', async () => {
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

      it('is found for the same agent, lease, grant and rule alone', async () => {
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

      it('of no user is for no user', async () => {
        const local = { ...who, agent: null, lease: null };
        const { id } = await asked({ who: local });
        await store.approvals.answer(id, yes(time, until));
        expect((await store.approvals.standing(local, time))?.id).toBe(id);
        expect(await store.approvals.standing(who, time)).toBeNull();
        expect(await store.approvals.standing({ ...local, agent: 'claude' }, time)).toBeNull();
      });

      it('is none after a no, and after a yes for once', async () => {
        for (const answer of [no(time), yes(time)]) {
          const { id } = await asked();
          await store.approvals.answer(id, answer);
        }
        expect(await store.approvals.standing(who, time)).toBeNull();
        expect(await store.approvals.listStanding(time)).toEqual([]);
      });

      it('ends in the millisecond that it was given until, and is forgotten later', async () => {
        const { id } = await asked();
        await store.approvals.answer(id, yes(time, until));
        expect((await store.approvals.standing(who, until.at - 1))?.id).toBe(id);
        expect(await store.approvals.standing(who, until.at)).toBeNull();
        expect(await store.approvals.listStanding(until.at)).toEqual([]);
        await store.approvals.removeEnded(time + 1_000_000);
        expect(await store.approvals.get(id)).toBeNull();
      });

      it.each([{ kind: 'lease' }, { kind: 'until', at: lease.expiresAt * 2 }] as const)(
        'under a lease ends with it: %j',
        async (reach) => {
          const { id } = await asked();
          await store.approvals.answer(id, yes(time, reach));
          expect((await store.approvals.standing(who, lease.expiresAt - 1))?.id).toBe(id);
          expect(await store.approvals.standing(who, lease.expiresAt)).toBeNull();
          await store.leases.revoke({ id: lease.id }, time);
          expect(await store.approvals.standing(who, time)).toBeNull();
          expect(await store.approvals.listStanding(time)).toEqual([]);
          // It is gone, and not only passed over.
          expect(await store.approvals.revoke(id)).toBeNull();
        },
      );

      it('that was given in the moment in which its lease was revoked does not stand', async () => {
        const { id } = await asked();
        await store.leases.revoke({ agent: 'claude' }, time);
        await store.approvals.answer(id, yes(time, { kind: 'lease' }));
        expect(await store.approvals.standing(who, time)).toBeNull();
      });

      it.each([
        ['expired', { expiresAt: time + 10 }],
        ['not used for too long', { idleMs: 10 }],
        ['used up', { maxUses: 1, uses: 1 }],
      ])('does not come back with its lease, once that was %s', async (_how, fields) => {
        const other = leaseRecord({ grants: [grant.id], ...fields });
        await store.leases.insert(other);
        const { id } = await asked({ who: { ...who, lease: other.id } });
        await store.approvals.answer(id, yes(time, { kind: 'lease' }));
        const renewal = { at: time + 10, expiresAt: time + 5_000, moreUses: 5 };
        await store.leases.renew(other.id, renewal);
        expect(await store.approvals.listStanding(time + 10)).toEqual([]);
        expect(await store.approvals.standing({ ...who, lease: other.id }, time + 10)).toBeNull();
      });

      it('stays when its lease is renewed before that has ended', async () => {
        const { id } = await asked();
        await store.approvals.answer(id, yes(time, { kind: 'lease' }));
        const renewal = { at: lease.expiresAt - 1, expiresAt: lease.expiresAt + 5_000, moreUses: 0 };
        await store.leases.renew(lease.id, renewal);
        expect((await store.approvals.standing(who, lease.expiresAt + 1))?.id).toBe(id);
      });

      it('of another lease stays when one is revoked', async () => {
        const second = leaseRecord({ grants: [grant.id] });
        await store.leases.insert(second);
        const { id } = await asked({ who: { ...who, lease: second.id } });
        await store.approvals.answer(id, yes(time, { kind: 'lease' }));
        await store.leases.revoke({ id: lease.id }, time);
        expect(idsOf(await store.approvals.listStanding(time))).toEqual([id]);
      });

      it('is remembered when its question is over long since', async () => {
        const forLease = await asked();
        const forTime = await asked({ who: { ...who, ruleKey: 'rule-2' } });
        await store.approvals.answer(forLease.id, yes(time, { kind: 'lease' }));
        await store.approvals.answer(forTime.id, yes(time, { kind: 'until', at: time + 2_000_000 }));
        await store.approvals.removeEnded(time + 1_000_000);
        expect(idsOf(await store.approvals.listStanding(time)).toSorted()).toEqual(
          [forLease.id, forTime.id].toSorted(),
        );
      });

      it('ends when it is revoked, once', async () => {
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

    it('tells other connections of each change, and is no change of a right', async () => {
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

    it('fails once it is closed, and looks like none that is empty', async () => {
      await store.close();
      const uses = [
        () => asked(),
        () => store.approvals.get('x'),
        () => store.approvals.waiting(time),
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
