import { SidekeyError } from '../../../src/lib/errors.ts';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Grant } from '../../../src/domain/grant.ts';
import type { Provider } from '../../../src/domain/provider.ts';
import { startRefreshSchedule, type RefreshSchedule } from '../../../src/grants/refresh-schedule.ts';
import type { Timers } from '../../../src/lib/timers.ts';
import type { TokenSourceParts } from '../../../src/grants/token-source.ts';
import type { DueQuery, Store } from '../../../src/store/store.ts';
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
} from './processes.ts';

const minute = 60_000;
const day = 24 * hour;

interface Running extends Process {
  readonly schedule: RefreshSchedule;
  readonly warnings: string[];
  /** Grants that the schedule started to refresh. */
  readonly asked: string[];
  /** Uses the grant's token, as a request does. */
  readonly use: (id: string) => Promise<string>;
}

interface RunningParts extends Partial<TokenSourceParts> {
  readonly wrapStore?: (store: Store) => Store;
  readonly keepFreshMs?: number;
}

/** A process with a schedule; both are closed when the test ends. `random` is 0.5 by default. */
async function running(
  at: ProcessesForTest,
  { keepFreshMs = day, ...parts }: RunningParts = {},
): Promise<Running> {
  const process = await at.process({ random: () => 0.5, ...parts });
  const { store, registry, source, activity } = process;
  const warnings: string[] = [];
  const asked: string[] = [];
  const schedule = startRefreshSchedule({
    registry,
    store,
    tokens: {
      refreshAhead(id, when) {
        asked.push(id);
        return source.refreshAhead(id, when);
      },
    },
    activity,
    readSecret: () => Promise.reject(new Error('no grant has a reference')),
    sources: { check: () => Promise.resolve(null) },
    providers: parts.providers ?? ((name) => (name === 'acme' ? acme : undefined)),
    now: at.time.now,
    skewMs: 5 * minute,
    keepFreshMs,
    logger: { warn: (_fields, message) => warnings.push(message) },
    timers: parts.timers ?? at.time.timers,
    random: parts.random ?? (() => 0.5),
  });
  onTestFinished(() => schedule.close());
  return {
    ...process,
    schedule,
    warnings,
    asked,
    async use(id) {
      schedule.used();
      return tokenOf(await source.tokenFor(id));
    },
  };
}

/** Grants that differ only in their names, all just used. */
async function manyGrants(
  { registry, store }: Process,
  at: ProcessesForTest,
  count: number,
): Promise<Grant[]> {
  const grants: Grant[] = [];
  for (let index = 0; index < count; index += 1) {
    const grant = await registry.add(
      { name: `acme-${index}`, user: 'default', provider: 'acme', scopes: [] },
      { credential: oauth2({ accessToken: `access-of-${index}` }), audience: acme.audience },
    );
    await store.activity.note(grant.id, { usedAt: at.time.now() });
    grants.push(grant);
  }
  return grants;
}

function dialectOf(fields: Partial<Provider['dialect']>): (name: string) => Provider {
  const provider = { ...acme, dialect: { ...acme.dialect, ...fields } };
  return () => provider;
}

/** The times of the refresh requests, in order. */
async function askedAt(at: ProcessesForTest, processes: number, grants: number): Promise<number[]> {
  let seed = 0;
  const asked: number[] = [];
  const all: Running[] = [];
  for (let index = 0; index < processes; index += 1) {
    all.push(
      await running(at, {
        // Evenly spread, and different for each caller.
        random: () => (seed = (seed + 0.618_034) % 1),
        refresh: (request, io) => {
          asked.push(at.time.now());
          return at.provider.refresh(request, io);
        },
      }),
    );
  }
  await manyGrants(all[0]!, at, grants);
  await at.time.advance(1_000);
  return asked;
}
const mostWithin = (times: readonly number[], ms: number) =>
  Math.max(...times.map((time) => times.filter((other) => other >= time && other < time + ms).length));

/** Counts the rows that the store returned. */
const counting = (rows: number[]) => (store: Store) => ({
  ...store,
  grants: {
    ...store.grants,
    async due(query: DueQuery) {
      const page = await store.grants.due(query);
      rows.push(page.length);
      return page;
    },
  },
});

