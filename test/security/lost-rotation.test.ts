/**
 * Two refreshes at once kill a rotating refresh token; a crash between answer and commit leaves a used one on
 * disk; one waiter's disconnect fails all others. One refresh for each grant over all processes, commit
 * first, waiters are independent.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { SidekeyError } from '../../src/lib/errors.ts';
import type { Grant } from '../../src/domain/grant.ts';
import { newHolder } from '../../src/grants/refresh-lock.ts';
import type { Registry } from '../../src/grants/registry.ts';
import type { Store } from '../../src/store/store.ts';
import {
  acme,
  hour,
  processesForTest,
  oauth2,
  start,
  storedRefreshToken,
  tokenOf,
} from '../unit/grants/processes.ts';
import { settle } from '../unit/lib/manual-time.ts';
import { allGrants } from '../support/all-grants.ts';

type Replace = Store['grants']['replace'];

/** The store with another `replace`, which is given the real one. */
function withReplace(replace: (real: Replace, ...args: Parameters<Replace>) => ReturnType<Replace>) {
  return (store: Store): Store => ({
    ...store,
    grants: {
      ...store.grants,
      replace: (...args) => replace((...all) => store.grants.replace(...all), ...args),
    },
  });
}

/** Reports whether the promise is pending. */
async function isPending(promise: Promise<unknown>): Promise<boolean> {
  await settle();
  return (await Promise.race([promise, Promise.resolve(isPending)])) === isPending;
}

const unavailable = new SidekeyError('store_unavailable', 'The disk is full.');

describe('two simultaneous refreshes', () => {
  test('in many processes send one request to the provider', async () => {
    const { process, add, time, provider } = await processesForTest();
    const processes = [await process(), await process(), await process()];
    const grant = await add(processes[0]!.registry, oauth2());
    await time.advance(hour);
    const letGo = provider.hold();
    const waiting = Promise.all(
      processes.flatMap(({ source }) => [source.tokenFor(grant.id), source.tokenFor(grant.id)]),
    );
    await time.advance(3_000);
    expect(provider.requests).toHaveLength(1);
    letGo();
    await time.advance(250);
    expect((await waiting).map(tokenOf)).toEqual(Array.from({ length: 6 }, () => 'access-2'));
    expect(provider.reuses).toBe(0);
  });

  test('repeatedly, by processes that wait for each other, never use a refresh token twice', async () => {
    const { process, add, time, provider } = await processesForTest({ lifetimeMs: 60_000 });
    const processes = [await process(), await process()];
    const grant = await add(processes[0]!.registry, oauth2({ expiresAt: start + 60_000 }));
    for (let round = 2; round <= 20; round += 1) {
      await time.advance(60_000);
      const waiting = Promise.all(processes.map(({ source }) => source.tokenFor(grant.id)));
      await time.advance(1_000);
      expect((await waiting).map(tokenOf)).toEqual([`access-${round}`, `access-${round}`]);
    }
    expect(provider.requests).toHaveLength(19);
    expect(provider.reuses).toBe(0);
  });

  test('read the record again under the lock if another refresh finished earlier', async () => {
    const { process, add, time, provider } = await processesForTest();
    const secret = Promise.withResolvers<string>();
    const fast = await process();
    const slow = await process({ providers: () => ({ ...acme, clientSecret: () => secret.promise }) });
    const grant = await add(fast.registry, oauth2());
    await time.advance(hour);
    const waiting = slow.source.tokenFor(grant.id);
    await settle();
    expect(tokenOf(await fast.source.tokenFor(grant.id))).toBe('access-2');
    secret.resolve('client-secret-of-acme');
    expect(tokenOf(await waiting)).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
    expect(provider.reuses).toBe(0);
  });

  test('by a process that was suspended past the end of its lock are abandoned before the request', async () => {
    const { process, add, time, provider } = await processesForTest();
    const sleeper = await process({
      wrapStore: (store) => ({
        ...store,
        locks: {
          ...store.locks,
          acquireFor: async (id, lock) => {
            const locked = await store.locks.acquireFor(id, lock);
            // The machine slept here, and another process had its turn.
            if (provider.requests.length === 0) {
              time.set(time.now() + 20_000);
              await other.source.tokenFor(id);
            }
            return locked;
          },
        },
      }),
    });
    const other = await process();
    const grant = await add(other.registry, oauth2());
    await time.advance(hour);
    const waiting = sleeper.source.tokenFor(grant.id);
    await time.advance(1_000);
    expect(tokenOf(await waiting)).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
    expect(provider.reuses).toBe(0);
  });
});

