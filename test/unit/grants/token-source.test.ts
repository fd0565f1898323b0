import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import type { ReadyToken } from '../../../src/grants/token-result.ts';
import type { RefreshOutcome } from '../../../src/grants/oauth/refresh.ts';
import { acme, hour, processesForTest, oauth2, start, storedRefreshToken, tokenOf } from './processes.ts';
import { settle } from '../lib/manual-time.ts';
import { hintOfText } from '../../support/hint.ts';
import { allGrants } from '../../support/all-grants.ts';

const down: RefreshOutcome = { kind: 'later', reason: 'HTTP 503', retryAfterMs: null };

/** The rejection of a promise, or undefined. */
async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => null,
    (error: unknown) => error,
  );
}

/** The access token of a result; throws for other results. */
function ready(result: { kind: string }): ReadyToken {
  expect(result.kind).toBe('ready');
  return result as ReadyToken;
}

describe('a fresh token', () => {
  test('is returned from memory after the first read', async () => {
    const { process, add, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    expect(source.peek(grant.id)).toBeNull();
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-1');
    expect(source.peek(grant.id)).toMatchObject({ kind: 'ready', grant: { id: grant.id } });
    expect(provider.requests).toEqual([]);
  });

  test('is not returned from memory after another process has replaced it', async () => {
    const { process, add } = await processesForTest();
    const [here, there] = [await process(), await process()];
    const grant = await add(here.registry, oauth2());
    await here.source.tokenFor(grant.id);
    const opened = await there.registry.open(grant.id);
    await there.registry.replaceCredential(opened!.grant, {
      ...opened!.sealed,
      credential: oauth2({ accessToken: 'other' }),
    });
    expect(here.source.peek(grant.id)).toBeNull();
    expect(tokenOf(await here.source.tokenFor(grant.id))).toBe('other');
  });

  test('without an expiry, or of another credential type, is never refreshed', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, { type: 'api_key', value: 'key' });
    await time.advance(100 * hour);
    expect(await source.tokenFor(grant.id)).toMatchObject({ kind: 'ready' });
    expect(provider.requests).toEqual([]);
  });
});

describe('a token that is due', () => {
  test('is returned at once, and refreshed once in the background', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source, events } = await process();
    const grant = await add(registry, oauth2());
    await source.tokenFor(grant.id);
    await time.advance(hour - 60_000);
    const letGo = provider.hold();
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-1');
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-1');
    await settle();
    expect(source.peek(grant.id)).toMatchObject({ kind: 'ready' });
    expect(provider.requests).toHaveLength(1);
    letGo();
    await settle();
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
    expect(events).toEqual([
      {
        event: 'grant.refreshed',
        outcome: 'ok',
        duration_ms: 0,
        grant: grant.id,
        user: 'default',
        provider: 'acme',
      },
    ]);
  });

  test('is returned without an error when its refresh fails, and the refresh is repeated after a back-off', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source, events } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour - 200_000);
    provider.script(down, down);
    for (let round = 0; round < 5; round += 1) {
      expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-1');
      await settle();
    }
    expect(provider.requests).toHaveLength(1);
    await time.advance(1_000);
    await source.tokenFor(grant.id);
    await time.advance(1_999);
    await source.tokenFor(grant.id);
    await settle();
    expect(provider.requests).toHaveLength(2);
    await time.advance(1);
    await source.tokenFor(grant.id);
    await settle();
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
    expect(events.map(({ event }) => event)).toEqual([
      'grant.refresh_failed',
      'grant.refresh_failed',
      'grant.refreshed',
    ]);
  });

  test('is not refreshed while another process refreshes it', async () => {
    const { process, add, time, provider } = await processesForTest();
    const [here, there] = [await process(), await process()];
    const grant = await add(here.registry, oauth2());
    await time.advance(hour - 60_000);
    const letGo = provider.hold();
    await here.source.tokenFor(grant.id);
    await settle();
    expect(tokenOf(await there.source.tokenFor(grant.id))).toBe('access-1');
    await settle();
    expect(provider.requests).toHaveLength(1);
    // Time limit and heartbeat of the request, and two notes of uses; no process waits for the lock.
    expect(time.waiting()).toBe(4);
    letGo();
    await settle();
    expect(tokenOf(await there.source.tokenFor(grant.id))).toBe('access-2');
  });
});