describe('a recently used grant', () => {
  test('has its token refreshed before expiry, without a request', async () => {
    const at = await processesForTest();
    const { registry, use } = await running(at);
    const grant = await at.add(registry, oauth2());
    expect(await use(grant.id)).toBe('access-1');
    await at.time.advance(55 * minute);
    expect(at.provider.requests).toHaveLength(0);
    await at.time.advance(2.5 * minute);
    expect(at.provider.requests).toHaveLength(1);
    expect(await storedRefreshToken(registry, grant.id)).toBe('refresh-2');
  });

  test('has its token refreshed until it no longer counts as used', async () => {
    const at = await processesForTest();
    const { registry, use } = await running(at, { keepFreshMs: 10 * hour });
    const grant = await at.add(registry, oauth2());
    await use(grant.id);
    await at.time.advance(9 * hour);
    expect(at.provider.requests).toHaveLength(9);
    await at.time.advance(2 * day);
    expect(at.provider.requests).toHaveLength(10);
    expect(await use(grant.id)).toBe('access-12');
  });

  test('has its token refreshed even if the lifetime is shorter than the time between two checks', async () => {
    const at = await processesForTest({ lifetimeMs: 2 * minute });
    const { registry, use } = await running(at);
    await at.time.advance(2_000);
    const grant = await at.add(
      registry,
      oauth2({ expiresAt: at.time.now() + 2 * minute, obtainedAt: at.time.now() }),
    );
    await use(grant.id);
    await at.time.advance(2 * minute);
    expect(at.provider.requests).toHaveLength(1);
    await at.time.advance(2 * hour);
    expect(at.provider.requests.length).toBeGreaterThan(60);
    expect(at.provider.requests.length).toBeLessThan(80);
  });

  test('that was first used during a check is found within a minute', async () => {
    const at = await processesForTest({ lifetimeMs: 2 * minute });
    const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
    const { registry, use } = await running(at, {
      wrapStore: (store) => ({
        ...store,
        grants: { ...store.grants, due: (query) => held.then(() => store.grants.due(query)) },
      }),
    });
    await at.time.advance(2_000);
    const obtainedAt = at.time.now();
    const grant = await at.add(registry, oauth2({ obtainedAt, expiresAt: obtainedAt + 2 * minute }));
    await use(grant.id);
    letGo();
    await at.time.advance(2 * minute);
    expect(at.provider.requests).toHaveLength(1);
  });

  test('with a token lifetime of seconds is refreshed only on use', async () => {
    const at = await processesForTest({ lifetimeMs: 10_000 });
    const { registry, use } = await running(at);
    const grant = await at.add(registry, oauth2({ expiresAt: start + 10_000 }));
    await use(grant.id);
    await at.time.advance(day);
    expect(at.provider.requests).toHaveLength(0);
  });

  test('counts as used if another process used it, even if the store sends no notification', async () => {
    const at = await processesForTest();
    const { registry } = await running(at, { wrapStore: (store) => ({ ...store, epoch: () => 1 }) });
    const grant = await at.add(registry, oauth2());
    await at.time.advance(2_000);
    const other = await at.process();
    await other.store.activity.note(grant.id, { usedAt: at.time.now() });
    await at.time.advance(59 * minute);
    expect(at.provider.requests).toHaveLength(1);
  });

  test('counts as used if another process used it', async () => {
    const at = await processesForTest();
    const { registry } = await running(at);
    const other = await at.process();
    const grant = await at.add(other.registry, oauth2());
    await other.source.tokenFor(grant.id);
    await other.activity.flush();
    await at.time.advance(58 * minute);
    expect(at.provider.requests).toHaveLength(1);
    expect(await storedRefreshToken(registry, grant.id)).toBe('refresh-2');
  });
});

