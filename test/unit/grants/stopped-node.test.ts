import { expect, test } from 'vitest';
import type { Store } from '../../../src/store/store.ts';
import { hour, oauth2, processesForTest, start, storedRefreshToken, tokenOf } from './processes.ts';

/** The store of a node that can be stopped: then it gets no answer about its locks, until it continues. */
function stoppable() {
  let stopped = Promise.resolve();
  let wake: (() => void) | null = null;
  return {
    wrapStore: (store: Store): Store => ({
      ...store,
      locks: {
        ...store.locks,
        acquireFor: async (...args) => {
          const locked = await store.locks.acquireFor(...args);
          await stopped;
          return locked;
        },
        renew: async (...args) => {
          await stopped;
          return store.locks.renew(...args);
        },
      },
    }),
    stop() {
      const { promise, resolve } = Promise.withResolvers<void>();
      [stopped, wake] = [promise, resolve];
    },
    wake: () => wake?.(),
  };
}

const ended = () => oauth2({ expiresAt: start - 1 });

test('a node that is suspended for 60 s before its token request sends no request and writes nothing', async () => {
  const at = await processesForTest();
  const node = stoppable();
  const [a, b] = [await at.process(node), await at.process()];
  const { id } = await at.add(a.registry, ended());
  node.stop();
  const late = a.source.tokenFor(id).catch(() => null);
  await at.time.advance(100);
  const token = b.source.tokenFor(id);
  await at.time.advance(60_000);
  expect(tokenOf(await token)).toBe('access-2');
  node.wake();
  await at.time.advance(1_000);
  await late;
  expect(at.provider.requests).toHaveLength(1);
  expect(at.provider.reuses).toBe(0);
  expect(await storedRefreshToken(b.registry, id)).toBe('refresh-2');
});

test('a node that is suspended for 60 s while it connects to the provider sends nothing', async () => {
  const at = await processesForTest();
  const connected = Promise.withResolvers<void>();
  const a = await at.process({
    refresh: async (request, io) => {
      await connected.promise;
      try {
        await io.beforeSend?.();
      } catch (error) {
        return { kind: 'later', reason: (error as Error).message, retryAfterMs: null };
      }
      return at.provider.refresh(request, io);
    },
    wrapStore: (store) => ({
      ...store,
      // Stopped: none of its heartbeats arrives before the other node has the lock.
      locks: { ...store.locks, renew: async (...args) => !isStopped && store.locks.renew(...args) },
    }),
  });
  let isStopped = false;
  const b = await at.process();
  const { id } = await at.add(a.registry, ended());
  const late = a.source.tokenFor(id);
  await at.time.advance(100);
  isStopped = true;
  const token = b.source.tokenFor(id);
  await at.time.advance(60_000);
  expect(tokenOf(await token)).toBe('access-2');
  isStopped = false;
  connected.resolve();
  await at.time.advance(5_000);
  expect(tokenOf(await late)).toBe('refresh_failed');
  expect(tokenOf(await a.source.tokenFor(id))).toBe('access-2');
  expect(at.provider.requests).toHaveLength(1);
  expect(at.provider.reuses).toBe(0);
});

test('a node that is suspended after it received a response overwrites no newer token, even if its clock is ahead', async () => {
  const at = await processesForTest({ rotates: false });
  const node = stoppable();
  const answer = Promise.withResolvers<void>();
  const a = await at.process({
    ...node,
    refresh: async () => {
      const obtainedAt = at.time.now() + 300_000;
      await answer.promise;
      return {
        kind: 'renewed',
        accessToken: 'of the stopped node',
        refreshToken: null,
        obtainedAt,
        expiresAt: obtainedAt + hour,
        scope: null,
      };
    },
  });
  const b = await at.process();
  const { id } = await at.add(a.registry, ended());
  const late = a.source.tokenFor(id).catch(() => null);
  await at.time.advance(100);
  node.stop();
  const token = b.source.tokenFor(id);
  await at.time.advance(60_000);
  expect(tokenOf(await token)).toBe('access-2');
  node.wake();
  answer.resolve();
  await at.time.advance(1_000);
  await late;
  expect(tokenOf(await b.source.tokenFor(id))).toBe('access-2');
});