describe('an expired token', () => {
  test('is refreshed before the response, once for all waiting requests', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const results = await Promise.all(Array.from({ length: 20 }, () => source.tokenFor(grant.id)));
    expect(new Set(results.map(tokenOf))).toEqual(new Set(['access-2']));
    expect(provider.requests).toMatchObject([
      {
        kind: 'refresh_token',
        endpoint: 'https://helpdesk.acme.test/token',
        client: { clientId: 'sidekey', clientSecret: 'client-secret-of-acme', auth: 'basic' },
        refreshToken: 'refresh-1',
      },
    ]);
    expect(await storedRefreshToken(registry, grant.id)).toBe('refresh-2');
  });

  test('is obtained with only the refresh token, as is a missing token', async () => {
    const { process, add } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2({ accessToken: null, expiresAt: null }));
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
  });

  test('keeps its refresh token when the provider sends none', async () => {
    const { process, add, time, provider } = await processesForTest({ rotates: false });
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
    await time.advance(hour);
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-3');
    expect(provider.requests).toMatchObject([{ refreshToken: 'refresh-1' }, { refreshToken: 'refresh-1' }]);
  });

  test('is refreshed after failures that pass within two seconds', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    provider.script(down, down, down);
    const waiting = Promise.all([source.tokenFor(grant.id), source.tokenFor(grant.id)]);
    await time.advance(250 + 500 + 1_000);
    expect((await waiting).map(tokenOf)).toEqual(['access-2', 'access-2']);
    expect(provider.requests).toHaveLength(4);
  });

  test('is refused at once while the provider fails, until a background attempt succeeds', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source, events } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    provider.script(...Array.from({ length: 6 }, () => down));
    const begun = time.now();
    const first = source.tokenFor(grant.id);
    await time.advance(250 + 500 + 1_000);
    expect(await first).toMatchObject({
      kind: 'refused',
      code: 'refresh_failed',
      message: 'The token of the grant "acme" could not be refreshed: HTTP 503.',
      grant: { name: 'acme' },
      retryAfterMs: 2_000,
    });
    expect(time.now() - begun).toBeLessThanOrEqual(2_000);
    for (let round = 0; round < 10; round += 1) {
      expect(await source.tokenFor(grant.id)).toMatchObject({ code: 'refresh_failed', retryAfterMs: 2_000 });
    }
    expect(provider.requests).toHaveLength(4);
    // No request in between: attempts after 2 s and 4 s fail, and the one after 8 s succeeds.
    await time.advance(2_000 + 4_000 + 8_000);
    expect(provider.requests).toHaveLength(7);
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
    expect(provider.requests).toHaveLength(7);
    expect(events.filter(({ reason }) => reason === 'HTTP 503')).toHaveLength(6);
    expect(time.waiting()).toBe(1); // The timer of the note of use.
  });

  test('does not wait for an attempt that follows a failure, even when it hangs', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    provider.script({ ...down, retryAfterMs: 3_000 });
    expect(await source.tokenFor(grant.id)).toMatchObject({ retryAfterMs: 3_000 });
    const letGo = provider.hold();
    await time.advance(3_000);
    expect(provider.requests).toHaveLength(2);
    expect(await source.tokenFor(grant.id)).toMatchObject({ code: 'refresh_failed', retryAfterMs: 0 });
    letGo();
    await settle();
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
  });

  test('is not requested before Retry-After, and the refusal states that time', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    provider.script({ ...down, reason: 'HTTP 429', retryAfterMs: 60_000 });
    expect(await source.tokenFor(grant.id)).toMatchObject({
      code: 'refresh_failed',
      message: expect.stringContaining('HTTP 429'),
      retryAfterMs: 60_000,
    });
    await time.advance(59_999);
    expect(await source.tokenFor(grant.id)).toMatchObject({ code: 'refresh_failed', retryAfterMs: 1 });
    expect(provider.requests).toHaveLength(1);
    await time.advance(1);
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
    expect(provider.requests).toHaveLength(2);
  });

  test('is not requested again after all callers have disconnected, and the next request waits again', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    provider.script(...Array.from({ length: 100 }, () => down));
    const first = source.tokenFor(grant.id);
    await time.advance(600_000);
    expect(tokenOf(await first)).toBe('refresh_failed');
    // The wait is 300 s; after the first 8 s there is one attempt every 8 s.
    expect(provider.requests.length).toBeLessThanOrEqual(45);
    expect(time.waiting()).toBe(0);
    const before = provider.requests.length;
    const next = source.tokenFor(grant.id);
    await settle();
    expect(provider.requests).toHaveLength(before + 1);
    expect(tokenOf(await next)).toBe('refresh_failed');
  });

  test('is requested at once when a person changed the grant or the provider after a failure', async () => {
    const { process, add, time, provider } = await processesForTest();
    let current = acme;
    const { registry, source } = await process({ providers: () => current });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    provider.script({ ...down, retryAfterMs: 60_000 });
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('refresh_failed');
    current = { ...acme };
    await time.advance(60_000);
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
    expect(provider.requests).toHaveLength(2);
  });

  test('is not requested again by a caller that waited for the failed refresh of another process', async () => {
    const { process, add, time, provider } = await processesForTest();
    const [here, there] = [await process(), await process()];
    const grant = await add(here.registry, oauth2());
    await time.advance(hour);
    const hanging = Promise.withResolvers<RefreshOutcome>();
    const hangs = await process({
      refresh: () => hanging.promise,
    });
    const first = hangs.source.tokenFor(grant.id);
    await settle();
    const second = there.source.tokenFor(grant.id);
    await time.advance(9_000);
    hanging.resolve({ ...down, retryAfterMs: 60_000 });
    await time.advance(250);
    expect(tokenOf(await first)).toBe('refresh_failed');
    expect(tokenOf(await second)).toBe('refresh_failed');
    expect(provider.requests).toHaveLength(0);
  });

  test('keeps its lock until the failure is noted', async () => {
    const { process, add, time } = await processesForTest();
    const atRelease: unknown[] = [];
    const { source, registry } = await process({
      refresh: () => Promise.resolve(down),
      wrapStore: (store) => ({
        ...store,
        activity: {
          ...store.activity,
          async note(...change) {
            for (let turns = 0; turns < 3; turns += 1) await nextTurn();
            await store.activity.note(...change);
          },
        },
        locks: {
          ...store.locks,
          async release(name, holder) {
            atRelease.push((await store.activity.get(name.replace('refresh/', '')))?.failure);
            await store.locks.release(name, holder);
          },
        },
      }),
    });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const refused = source.tokenFor(grant.id);
    await time.advance(3_000);
    expect(tokenOf(await refused)).toBe('refresh_failed');
    expect(atRelease.length).toBeGreaterThan(0);
    expect(new Set(atRelease)).toEqual(new Set([down.reason]));
  });

  test('is refused after the maximum wait when the provider hangs, and a late response still counts', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process({
      limits: { refresh_timeout: 60_000, refresh_wait: 5_000 },
    });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const letGo = provider.hold();
    const waiting = source.tokenFor(grant.id);
    await time.advance(5_000);
    expect(await waiting).toMatchObject({ code: 'refresh_failed', retryAfterMs: 0 });
    // The next request does not wait for the attempt.
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('refresh_failed');
    letGo();
    await settle();
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
  });

  test('has its request to the token endpoint cancelled after refresh_timeout', async () => {
    const { process, add, time } = await processesForTest();
    const signals: AbortSignal[] = [];
    const { registry, source } = await process({
      refresh: (_, { signal }) =>
        new Promise((resolve) => {
          signals.push(signal);
          signal.addEventListener('abort', () => {
            resolve({ kind: 'later', reason: 'too late', retryAfterMs: null });
          });
        }),
    });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const waiting = source.tokenFor(grant.id);
    await time.advance(9_999);
    expect(signals.map(({ aborted }) => aborted)).toEqual([false]);
    await time.advance(20_000);
    expect(signals[0]?.reason).toMatchObject({ name: 'TimeoutError' });
    expect(await waiting).toMatchObject({ code: 'refresh_failed' });
  });

  test('is not requested repeatedly when the provider refuses the client', async () => {
    const { process, add, time, provider } = await processesForTest();
    let current = acme;
    const { registry, source } = await process({ providers: () => current });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const refused: RefreshOutcome = { kind: 'refused', error: 'invalid_client', description: 'who?' };
    provider.script(refused, refused);
    for (let round = 0; round < 3; round += 1) {
      expect(await source.tokenFor(grant.id)).toMatchObject({
        code: 'refresh_failed',
        message: expect.stringContaining('invalid_client: who?'),
        hint: hintOfText(/client_secret/),
      });
    }
    expect(provider.requests).toHaveLength(1);
    await time.advance(30_000);
    await source.tokenFor(grant.id);
    expect(provider.requests).toHaveLength(2);
    current = { ...acme };
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-2');
  });

  test('is refused with the name of the missing setting when there is no token endpoint', async () => {
    const { process, add, time } = await processesForTest();
    const { registry, source } = await process({ providers: () => undefined });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    expect(await source.tokenFor(grant.id)).toMatchObject({
      code: 'refresh_failed',
      hint: 'set providers.acme.token_endpoint',
    });
  });

  test('sets the grant to expired once when it cannot be refreshed', async () => {
    const { process, add, time } = await processesForTest();
    const { registry, store, source, events } = await process();
    const grant = await add(registry, oauth2({ refreshToken: null }));
    await time.advance(hour - 1);
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-1');
    await time.advance(1);
    for (let round = 0; round < 2; round += 1) {
      expect(await source.tokenFor(grant.id)).toMatchObject({
        code: 'grant_expired',
        hint: hintOfText('sidekey connect acme'),
        grant: { state: 'expired' },
      });
    }
    expect(events).toMatchObject([{ event: 'grant.expired', code: 'grant_expired', grant: grant.id }]);
    // The clock was wrong: the state that it caused ends with its correction.
    time.set(start);
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-1');
    expect((await allGrants(store))[0]?.state).toBe('active');
  });
});