describe('an unused grant', () => {
  test('is not refreshed until it is used', async () => {
    const at = await processesForTest();
    const { registry, use } = await running(at);
    const grant = await at.add(registry, oauth2());
    await at.time.advance(3 * day);
    expect(at.provider.requests).toHaveLength(0);
    expect(await use(grant.id)).toBe('access-2');
  });

  test('has its refresh token used before it expires without use, regardless of the access token lifetime', async () => {
    const at = await processesForTest({ lifetimeMs: 365 * day });
    const { registry } = await running(at, { providers: dialectOf({ refreshTokenIdleTimeoutMs: 10 * day }) });
    const grant = await at.add(registry, oauth2({ expiresAt: start + 365 * day }));
    await at.time.advance(5 * day);
    expect(at.provider.requests).toHaveLength(0);
    for (let used = 1; used <= 3; used += 1) {
      await at.time.advance(5.5 * day);
      expect(at.provider.requests).toHaveLength(used);
    }
    expect(await storedRefreshToken(registry, grant.id)).toBe('refresh-4');
    expect(at.provider.reuses).toBe(0);
  });

  test('of an older version has its refresh token used, even if it could not be opened at first', async () => {
    const at = await processesForTest({ lifetimeMs: 365 * day });
    let isOpenable = false;
    const { registry, warnings } = await running(at, {
      providers: dialectOf({ refreshTokenIdleTimeoutMs: 10 * day }),
      wrapStore: (store) => ({
        ...store,
        grants: {
          ...store.grants,
          insert: (...records) =>
            store.grants.insert(...records.map(({ times: _times, ...record }) => record)),
          async due(query) {
            const page = await store.grants.due(query);
            const broken = Buffer.from('nothing of ours');
            return isOpenable
              ? page
              : page.map((due) => ({ ...due, record: { ...due.record, sealed: broken } }));
          },
        },
      }),
    });
    await at.add(registry, oauth2({ expiresAt: start + 365 * day }));
    await at.time.advance(minute);
    expect(warnings).toEqual(['A grant cannot be opened, so it is not kept fresh.']);
    isOpenable = true;
    await at.time.advance(7 * day);
    expect(at.provider.requests).toHaveLength(1);
  });

  test.each([['revoked'], ['reauth_required']] as const)('that is %s is never refreshed', async (state) => {
    const at = await processesForTest();
    const { registry, asked } = await running(at, {
      providers: dialectOf({ refreshTokenIdleTimeoutMs: day }),
    });
    await registry.setState(await at.add(registry, oauth2()), state, null);
    await at.time.advance(5 * day);
    expect([asked, at.provider.requests]).toEqual([[], []]);
  });
});

test('an expired grant is not refreshed until its expiry is extended', async () => {
  const at = await processesForTest();
  const { registry, store, use, schedule } = await running(at);
  const grant = await at.add(registry, oauth2());
  await use(grant.id);
  await store.grantPolicies.set(grant.id, { expiresAt: start + 90 * minute });
  await at.time.advance(89 * minute);
  expect(at.provider.requests).toHaveLength(1);
  await at.time.advance(2 * hour);
  expect(at.provider.requests).toHaveLength(1);
  await store.grantPolicies.set(grant.id, { expiresAt: start + day });
  schedule.look();
  await at.time.advance(minute);
  expect(at.provider.requests).toHaveLength(2);
});

describe('refreshes that are due at the same time', () => {
  test('are made once each, spread over minutes, by several processes with many grants', async () => {
    const at = await processesForTest({ rotates: false });
    const asked = await askedAt(at, 3, 20);
    await at.time.advance(hour - 1_000);
    expect(asked).toHaveLength(20);
    expect(mostWithin(asked, 1_000)).toBeLessThanOrEqual(3);
    expect(asked.at(-1)! - asked[0]!).toBeGreaterThan(30_000);
  });

  test('and were missed by all processes during sleep are made within seconds, and spread out', async () => {
    const at = await processesForTest({ rotates: false });
    const asked = await askedAt(at, 3, 20);
    at.time.set(start + 5 * hour);
    await at.time.advance(5 * minute + 15_000);
    expect(asked).toHaveLength(20);
    expect(mostWithin(asked, 500)).toBeLessThanOrEqual(6);
  });

  test('in two processes at the same moment, are made once', async () => {
    const at = await processesForTest();
    const [one] = [await running(at), await running(at), await running(at)];
    const grant = await at.add(one.registry, oauth2());
    await one.use(grant.id);
    await one.activity.flush();
    await at.time.advance(12 * hour);
    expect(at.provider.requests).toHaveLength(12);
    expect(at.provider.reuses).toBe(0);
  });

  test('and are in progress are not started again by another check', async () => {
    const at = await processesForTest();
    const { registry, use, schedule, asked } = await running(at);
    const grant = await at.add(registry, oauth2());
    await use(grant.id);
    const letGo = at.provider.hold();
    await at.time.advance(56.5 * minute);
    schedule.look();
    await at.time.advance(5_000);
    expect(asked).toEqual([grant.id]);
    letGo();
  });

  test('run at most four at a time per token endpoint', async () => {
    const at = await processesForTest({ rotates: false });
    let atOnce = 0;
    let most = 0;
    let asked = 0;
    const one = await running(at, {
      refresh: async (request, io) => {
        asked += 1;
        atOnce += 1;
        most = Math.max(most, atOnce);
        await new Promise<void>((resolve) => at.time.timers.after(700, resolve));
        atOnce -= 1;
        return at.provider.refresh(request, io);
      },
    });
    await manyGrants(one, at, 30);
    at.time.set(start + 2 * hour);
    await at.time.advance(5 * minute + 30_000);
    expect([asked, most]).toEqual([30, 4]);
  });
});