describe('a lock holder that was suspended', () => {
  test('loses its lock after 2 s, and its late response does not replace newer tokens', async () => {
    // One refresh token for all: what it got and what was got since look alike but for their age.
    const { process, add, time, provider } = await processesForTest({ rotates: false });
    const elsewhere = 'a process that is stopped';
    const stopped = await process({
      wrapStore: (store) => ({
        ...store,
        locks: {
          ...store.locks,
          acquireFor: (id, lock) => store.locks.acquireFor(id, { ...lock, holder: elsewhere }),
          // A process that is stopped has no heartbeat.
          renew: async () => true,
        },
      }),
    });
    const other = await process();
    const grant = await add(other.registry, oauth2());
    await time.advance(hour);
    const letGo = provider.hold();
    const late = stopped.source.tokenFor(grant.id);
    await settle();
    expect(provider.requests).toHaveLength(1);
    provider.hold()();
    const waiting = other.source.tokenFor(grant.id);
    await time.advance(1_900);
    expect(provider.requests).toHaveLength(1);
    await time.advance(350);
    expect(provider.requests).toHaveLength(2);
    expect(tokenOf(await waiting)).toBe('access-3');
    letGo();
    expect(tokenOf(await late)).toBe('access-3');
    const credential = (await other.registry.read(grant.id))?.sealed.credential;
    expect(credential).toMatchObject({ accessToken: 'access-3', refreshToken: 'refresh-1' });
  });

  test('before its request sends no request when it resumes', async () => {
    const { process, add, time, provider } = await processesForTest();
    const stopped = await process({
      wrapStore: (store) => ({
        ...store,
        locks: {
          ...store.locks,
          acquireFor: async (id, lock) => {
            const locked = await store.locks.acquireFor(id, lock);
            if (provider.requests.length === 0) {
              time.set(time.now() + 3_000);
              await store.locks.acquire(lock.name, 'another', 2_000);
              await store.locks.release(lock.name, 'another');
            }
            return locked;
          },
        },
      }),
    });
    const grant = await add(stopped.registry, oauth2());
    await time.advance(hour);
    expect(await stopped.source.refreshAhead(grant.id)).toMatchObject({ kind: 'later' });
    expect(provider.requests).toEqual([]);
  });
});

describe('a crash', () => {
  test('between response and commit has returned the new token to no caller', async () => {
    const { process, add, time, provider } = await processesForTest();
    let crashed = false;
    const { registry, source } = await process({
      wrapStore: withReplace((real, ...args) => {
        if (provider.requests.length === 0) return real(...args);
        crashed = true;
        return new Promise(() => undefined);
      }),
    });
    const grant = await add(registry, oauth2());
    await time.advance(hour - 60_000);
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-1');
    await settle();
    expect(crashed).toBe(true);
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-1');
    await time.advance(60_000);
    const waiting = source.tokenFor(grant.id);
    expect(await isPending(waiting)).toBe(true);
    await time.advance(20_000);
    expect(tokenOf(await waiting)).toBe('refresh_failed');
  });

  test('after the commit loses nothing: the next process uses the stored tokens', async () => {
    const { process, add, time, provider } = await processesForTest();
    const crashing = await process({
      wrapStore: (store) => ({
        ...store,
        locks: { ...store.locks, release: () => new Promise(() => undefined) },
      }),
    });
    const next = await process();
    const grant = await add(next.registry, oauth2());
    await time.advance(hour);
    void crashing.source.tokenFor(grant.id);
    await settle();
    expect(await storedRefreshToken(next.registry, grant.id)).toBe('refresh-2');
    expect(tokenOf(await next.source.tokenFor(grant.id))).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
  });

  test('of a process on another machine before its request delays the other processes for 2 s', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source, store } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    // As its last heartbeat left it.
    await store.locks.acquire(`refresh/${grant.id}`, 'a process of another machine', 2_000);
    const waiting = source.tokenFor(grant.id);
    await time.advance(1_900);
    expect(provider.requests).toEqual([]);
    await time.advance(350);
    expect(tokenOf(await waiting)).toBe('access-2');
  });

  test('of a process of this machine before its request delays no other process', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source, store } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const { promise: begun, resolve } = Promise.withResolvers<unknown>();
    const child = spawn('sleep', ['60'], { stdio: 'ignore' }).once('spawn', resolve);
    await begun;
    await store.locks.acquire(`refresh/${grant.id}`, newHolder(child.pid), 15_000);
    const waiting = source.tokenFor(grant.id);
    await time.advance(1_000);
    expect(provider.requests).toEqual([]);
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    await time.advance(250);
    expect(tokenOf(await waiting)).toBe('access-2');
  });

  test('is not assumed if a process of this machine is late with its heartbeat', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source, store } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    await store.locks.acquire(`refresh/${grant.id}`, newHolder(), 2_000);
    const waiting = source.tokenFor(grant.id);
    await time.advance(10_000);
    expect(provider.requests).toEqual([]);
    await time.advance(10_000);
    expect(tokenOf(await waiting)).toBe('access-2');
  });

  test('cannot lose a token that was handed out, because its refresh token was stored before', async () => {
    const { process, add, time } = await processesForTest({ lifetimeMs: 60_000 });
    const { registry, source } = await process();
    const witness = await process();
    const grant = await add(registry, oauth2({ expiresAt: start + 60_000 }));
    for (let round = 2; round <= 6; round += 1) {
      await time.advance(60_000);
      const token = tokenOf(await source.tokenFor(grant.id));
      expect(token).toBe(`access-${round}`);
      expect(await storedRefreshToken(witness.registry, grant.id)).toBe(`refresh-${round}`);
    }
  });
});