describe('a grant that is no longer usable', () => {
  test('is refused with its code and the command that repairs it', async () => {
    const { process, add } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    await source.tokenFor(grant.id);
    const revoked = await registry.setState(grant, 'revoked', null);
    expect(source.peek(grant.id)).toBeNull();
    expect(await source.tokenFor(grant.id)).toMatchObject({ code: 'grant_revoked', grant: { name: 'acme' } });
    await registry.setState(revoked!, 'reauth_required', 'the provider refused the refresh token.');
    expect(await source.tokenFor(grant.id)).toMatchObject({
      code: 'reauth_required',
      message: 'The grant "acme" needs a new consent: the provider refused the refresh token.',
      hint: hintOfText('sidekey connect acme'),
    });
    await registry.remove(grant.id);
    expect(await source.tokenFor(grant.id)).toMatchObject({ code: 'grant_missing', grant: null });
  });

  test('is not refreshed after invalid_grant, and keeps the reason', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source, events } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    provider.script({ kind: 'refused', ends: 'grant', description: 'consent was withdrawn' });
    for (let round = 0; round < 3; round += 1) {
      expect(await source.tokenFor(grant.id)).toMatchObject({
        code: 'reauth_required',
        message: expect.stringContaining('consent was withdrawn'),
      });
    }
    expect(provider.requests).toHaveLength(1);
    expect(events.map(({ event, code }) => [event, code])).toEqual([
      ['grant.reauth_required', 'reauth_required'],
    ]);
  });

  test('returns its due token to the request that detected the failure', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour - 60_000);
    provider.script({ kind: 'refused', ends: 'grant', description: '' });
    expect(tokenOf(await source.tokenFor(grant.id))).toBe('access-1');
    await settle();
    expect(await source.tokenFor(grant.id)).toMatchObject({ code: 'reauth_required' });
  });
});