describe('a failing provider', () => {
  test('is not called again for other grants, except by a request that needs a token', async () => {
    const at = await processesForTest({ rotates: false });
    const one = await running(at);
    await manyGrants(one, at, 10);
    const down = {
      kind: 'later',
      reason: 'the endpoint answered 503',
      retryAfterMs: 3 * minute,
    } as const;
    at.provider.script(...Array.from({ length: 10 }, () => down));
    at.time.set(start + 2 * hour);
    await at.time.advance(5 * minute + 10_000);
    const inBackground = at.provider.requests.length;
    expect(inBackground).toBeGreaterThan(0);
    expect(inBackground).toBeLessThanOrEqual(8);
    const ids = (await one.store.grants.find({})).map(({ id }) => id);
    const activities = await one.store.activity.some(ids);
    const other = activities.find(({ failedAt }) => failedAt === null)!.grantId;
    const answer = await one.source.tokenFor(other);
    expect(at.provider.requests.length).toBe(inBackground + 1);
    expect(tokenOf(answer)).toBe('refresh_failed');
  });

  test('is called again at growing intervals until it works', async () => {
    const at = await processesForTest();
    const { registry, use, store } = await running(at);
    const grant = await at.add(registry, oauth2());
    await use(grant.id);
    const down = { kind: 'later', reason: 'the endpoint answered 503', retryAfterMs: null } as const;
    at.provider.script(...Array.from({ length: 12 }, () => down));
    await at.time.advance(hour);
    const inTheFirstMinutes = at.provider.requests.length;
    expect(inTheFirstMinutes).toBeGreaterThan(3);
    expect(inTheFirstMinutes).toBeLessThan(10);
    expect(await store.activity.get(grant.id)).toMatchObject({ failure: 'the endpoint answered 503' });
    await at.time.advance(2 * hour);
    expect(at.provider.requests.length).toBeGreaterThanOrEqual(13);
    expect(at.provider.requests.length).toBeLessThan(17);
    expect(await store.activity.get(grant.id)).toMatchObject({ failedAt: null, failure: null });
    expect(at.provider.reuses).toBe(0);
  });

  test('is not called again after a permanent refusal', async () => {
    const at = await processesForTest();
    const { registry, use } = await running(at);
    const grant = await at.add(registry, oauth2());
    await use(grant.id);
    at.provider.script({ kind: 'refused', ends: 'grant', description: 'revoked' });
    await at.time.advance(day);
    expect(at.provider.requests).toHaveLength(1);
    expect((await registry.read(grant.id))?.grant.state).toBe('reauth_required');
  });

  test('is called again after a config error when the config has changed, and rarely before that', async () => {
    const at = await processesForTest();
    let provider = acme;
    const { registry, use, schedule } = await running(at, { providers: () => provider });
    const grant = await at.add(registry, oauth2());
    await use(grant.id);
    const refused = { kind: 'refused', error: 'invalid_client', description: '' } as const;
    at.provider.script(refused, refused, refused);
    await at.time.advance(57 * minute);
    expect(at.provider.requests).toHaveLength(1);
    await at.time.advance(20 * minute);
    expect(at.provider.requests).toHaveLength(2);
    provider = { ...acme };
    schedule.look();
    await at.time.advance(11_000);
    expect(at.provider.requests).toHaveLength(3);
  });
});

