/** Answers of token endpoints after `refresh_timeout` (10 s here): no caller waits, and nothing is lost. */
import { describe, expect, test } from 'vitest';
import type { RefreshOutcome } from '../../../src/grants/oauth/refresh.ts';
import type { TokenSourceParts } from '../../../src/grants/token-source.ts';
import { settle } from '../lib/manual-time.ts';
import { hour, oauth2, processesForTest, storedRefreshToken, tokenOf } from './processes.ts';
import { allGrants } from '../../support/all-grants.ts';

const down: RefreshOutcome = { kind: 'later', reason: 'no answer came', retryAfterMs: null };
const refusal = {
  code: 'refresh_failed',
  message: 'The token of the grant "acme" could not be refreshed: the token endpoint did not answer in time.',
};

/**
 * A grant whose token has ended, and a provider that answers when the test says so.
 *
 * @param isSent false: the connection never opens, so nothing is sent
 */
async function lateProvider({
  isSent = true,
  ...parts
}: Partial<TokenSourceParts> & { isSent?: boolean } = {}) {
  const { process, add, time, provider } = await processesForTest();
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  let hangs = true;
  const refresh: TokenSourceParts['refresh'] = async (request, io) => {
    if (isSent) await io.beforeSend?.();
    // The provider rotates the refresh token before it answers.
    const outcome = await provider.refresh(request, io);
    if (!hangs) return outcome;
    const ended = new Promise<RefreshOutcome>((resolve) => {
      io.signal.addEventListener('abort', () => resolve(down));
    });
    return Promise.race([answered.then(() => outcome), ended]);
  };
  const options = { refresh, ...parts };
  const { registry, store, source, events } = await process(options);
  const grant = await add(registry, oauth2());
  await time.advance(hour);
  return {
    time,
    provider,
    registry,
    store,
    source,
    events,
    grant,
    another: () => process(options),
    answer,
    recover: () => void (hangs = false),
  };
}

describe('an answer after refresh_timeout', () => {
  test('is stored, although the caller was refused, and the refresh token was sent once', async () => {
    const { time, provider, registry, source, grant, answer, events } = await lateProvider();
    const waiting = source.tokenFor(grant.id);
    await time.advance(10_000);
    expect(await waiting).toMatchObject(refusal);
    await time.advance(5_000);
    expect(await source.tokenFor(grant.id)).toMatchObject(refusal);
    answer();
    await settle();
    expect(await storedRefreshToken(registry, grant.id)).toBe('refresh-2');
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
    expect(events.map(({ event }) => event)).toEqual(['grant.refresh_failed', 'grant.refreshed']);
  });

  test('is waited for by other processes, which send nothing and refuse their callers in time', async () => {
    const { time, provider, source, grant, answer, another } = await lateProvider();
    const other = await another();
    const first = source.tokenFor(grant.id);
    await settle();
    const second = other.source.tokenFor(grant.id);
    await time.advance(10_250);
    expect(await first).toMatchObject(refusal);
    expect(await second).toMatchObject(refusal);
    await time.advance(5_000);
    expect(provider.requests).toHaveLength(1);
    answer();
    await time.advance(250);
    expect(tokenOf(await other.source.tokenFor(grant.id))).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
    expect(provider.reuses).toBe(0);
  });

  test('counts even if no caller but the background began the refresh', async () => {
    const { time, provider, source, grant, answer } = await lateProvider();
    const ahead = source.refreshAhead(grant.id);
    await time.advance(10_000);
    expect(await ahead).toMatchObject({ kind: 'later' });
    expect(await source.tokenFor(grant.id)).toMatchObject({ ...refusal, retryAfterMs: 0 });
    answer();
    await settle();
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
  });

  test('is awaited for 25 s, after which the next attempt is sent', async () => {
    const { time, provider, source, grant, recover } = await lateProvider();
    const waiting = source.tokenFor(grant.id);
    await time.advance(24_999);
    expect(await waiting).toMatchObject(refusal);
    expect(provider.requests).toHaveLength(1);
    recover();
    await time.advance(1_000);
    expect(provider.requests).toHaveLength(2);
  });

  test('is stored by a stop, which waits for it as long as the drain', async () => {
    const { time, registry, source, grant, answer } = await lateProvider({
      limits: { refresh_timeout: 10_000, refresh_wait: 20_000, drain: 12_000 },
    });
    void source.tokenFor(grant.id);
    await time.advance(10_000);
    let isClosed = false;
    const closing = source.close().then(() => (isClosed = true));
    await time.advance(11_999);
    expect(isClosed).toBe(false);
    answer();
    await closing;
    expect(await storedRefreshToken(registry, grant.id)).toBe('refresh-2');
  });

  test('that does not come ends with the drain of a stop', async () => {
    const { time, source, grant } = await lateProvider();
    void source.tokenFor(grant.id);
    await time.advance(12_000);
    let isClosed = false;
    void source.close().then(() => (isClosed = true));
    await time.advance(10_000);
    expect(isClosed).toBe(true);
    expect(time.waiting()).toBe(0);
  });

  test('is not awaited while the store takes no heartbeat, because another node may take the lock', async () => {
    let isAway = false;
    const { process, add, time } = await processesForTest();
    let abortedAt = 0;
    const { registry, source } = await process({
      wrapStore: (store) => ({
        ...store,
        locks: {
          ...store.locks,
          renew: (...lock) => (isAway ? Promise.reject(new Error('away')) : store.locks.renew(...lock)),
        },
      }),
      async refresh(_request, io) {
        await io.beforeSend?.();
        return new Promise((resolve) => {
          io.signal.addEventListener('abort', () => {
            abortedAt = time.now();
            resolve(down);
          });
        });
      },
    });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const begun = time.now();
    void source.tokenFor(grant.id);
    await time.advance(3_000);
    isAway = true;
    await time.advance(20_000);
    expect(abortedAt - begun).toBeGreaterThan(12_000);
    expect(abortedAt - begun).toBeLessThan(14_000);
  });
});

describe('a request is given up after refresh_timeout', () => {
  test('if it was not sent, because the connection did not open', async () => {
    const { time, provider, source, grant, recover } = await lateProvider({ isSent: false });
    const waiting = source.tokenFor(grant.id);
    await time.advance(9_999);
    recover();
    await time.advance(1_001);
    expect(await waiting).toMatchObject({ code: 'refresh_failed' });
    expect(provider.requests).toHaveLength(2);
  });

  test('if it has no refresh token, so that nothing is lost', async () => {
    const { time, provider, registry, store, source, recover } = await lateProvider();
    const [grant] = await allGrants(store);
    const renewal = { kind: 'client_credentials', scope: null, parameters: {} } as const;
    const credential = oauth2({ refreshToken: null, renewal });
    const opened = await registry.open(grant!.id);
    await registry.replaceCredential(opened!.grant, { ...opened!.sealed, credential });
    const waiting = source.tokenFor(grant!.id);
    await time.advance(9_999);
    recover();
    await time.advance(1_001);
    expect(await waiting).toMatchObject({ code: 'refresh_failed' });
    expect(provider.requests).toHaveLength(2);
  });
});