describe('a 401 of the upstream', () => {
  test('causes one refresh for all requests that got it', async () => {
    const { process, add, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    const stale = ready(await source.tokenFor(grant.id));
    const results = await Promise.all(Array.from({ length: 10 }, () => source.forceRefresh(stale)));
    expect(new Set(results.map(tokenOf))).toEqual(new Set(['access-2']));
    // A late request of the same group takes the newer token.
    expect(tokenOf(await source.forceRefresh(stale))).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
  });

  test('uses the newer token that another process stored', async () => {
    const { process, add, provider } = await processesForTest();
    const [here, there] = [await process(), await process()];
    const grant = await add(here.registry, oauth2());
    const stale = ready(await here.source.tokenFor(grant.id));
    await there.source.forceRefresh(stale);
    expect(tokenOf(await here.source.forceRefresh(stale))).toBe('access-2');
    expect(provider.requests).toHaveLength(1);
  });

  test('causes no loop when every token is refused', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    const first = ready(await source.tokenFor(grant.id));
    const second = ready(await source.forceRefresh(first));
    expect(await source.forceRefresh(second)).toEqual({ kind: 'unchanged' });
    await time.advance(9_999);
    expect(await source.forceRefresh(second)).toEqual({ kind: 'unchanged' });
    expect(provider.requests).toHaveLength(1);
    await time.advance(1);
    expect(tokenOf(await source.forceRefresh(second))).toBe('access-3');
  });

  test('is forwarded when nothing can be refreshed, or the provider fails', async () => {
    const { process, add, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    const stale = ready(await source.tokenFor(grant.id));
    provider.script(down);
    expect(await source.forceRefresh(stale)).toEqual({ kind: 'unchanged' });
    await registry.remove(grant.id);
    const key = await add(registry, { type: 'api_key', value: 'key' });
    expect(await source.forceRefresh(ready(await source.tokenFor(key.id)))).toEqual({ kind: 'unchanged' });
    expect(provider.requests).toHaveLength(1);
  });

  test('is refused with reauth_required when the consent has ended', async () => {
    const { process, add, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    const stale = ready(await source.tokenFor(grant.id));
    provider.script({ kind: 'refused', ends: 'grant', description: '' });
    expect(await source.forceRefresh(stale)).toMatchObject({ code: 'reauth_required' });
  });
});

describe('a failure of the store', () => {
  test('is the result of the request, with its code', async () => {
    const { process, add, time } = await processesForTest();
    const { registry, source, store } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    await store.close();
    const error = await rejection(source.tokenFor(grant.id));
    expect(error).toBeInstanceOf(SidekeyError);
    expect(error).toMatchObject({ code: 'store_unavailable' });
  });
});

describe('close', () => {
  test('waits for the commit of a running refresh, and no refresh starts afterwards', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const letGo = provider.hold();
    const waiting = source.tokenFor(grant.id);
    await settle();
    let closed = false;
    const closing = source.close().then(() => (closed = true));
    await settle();
    expect(closed).toBe(false);
    letGo();
    await closing;
    expect(tokenOf(await waiting)).toBe('access-2');
    expect(await storedRefreshToken(registry, grant.id)).toBe('refresh-2');
    await time.advance(hour);
    expect(await source.tokenFor(grant.id)).toMatchObject({
      code: 'refresh_failed',
      message: expect.stringContaining('stopping'),
    });
    expect(provider.requests).toHaveLength(1);
    expect(time.waiting()).toBe(0);
  });

  test('ends after a maximum time', async () => {
    const { process, add, time } = await processesForTest();
    const { registry, source } = await process({ refresh: () => new Promise(() => undefined) });
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    const waiting = source.tokenFor(grant.id);
    await settle();
    const closing = source.close();
    await time.advance(20_000);
    await closing;
    expect(await waiting).toMatchObject({ code: 'refresh_failed' });
  });

  test('ends the wait between two attempts', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    provider.script({ ...down, retryAfterMs: 1_500 });
    const waiting = source.tokenFor(grant.id);
    await settle();
    await source.close();
    expect(await waiting).toMatchObject({ code: 'refresh_failed' });
    expect(time.waiting()).toBe(0);
  });
});

test('audit events and refusals contain no token', async () => {
  const { process, add, time, provider } = await processesForTest();
  const { registry, source, events } = await process();
  const grant = await add(registry, oauth2());
  await time.advance(hour);
  provider.script({ kind: 'refused', error: 'invalid_client', description: '' });
  const refusal = await source.tokenFor(grant.id);
  await time.advance(30_000);
  await source.tokenFor(grant.id);
  await time.advance(hour);
  provider.script({ kind: 'refused', ends: 'grant', description: '' });
  const consent = await source.tokenFor(grant.id);
  const text = JSON.stringify([events, refusal, consent]);
  expect(events).toHaveLength(3);
  expect(text).not.toMatch(/access-\d|refresh-\d|client-secret-of-acme/);
});