describe('the clock', () => {
  test('is noticed within minutes when it jumps ahead', async () => {
    const at = await processesForTest();
    const { registry, use } = await running(at);
    const grant = await at.add(registry, oauth2());
    await use(grant.id);
    await at.time.advance(minute);
    at.time.set(start + 20 * hour);
    await at.time.advance(5 * minute + 10_000);
    expect(at.provider.requests).toHaveLength(1);
  });

  test('does not stop the refreshes when it was wrong and is set back', async () => {
    const at = await processesForTest();
    at.time.set(start + 400 * day);
    const { registry, use } = await running(at);
    await at.time.advance(10 * minute);
    at.time.set(start);
    await at.time.advance(minute);
    const grant = await at.add(registry, oauth2());
    await use(grant.id);
    await at.time.advance(58 * minute);
    expect(at.provider.requests).toHaveLength(1);
  });

  test('does not delay the refresh of a grant that was first seen with a wrong clock', async () => {
    const at = await processesForTest();
    at.time.set(start + 400 * day);
    const { registry, use } = await running(at);
    const grant = await at.add(registry, oauth2());
    await at.time.advance(10 * minute);
    at.time.set(start);
    await use(grant.id);
    await at.time.advance(hour);
    expect(at.provider.requests).toHaveLength(1);
  });

  test('does not delay the next refresh when it was wrong at a failure', async () => {
    const at = await processesForTest();
    const { registry, use } = await running(at);
    const grant = await at.add(registry, oauth2());
    await use(grant.id);
    at.time.set(start + 20 * hour);
    at.provider.script({ kind: 'refused', error: 'invalid_client', description: '' });
    await at.time.advance(6 * minute);
    expect(at.provider.requests).toHaveLength(1);
    at.time.set(start + 50 * minute);
    await at.time.advance(8 * minute);
    expect(at.provider.requests).toHaveLength(2);
  });

  test('never sets a timer of more than five minutes', async () => {
    const at = await processesForTest();
    let longest = 0;
    const timers: Timers = {
      after(ms, run) {
        longest = Math.max(longest, ms);
        return at.time.timers.after(ms, run);
      },
    };
    const { registry, use } = await running(at, { timers, keepFreshMs: 365 * day });
    const grant = await at.add(registry, oauth2({ expiresAt: start + 300 * day }));
    await use(grant.id);
    await at.time.advance(hour);
    expect(longest).toBeLessThanOrEqual(5 * minute);
  });
});

describe('an idle schedule', () => {
  test('asks the store each five minutes, and reads a grant once', async () => {
    const at = await processesForTest();
    const rows: number[] = [];
    const { registry, schedule } = await running(at, {
      wrapStore: counting(rows),
    });
    await at.add(registry, oauth2({ expiresAt: null }));
    await at.time.advance(hour);
    expect(rows).toEqual([1, ...Array.from({ length: 11 }, () => 0)]);
    expect(at.time.waiting()).toBe(1);
    await schedule.close();
    expect(at.time.waiting()).toBe(0);
  });
});

describe('a schedule of many grants', () => {
  test('reads each unused grant a few times before its token ends, and never after', async () => {
    const at = await processesForTest();
    const rows: number[] = [];
    const one = await running(at, { wrapStore: counting(rows) });
    const count = 450;
    for (let index = 0; index < count; index += 1)
      await one.registry.add(
        { name: `acme-${index}`, user: 'default', provider: 'acme', scopes: [] },
        { credential: oauth2(), audience: acme.audience },
      );
    await at.time.advance(10 * minute);
    expect(Math.max(...rows)).toBe(200);
    expect(rows.reduce((a, b) => a + b)).toBe(count);
    await at.time.advance(55 * minute);
    expect(rows.reduce((a, b) => a + b)).toBeLessThanOrEqual(4 * count);
    rows.length = 0;
    await at.time.advance(day);
    expect(rows.reduce((a, b) => a + b)).toBe(0);
    expect(at.provider.requests).toEqual([]);
  });

  test('does not read the store for a refresh of a grant', async () => {
    const at = await processesForTest({ rotates: false });
    const rows: number[] = [];
    const one = await running(at, { wrapStore: counting(rows) });
    await manyGrants(one, at, 30);
    await at.time.advance(54 * minute);
    const before = rows.length;
    await at.time.advance(5 * minute);
    expect(at.provider.requests).toHaveLength(30);
    expect(rows.length - before).toBeLessThanOrEqual(10);
  });
});