describe('a store that fails to write the new tokens', () => {
  test('for a moment is retried', async () => {
    const { process, add, time, provider } = await processesForTest();
    let failures = 0;
    const { registry, source, events } = await process({
      wrapStore: withReplace((real, ...args) => {
        failures += 1;
        return failures <= 3 ? Promise.reject(unavailable) : real(...args);
      }),
    });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const waiting = source.tokenFor(grant.id);
    await time.advance(20 + 50 + 100);
    expect(tokenOf(await waiting)).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
    expect(events.map(({ event }) => event)).toEqual(['grant.refreshed']);
  });

  test('for a long time makes the request fail, and the tokens are stored later without another request to the provider', async () => {
    const { process, add, time, provider } = await processesForTest();
    let full = true;
    const { registry, source, events } = await process({
      wrapStore: withReplace((real, ...args) => (full ? Promise.reject(unavailable) : real(...args))),
    });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const waiting = source.tokenFor(grant.id);
    await time.advance(20_000);
    expect(await waiting).toMatchObject({ kind: 'refused', code: 'refresh_failed' });
    expect(await storedRefreshToken(registry, grant.id)).toBe('refresh-1');
    expect(events.length).toBeGreaterThan(0);
    expect(events[0]).toMatchObject({
      event: 'grant.refresh_failed',
      reason: 'the provider gave new tokens, and the store did not take them yet',
    });
    full = false;
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('refresh_failed');
    await time.advance(8_000);
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
    expect(await storedRefreshToken(registry, grant.id)).toBe('refresh-2');
    expect(provider.requests).toHaveLength(1);
  });

  test('gets the tokens when the process ends', async () => {
    const { process, add, time, provider } = await processesForTest();
    let full = true;
    const { registry, source } = await process({
      wrapStore: withReplace((real, ...args) => (full ? Promise.reject(unavailable) : real(...args))),
    });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const waiting = source.tokenFor(grant.id);
    await time.advance(20_000);
    await waiting;
    full = false;
    const closing = source.close();
    await time.advance(20_000);
    await closing;
    expect(await storedRefreshToken(registry, grant.id)).toBe('refresh-2');
    expect(provider.requests).toHaveLength(1);
  });

  test('after it committed them does not write them a second time', async () => {
    const { process, add, time, provider } = await processesForTest();
    let writes = 0;
    const { registry, source } = await process({
      wrapStore: withReplace(async (real, ...args) => {
        const wrote = await real(...args);
        writes += 1;
        if (writes === 1) throw unavailable;
        return wrote;
      }),
    });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const waiting = source.tokenFor(grant.id);
    await time.advance(20);
    expect(tokenOf(await waiting)).toBe('access-2');
    expect((await registry.read(grant.id))?.grant.revision).toBe(2);
    expect(provider.requests).toHaveLength(1);
  });
});

