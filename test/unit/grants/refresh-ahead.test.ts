import { describe, expect, test } from 'vitest';
import { hour, processesForTest, oauth2, start, storedRefreshToken, tokenOf } from './processes.ts';
import { settle } from '../lib/manual-time.ts';

/** The outcome without a new token. */
const nothingDue = { kind: 'renewed', opened: null };

/** The outcome with these tokens in the store. */
const renewedWith = (accessToken: string, refreshToken: string) => ({
  kind: 'renewed',
  opened: {
    grant: expect.objectContaining({ state: 'active' }) as object,
    sealed: expect.objectContaining({
      credential: expect.objectContaining({ accessToken, refreshToken }) as object,
    }) as object,
  },
});

describe('a refresh in the background', () => {
  test('does not touch a token that is not due', async () => {
    const { process, add, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    expect(await source.refreshAhead(grant.id)).toEqual(nothingDue);
    expect(provider.requests).toHaveLength(0);
  });

  test('runs only once when several processes see a token that is due or expired', async () => {
    const { process, add, time, provider } = await processesForTest();
    const [here, there] = [await process(), await process()];
    const grant = await add(here.registry, oauth2());
    await time.advance(hour - 60_000);
    const outcomes = await Promise.all(
      [here, here, there].map(({ source }) => source.refreshAhead(grant.id)),
    );
    expect(outcomes.filter(({ kind }) => kind === 'renewed').length).toBeGreaterThanOrEqual(2);
    expect(provider.requests).toHaveLength(1);
    await time.advance(2 * hour);
    expect(await there.source.refreshAhead(grant.id)).toEqual(renewedWith('access-3', 'refresh-3'));
    expect(await storedRefreshToken(here.registry, grant.id)).toBe('refresh-3');
  });

  test('runs only once when several processes see a refresh token near its expiry, even with a fresh access token', async () => {
    const { process, add, provider } = await processesForTest();
    const processes = [await process(), await process(), await process()];
    const grant = await add(processes[0]!.registry, oauth2());
    await Promise.all(processes.map(({ source }) => source.refreshAhead(grant.id, 'even if fresh')));
    expect(provider.requests).toHaveLength(1);
    expect(await storedRefreshToken(processes[1]!.registry, grant.id)).toBe('refresh-2');
  });

  test('runs only once when several processes begin together, and the first of them fails', async () => {
    const { process, add, time, provider } = await processesForTest();
    const here = await process();
    const grant = await add(here.registry, oauth2());
    await time.advance(hour);
    provider.script({
      kind: 'later',
      reason: 'the token endpoint answered with HTTP 503',
      retryAfterMs: null,
    });
    let first: Promise<unknown> | undefined;
    const there = await process({
      wrapStore: (store) => ({
        ...store,
        locks: {
          ...store.locks,
          async acquireFor(...lock) {
            await (first ??= time.advance(1).then(() => here.source.refreshAhead(grant.id)));
            return store.locks.acquireFor(...lock);
          },
        },
      }),
    });
    const outcome = await there.source.refreshAhead(grant.id);
    expect(outcome).toMatchObject({ kind: 'later', reason: 'the token endpoint answered with HTTP 503' });
    expect(provider.requests).toHaveLength(1);
  });

  test('does not run while another process refreshes the token', async () => {
    const { process, add, time, provider } = await processesForTest();
    const [here, there] = [await process(), await process()];
    const grant = await add(here.registry, oauth2());
    await time.advance(hour);
    const letGo = provider.hold();
    const making = here.source.refreshAhead(grant.id);
    await settle();
    expect(await there.source.refreshAhead(grant.id)).toEqual({
      kind: 'later',
      reason: null,
      retryAfterMs: expect.any(Number),
    });
    letGo();
    expect(await making).toEqual(renewedWith('access-2', 'refresh-2'));
  });

  test('returns the time of the next attempt after a failure, and makes no request before that time', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    provider.script({ kind: 'later', reason: 'down', retryAfterMs: 30_000 });
    expect(await source.refreshAhead(grant.id)).toEqual({
      kind: 'later',
      reason: 'down',
      retryAfterMs: 30_000,
    });
    await time.advance(10_000);
    expect(await source.refreshAhead(grant.id)).toEqual({
      kind: 'later',
      reason: null,
      retryAfterMs: 20_000,
    });
    expect(provider.requests).toHaveLength(1);
    await time.advance(20_000);
    expect(await source.refreshAhead(grant.id)).toEqual(renewedWith('access-2', 'refresh-2'));
  });

  test('reports a refusal of the provider, and is not repeated immediately', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    provider.script({ kind: 'refused', error: 'invalid_client', description: '' });
    const refusal = {
      kind: 'refused',
      reason: 'the provider refused the refresh with invalid_client',
      hint: 'check client_id, client_secret and token_endpoint of the provider "acme"',
      revision: grant.revision,
    };
    expect(await source.refreshAhead(grant.id)).toEqual(refusal);
    expect(await source.refreshAhead(grant.id)).toMatchObject(refusal);
    expect(provider.requests).toHaveLength(1);
  });

  test('does not start for a removed grant, or after close', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source } = await process();
    expect(await source.refreshAhead('gone')).toEqual(nothingDue);
    const grant = await add(registry, oauth2());
    await time.advance(hour);
    await source.close();
    expect(await source.refreshAhead(grant.id)).toEqual(nothingDue);
    expect(provider.requests).toHaveLength(0);
  });
});