test('a use is noticed within some minutes when the store sends no notification', async () => {
  const at = await processesForTest();
  let told = 1;
  const { registry, store } = await running(at, {
    keepFreshMs: hour,
    wrapStore: (real) => ({ ...real, epoch: () => told }),
  });
  const grant = await at.add(registry, oauth2({ expiresAt: start + 3 * hour }));
  await at.time.advance(hour);
  told = 2;
  await at.time.advance(hour);
  await store.activity.note(grant.id, { usedAt: start + 2 * hour });
  await at.time.advance(hour);
  expect(at.provider.requests).toHaveLength(1);
});

describe('a failure', () => {
  test('of the store is logged, and followed by a refresh in time', async () => {
    const at = await processesForTest();
    let away = true;
    const { registry, store, warnings } = await running(at, {
      wrapStore: (real) => ({
        ...real,
        grants: {
          ...real.grants,
          due: (query) => (away ? Promise.reject(new Error('away')) : real.grants.due(query)),
        },
      }),
    });
    const grant = await at.add(registry, oauth2({ expiresAt: start + 4 * minute }));
    await store.activity.note(grant.id, { usedAt: start });
    await at.time.advance(2 * minute);
    expect(warnings).toEqual(
      Array.from({ length: 4 }, () => 'The grants could not be checked for due refreshes.'),
    );
    away = false;
    await at.time.advance(2 * minute);
    expect(at.provider.requests).toHaveLength(1);
  });

  test('of one grant is logged once, and the other grants are refreshed', async () => {
    const at = await processesForTest();
    const { registry, store, use, warnings } = await running(at);
    const broken = await registry.add(
      { name: 'broken', user: 'default', provider: 'acme', scopes: [] },
      { credential: oauth2(), audience: acme.audience },
    );
    const record = await store.grants.get(broken.id);
    await store.grants.replace({ ...record!, revision: 2, sealed: Buffer.from('nothing of ours') }, 1);
    const grant = await at.add(registry, oauth2());
    await use(grant.id);
    await at.time.advance(58 * minute);
    expect(at.provider.requests).toHaveLength(1);
    expect(warnings).toEqual(['A grant cannot be opened, so it is not kept fresh.']);
  });
});

test('an unreadable reference is logged once, even after a change of its grant, and again if it fails after a success', async () => {
  const at = await processesForTest();
  let isSet = false;
  const secret = () =>
    isSet
      ? Promise.resolve('shh')
      : Promise.reject(new SidekeyError('secret_missing', 'env:ACME_SECRET is not set.'));
  const { registry, schedule, warnings } = await running(at, {
    providers: () => ({ ...acme, clientSecret: secret }),
  });
  const grant = await at.add(registry, oauth2());
  const changeAndLook = async (team: string) => {
    await registry.changeMetadata(grant.id, { team });
    schedule.look();
    await at.time.advance(minute);
  };
  await at.time.advance(minute);
  await changeAndLook('infra');
  const warning = expect.stringContaining('env:ACME_SECRET is not set') as string;
  expect(warnings).toEqual([warning]);
  isSet = true;
  await changeAndLook('web');
  isSet = false;
  await changeAndLook('data');
  expect(warnings).toEqual([warning, warning]);
});

describe('close', () => {
  test('during a refresh keeps its result, and no refresh starts after it', async () => {
    const at = await processesForTest();
    const { registry, use, schedule, source } = await running(at);
    const grant = await at.add(registry, oauth2());
    await use(grant.id);
    const letGo = at.provider.hold();
    await at.time.advance(58 * minute);
    expect(at.provider.requests).toHaveLength(1);
    await Promise.all([schedule.close(), schedule.close()]);
    const closing = source.close();
    letGo();
    await closing;
    expect(await storedRefreshToken(registry, grant.id)).toBe('refresh-2');
    schedule.look();
    schedule.used();
    await at.time.advance(day);
    expect(at.provider.requests).toHaveLength(1);
    expect(at.time.waiting()).toBe(0);
  });
});
