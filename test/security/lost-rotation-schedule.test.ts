/**
 * A refresh that comes by itself must be as careful as one that a request waits for: a schedule in every
 * process is one more who could use a refresh token twice, or die with the answer in hand.
 */
import { describe, expect, onTestFinished, test } from 'vitest';
import { startRefreshSchedule } from '../../src/grants/refresh-schedule.ts';
import type { Store } from '../../src/store/store.ts';
import {
  acme,
  hour,
  processesForTest,
  oauth2,
  start,
  storedRefreshToken,
  tokenOf,
  type ProcessesForTest,
  type Process,
} from '../unit/grants/processes.ts';
import { settle } from '../unit/lib/manual-time.ts';
import { allGrants } from '../support/all-grants.ts';

const day = 24 * hour;
const provider = { ...acme, dialect: { ...acme.dialect, refreshTokenIdleTimeoutMs: 30 * day } };

/** A process with a schedule. All of them choose the same moment: the worst that can happen. */
async function scheduled(at: ProcessesForTest, wrapStore?: (store: Store) => Store): Promise<Process> {
  const process = await at.process({ providers: () => provider, ...(wrapStore ? { wrapStore } : {}) });
  const schedule = startRefreshSchedule({
    ...process,
    tokens: process.source,
    providers: () => provider,
    readSecret: () => Promise.reject(new Error('no grant has a reference')),
    sources: { check: () => Promise.resolve(null) },
    now: at.time.now,
    skewMs: 300_000,
    keepFreshMs: day,
    logger: { warn: () => {} },
    timers: at.time.timers,
    random: () => 0.5,
  });
  onTestFinished(() => schedule.close());
  return process;
}

/** The moment at which the schedules begin: a quarter into the time in which the token is due. */
const moment = hour - 300_000 + 75_000;

describe('refresh schedules of several processes', () => {
  test('and a simultaneous request use the refresh token once', async () => {
    const at = await processesForTest();
    const processes = [await scheduled(at), await scheduled(at), await scheduled(at)];
    const grant = await at.add(processes[0]!.registry, oauth2());
    await processes[0]!.store.activity.note(grant.id, { usedAt: start });
    await at.time.advance(moment - 1);
    expect(at.provider.requests).toHaveLength(0);
    const asking = Promise.all(processes.map(({ source }) => source.tokenFor(grant.id)));
    await at.time.advance(120_000);
    expect((await asking).map(tokenOf)).toEqual(['access-1', 'access-1', 'access-1']);
    expect(at.provider.requests).toHaveLength(1);
    expect(at.provider.reuses).toBe(0);
    expect(await storedRefreshToken(processes[2]!.registry, grant.id)).toBe('refresh-2');
  });

  test('over many weeks of an unused grant never use a refresh token twice', async () => {
    const at = await processesForTest();
    const processes = [await scheduled(at), await scheduled(at)];
    const grant = await at.add(processes[0]!.registry, oauth2());
    await at.time.advance(70 * day);
    expect(at.provider.requests).toHaveLength(4);
    expect(at.provider.reuses).toBe(0);
    expect((await processes[1]!.registry.read(grant.id))?.grant.state).toBe('active');
  });
});

describe('a request that needs a token', () => {
  test('waits for the refresh that the schedule of the same process has started', async () => {
    const at = await processesForTest();
    const { registry, store, source } = await scheduled(at);
    const grant = await at.add(registry, oauth2());
    await store.activity.note(grant.id, { usedAt: start });
    const letGo = at.provider.hold();
    await at.time.advance(moment);
    expect(at.provider.requests).toHaveLength(1);
    at.time.set(start + hour);
    const waiting = source.tokenFor(grant.id);
    await settle();
    letGo();
    expect(tokenOf(await waiting)).toBe('access-2');
    expect(at.provider.requests).toHaveLength(1);
  });
});

describe('a process that dies after it received the token response', () => {
  test('loses only that response, and the next caller reports the loss', async () => {
    const at = await processesForTest();
    const dying = await scheduled(at, (store) => ({
      ...store,
      grants: {
        ...store.grants,
        replace: (...args) =>
          at.provider.requests.length === 0 ? store.grants.replace(...args) : new Promise(() => undefined),
      },
    }));
    const grant = await at.add(dying.registry, oauth2());
    await dying.store.activity.note(grant.id, { usedAt: start });
    await at.time.advance(moment);
    expect(at.provider.requests).toHaveLength(1);
    expect(await storedRefreshToken(dying.registry, grant.id)).toBe('refresh-1');

    const next = await at.process();
    at.time.set(start + 2 * hour);
    const refused = await next.source.tokenFor(grant.id);
    await settle();
    expect(refused).toMatchObject({ kind: 'refused', code: 'reauth_required' });
    const [stored] = await allGrants(next.store);
    expect([stored?.state, stored?.stateReason]).toEqual([
      'reauth_required',
      expect.stringContaining('used before'),
    ]);
    expect(next.events).toMatchObject([
      { event: 'grant.reauth_required', grant: grant.id, reason: expect.stringContaining('used before') },
    ]);
    expect((await next.store.activity.get(grant.id))?.failure).toContain('used before');
  });
});