describe('the use of a grant', () => {
  test('is noted when a request gets its token, from memory, from the store and after a 401', async () => {
    const { process, add, time } = await processesForTest();
    const { registry, source, activity, store } = await process();
    const grant = await add(registry, oauth2());
    const token = await source.tokenFor(grant.id);
    await activity.flush();
    expect(await store.activity.get(grant.id)).toMatchObject({ usedAt: start });
    await source.tokenFor(grant.id);
    await time.advance(1_000);
    expect(source.peek(grant.id)).not.toBeNull();
    await source.tokenFor(grant.id);
    expect(activity.unwrittenUse(grant.id)).toBe(start + 1_000);
    await time.advance(1_000);
    if (token.kind === 'ready') expect(tokenOf(await source.forceRefresh(token))).toBe('access-2');
    expect(activity.unwrittenUse(grant.id)).toBe(start + 2_000);
  });

  test('is not noted without a token, or for a background refresh', async () => {
    const { process, add, time, provider } = await processesForTest();
    const { registry, source, activity } = await process();
    const grant = await add(registry, oauth2());
    await source.refreshAhead(grant.id, 'even if fresh');
    await time.advance(2 * hour);
    provider.script({ kind: 'refused', error: 'invalid_client', description: '' });
    await source.tokenFor(grant.id);
    expect(activity.unwrittenUse(grant.id)).toBeNull();
  });
});

test('refresh results are noted as sentences without a full stop', async () => {
  const { process, add, time, provider } = await processesForTest();
  const { registry, source, store } = await process();
  const grant = await add(registry, oauth2());
  await time.advance(hour);
  provider.script({ kind: 'later', reason: 'the token endpoint answered 503', retryAfterMs: null });
  await source.refreshAhead(grant.id);
  await settle();
  expect(await store.activity.get(grant.id)).toMatchObject({
    refreshedAt: null,
    failure: 'the token endpoint answered 503',
  });
  await time.advance(60_000);
  await source.refreshAhead(grant.id);
  await settle();
  expect(await store.activity.get(grant.id)).toMatchObject({
    refreshedAt: start + hour + 60_000,
    failedAt: null,
  });
  await time.advance(2 * hour);
  provider.script({ kind: 'refused', ends: 'grant', description: 'consent was withdrawn' });
  await source.refreshAhead(grant.id);
  await settle();
  expect((await store.activity.get(grant.id))?.failure).toContain('consent was withdrawn');
});
