import { beforeEach, describe, expect, it } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { useRefreshToken, type RefreshTokenUse } from '../../../src/grants/refresh-token-use.ts';
import type { GrantRecord } from '../../../src/store/store.ts';
import type { Store } from '../../../src/store/store.ts';
import {
  processesForTest,
  oauth2,
  storedRefreshToken,
  type ProcessesForTest,
  type Process,
} from './processes.ts';
import { settle } from '../lib/manual-time.ts';

/** The notes about grants, in order. */
const noted: string[] = [];
beforeEach(() => void (noted.length = 0));

async function login(credential = oauth2(), wrapStore?: (store: Store) => Store) {
  const at = await processesForTest();
  const process = await at.process(wrapStore === undefined ? {} : { wrapStore });
  const grant = await at.add(process.registry, credential);
  return { at, process, grant };
}

function useIn(
  { at, process }: { readonly at: ProcessesForTest; readonly process: Process },
  use: Pick<RefreshTokenUse<string>, 'grantId' | 'ask'>,
  waiting?: AbortSignal,
): Promise<string> {
  const { registry, store, events } = process;
  return useRefreshToken(
    { purpose: 'for a test', again: 'sidekey connect acme', ...use },
    {
      registry,
      store,
      now: at.time.now,
      timers: at.time.timers,
      limits: { refresh_timeout: 10_000, refresh_wait: 20_000 },
      audit: { note: (event) => events.push(event) },
      activity: {
        refreshed: async (id) => void noted.push(`refreshed ${id}`),
        failed: async (id, why) => void noted.push(`failed ${id}: ${why}`),
      },
    },
    waiting,
  );
}

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => null,
    (error: unknown) => (error instanceof SidekeyError ? error : null),
  );

const ask = async () => ({ kind: 'done', value: 'it', refreshToken: null }) as const;