describe('waiting callers', () => {
  test('are independent: the caller that began the refresh may disconnect', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const letGo = provider.hold();
    const client = new AbortController();
    const first = source.tokenFor(grant.id, { signal: client.signal }).catch((error: unknown) => error);
    await settle();
    const second = source.tokenFor(grant.id);
    await settle();
    client.abort(new Error('the client is gone'));
    expect(await first).toEqual(new Error('the client is gone'));
    expect(await isPending(second)).toBe(true);
    letGo();
    expect(tokenOf(await second)).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
  });

  test('are independent: the refresh continues after all have disconnected', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const letGo = provider.hold();
    const client = new AbortController();
    const only = source.tokenFor(grant.id, { signal: client.signal }).catch((error: unknown) => error);
    await settle();
    client.abort();
    await only;
    letGo();
    await settle();
    expect(await storedRefreshToken(registry, grant.id)).toBe('refresh-2');
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
  });

  test('are independent: each caller has its own timeout', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process({
      limits: { refresh_timeout: 60_000, refresh_wait: 5_000 },
    });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const letGo = provider.hold();
    const first = source.tokenFor(grant.id);
    await time.advance(3_000);
    const second = source.tokenFor(grant.id);
    await time.advance(2_000);
    expect(tokenOf(await first)).toBe('refresh_failed');
    expect(await isPending(second)).toBe(true);
    letGo();
    expect(tokenOf(await second)).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
  });
});

describe('a refresh token that was refused', () => {
  test('after another process stored the next one does not change the state of the grant', async () => {
    const { process, add, time, provider } = await processesForTest();
    const [here, there] = [await process(), await process()];
    const grant = await add(here.registry, oauth2());
    await time.advance(hour);
    const opened = await there.registry.open(grant.id);
    provider.script(() => ({ kind: 'refused', ends: 'grant', description: 'used before' }));
    // The other process stores its tokens while the refusal is on its way.
    const raced = await process({
      refresh: async (request, io) => {
        const outcome = await provider.refresh(request, io);
        if (outcome.kind === 'refused') {
          const credential = oauth2({
            accessToken: 'access-x',
            refreshToken: 'refresh-x',
            expiresAt: start + 2 * hour,
          });
          await there.registry.replaceCredential(opened!.grant, { ...opened!.sealed, credential });
        }
        return outcome;
      },
    });
    expect(tokenOf(await raced.source.tokenFor(grant.id))).toBe('access-x');
    expect((await allGrants(here.store)).map(({ state }) => state)).toEqual(['active']);
    expect(raced.events).toEqual([]);
  });

  test('turns the grant reauth_required even if the description of the grant changed meanwhile', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source, store, events } = await process({
      refresh: async (request, io) => {
        const [grant] = await allGrants(store);
        await registry.setState(grant!, 'expired', null);
        return provider.refresh(request, io);
      },
    });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    provider.script({ kind: 'refused', ends: 'grant', description: '' });
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('reauth_required');
    expect(events.map(({ event }) => event)).toEqual(['grant.reauth_required']);
  });
});

/** Asks for a token, and has a person change the grant while the provider's answer is on its way. */
async function duringRefresh(change: (registry: Registry, grant: Grant) => Promise<unknown>) {
  const { process, add, time, provider } = await processesForTest();
  const person = await process();
  const { registry, source, store } = await process({
    refresh: async (request, io) => {
      const outcome = await provider.refresh(request, io);
      await change(person.registry, grant);
      return outcome;
    },
  });
  const grant = await add(registry, oauth2());
  await time.advance(hour);
  return { registry, store, grant, result: await source.tokenFor(grant.id) };
}

describe('another write during a refresh', () => {
  test('does not lose the rotated token', async () => {
    const { result, registry, grant } = await duringRefresh(async (registry, grant) => {
      await registry.setState(grant, 'expired', 'a person looked at it');
    });
    expect(tokenOf(result)).toBe('access-2');
    expect(await storedRefreshToken(registry, grant.id)).toBe('refresh-2');
  });

  test('that revoked the grant is preserved', async () => {
    const { result, store } = await duringRefresh(async (registry, grant) => {
      await registry.setState(grant, 'revoked', null);
    });
    expect(tokenOf(result)).toBe('grant_revoked');
    expect((await allGrants(store))[0]?.state).toBe('revoked');
  });

  test('that removed the grant is preserved', async () => {
    const { result, store } = await duringRefresh(async (registry, grant) => {
      await registry.remove(grant.id);
    });
    expect(tokenOf(result)).toBe('grant_missing');
    expect(await allGrants(store)).toEqual([]);
  });

  test('that stored new tokens is preserved', async () => {
    const { result, registry, grant } = await duringRefresh(async (registry, grant) => {
      const opened = await registry.open(grant.id);
      const credential = oauth2({
        accessToken: 'new',
        refreshToken: 'new-refresh',
        expiresAt: start + 9 * hour,
      });
      await registry.replaceCredential(grant, { ...opened!.sealed, credential });
    });
    expect(tokenOf(result)).toBe('new');
    expect(await storedRefreshToken(registry, grant.id)).toBe('new-refresh');
  });
});