describe('the use of a refresh token for another request', () => {
  it('sends the stored refresh token, and keeps it when the response has none', async () => {
    const here = await login();
    const value = await useIn(here, {
      grantId: here.grant.id,
      ask: async (_grant, refreshToken) => ({
        kind: 'done',
        value: `for ${refreshToken}`,
        refreshToken: null,
      }),
    });
    expect(value).toBe('for refresh-1');
    expect(await here.process.registry.read(here.grant.id)).toMatchObject({ grant: { revision: 1 } });
    expect(here.process.events).toMatchObject([
      { event: 'grant.refreshed', outcome: 'ok', reason: 'for a test' },
    ]);
    expect(noted).toEqual([`refreshed ${here.grant.id}`]);
  });

  it('stores a rotated refresh token before the caller gets the response', async () => {
    const here = await login();
    let storedThen: string | null = null;
    await useIn(here, {
      grantId: here.grant.id,
      ask: async () => ({ kind: 'done', value: 'it', refreshToken: 'rotated' }),
    }).then(async () => {
      storedThen = await storedRefreshToken(here.process.registry, here.grant.id);
    });
    expect(storedThen).toBe('rotated');
    const opened = await here.process.registry.read(here.grant.id);
    // The access token of the grant stays valid.
    expect(opened?.sealed.credential).toMatchObject({ accessToken: 'access-1' });
  });

  it('stores a rotated refresh token of a response without a usable value, and throws its failure', async () => {
    const here = await login();
    const unusable = new SidekeyError('provider_refused', 'The token is of no use.');
    const used = useIn(here, {
      grantId: here.grant.id,
      ask: async () => ({ kind: 'failed', failure: unusable, refreshToken: 'rotated' }),
    });
    await expect(used).rejects.toBe(unusable);
    expect(await storedRefreshToken(here.process.registry, here.grant.id)).toBe('rotated');
    expect((await here.process.store.activity.get(here.grant.id))?.refreshedAt ?? null).toBeNull();
  });

  it('waits for a refresh in another process, and sends the new refresh token', async () => {
    const here = await login(oauth2({ expiresAt: 0 }));
    const other = await here.at.process();
    const letGo = here.at.provider.hold();
    const refreshing = other.source.tokenFor(here.grant.id);
    await settle();
    const used: string[] = [];
    const using = useIn(here, {
      grantId: here.grant.id,
      ask: async (_grant, refreshToken) => {
        used.push(refreshToken);
        return { kind: 'done', value: 'it', refreshToken: null };
      },
    });
    await here.at.time.advance(1_000);
    expect(used).toEqual([]);
    letGo();
    await refreshing;
    await here.at.time.advance(1_000);
    await using;
    expect(used).toEqual(['refresh-2']);
    expect(here.at.provider.reuses).toBe(0);
  });

  it('blocks a refresh in another process, which then sends the rotated refresh token', async () => {
    const here = await login(oauth2({ expiresAt: 0 }));
    const other = await here.at.process();
    const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
    const using = useIn(here, {
      grantId: here.grant.id,
      ask: async (_grant, refreshToken) => {
        const outcome = await here.at.provider.refresh(
          { refreshToken } as Parameters<typeof here.at.provider.refresh>[0],
          { signal: new AbortController().signal },
        );
        await held;
        if (outcome.kind !== 'renewed') throw new Error(outcome.kind);
        return { kind: 'done', value: 'it', refreshToken: outcome.refreshToken };
      },
    });
    await settle();
    const refreshing = other.source.tokenFor(here.grant.id);
    await here.at.time.advance(1_000);
    letGo();
    await using;
    await here.at.time.advance(1_000);
    expect(await refreshing).toMatchObject({ kind: 'ready' });
    expect(here.at.provider.reuses).toBe(0);
    expect(await storedRefreshToken(here.process.registry, here.grant.id)).toBe('refresh-3');
  });

  it('sets the grant to reauth_required after a permanent refusal, with the connect command', async () => {
    const here = await login();
    const error = await failure(
      useIn(here, {
        grantId: here.grant.id,
        ask: async () => ({ kind: 'refused', description: 'it was revoked' }),
      }),
    );
    expect(error).toMatchObject({ code: 'reauth_required', hint: 'sidekey connect acme' });
    expect(error?.message).toContain('it was revoked');
    expect(await here.process.registry.read(here.grant.id)).toMatchObject({
      grant: { state: 'reauth_required', stateReason: expect.stringContaining('it was revoked') },
    });
    expect(here.process.events).toMatchObject([{ event: 'grant.reauth_required' }]);
    expect(noted).toMatchObject([expect.stringContaining('it was revoked')]);
  });

  it('changes no state when the refused refresh token was replaced meanwhile', async () => {
    const here = await login();
    const { registry } = here.process;
    const error = await failure(
      useIn(here, {
        grantId: here.grant.id,
        ask: async ({ grant, sealed }) => {
          const credential = oauth2({ refreshToken: 'of a new login'.replaceAll(' ', '-') });
          await registry.replaceCredential(grant, { ...sealed, credential });
          return { kind: 'refused', description: 'the old one' };
        },
      }),
    );
    expect(error?.code).toBe('reauth_required');
    expect(await registry.read(here.grant.id)).toMatchObject({ grant: { state: 'active' } });
  });

  it('reports a lost refresh token when the store does not accept the rotated refresh token', async () => {
    let broken = false;
    const here = await login(oauth2(), (store) => ({
      ...store,
      grants: {
        ...store.grants,
        replace: async (record, revision) => {
          if (broken) throw new SidekeyError('store_unavailable', 'The disk is full.');
          return store.grants.replace(record, revision);
        },
      },
    }));
    broken = true;
    const using = failure(
      useIn(here, {
        grantId: here.grant.id,
        ask: async () => ({ kind: 'done', value: 'it', refreshToken: 'rotated' }),
      }),
    );
    await here.at.time.advance(10_000);
    expect(await using).toMatchObject({ code: 'store_unavailable' });
    expect(here.process.events).toMatchObject([{ event: 'grant.refresh_failed', code: 'store_unavailable' }]);
  });

  it('is not made by a machine that slept while another process took the lock', async () => {
    const here = await login();
    const { registry } = here.process;
    const sleepy = {
      ...registry,
      openRecord: async (record: GrantRecord) => {
        here.at.time.set(here.at.time.now() + 3_600_000);
        const { locks } = here.process.store;
        expect(await locks.acquire(`refresh/${record.id}`, 'another', 2_000)).toBe(true);
        return registry.openRecord(record);
      },
    };
    let asked = 0;
    const using = failure(
      useIn(
        { ...here, process: { ...here.process, registry: sleepy } },
        {
          grantId: here.grant.id,
          ask: async () => {
            asked += 1;
            return { kind: 'done', value: 'it', refreshToken: null };
          },
        },
      ),
    );
    expect(await using).toMatchObject({ code: 'refresh_failed' });
    expect(asked).toBe(0);
  });

  it('times out each request after refresh_timeout', async () => {
    const here = await login();
    const using = useIn(here, {
      grantId: here.grant.id,
      ask: (_grant, _token, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error));
        }),
    }).catch((error: unknown) => error);
    await here.at.time.advance(10_000);
    expect(await using).toMatchObject({ name: 'TimeoutError' });
    // The lock was released.
    expect(await here.process.store.locks.acquire(`refresh/${here.grant.id}`, 'another', 1_000)).toBe(true);
  });

  it('stops waiting when the caller disconnects, and after a maximum time', async () => {
    const here = await login();
    await here.process.store.locks.acquire(`refresh/${here.grant.id}`, 'another', 300_000);
    const leaving = new AbortController();
    const left = useIn(here, { grantId: here.grant.id, ask }, leaving.signal).catch(
      (error: unknown) => error,
    );
    await settle();
    leaving.abort(new Error('Ctrl-C'));
    expect(await left).toMatchObject({ message: 'Ctrl-C' });
    const patient = failure(useIn(here, { grantId: here.grant.id, ask }));
    await here.at.time.advance(30_000);
    expect(await patient).toMatchObject({ code: 'refresh_failed' });
  });

  it.each([
    ['without a refresh token', oauth2({ refreshToken: null }), 'input_invalid'],
    ['of another type', { type: 'api_key', value: 'key' } as const, 'input_invalid'],
  ])('is refused for a credential %s', async (_what, credential, code) => {
    const at = await processesForTest();
    const process = await at.process();
    const grant = await at.add(process.registry, credential);
    expect(await failure(useIn({ at, process }, { grantId: grant.id, ask }))).toMatchObject({
      code,
      hint: 'sidekey connect acme',
    });
  });

  it('is refused for a revoked or missing grant', async () => {
    const here = await login();
    expect(await failure(useIn(here, { grantId: 'nobody', ask }))).toMatchObject({ code: 'grant_missing' });
    await here.process.registry.setState(here.grant, 'revoked', 'a person said so');
    expect(await failure(useIn(here, { grantId: here.grant.id, ask }))).toMatchObject({
      code: 'grant_revoked',
    });
  });
});
