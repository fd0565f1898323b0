import { describe, expect, it, onTestFinished } from 'vitest';
import { openPostgresStore } from '../../../src/store/postgres.ts';
import { cutProxy } from '../../support/cut-proxy.ts';
import { createDatabase, postgresMissing, postgresServer } from '../../support/postgres.ts';
import { hour, oauth2, processesForTest, tokenOf } from './processes.ts';
import { allGrants } from '../../support/all-grants.ts';

const minute = 60_000;

describe.skipIf(postgresMissing !== null)(`while the database is away${postgresMissing ?? ''}`, () => {
  it('tokens in memory are used until they expire, no token is requested from the provider, and no grant is lost after 10 minutes', async () => {
    const database = await createDatabase();
    onTestFinished(() => database.drop());
    const proxy = await cutProxy((await postgresServer()).port);
    const address = { ...database.address, host: '127.0.0.1', port: proxy.port };
    const at = await processesForTest();
    const { registry, source } = await at.process({
      openStore: () => openPostgresStore({ address, password: null }, { now: at.time.now }),
    });
    const { id } = await at.add(registry, oauth2());
    expect(tokenOf(await source.tokenFor(id))).toBe('access-1');
    // A notification of the own write may still come, which has the grant read again.
    await expect.poll(async () => (await allGrants(registry), source.peek(id))).not.toBeNull();
    at.time.set(at.time.now() + hour - 10 * minute);

    proxy.cut();
    at.time.set(at.time.now() + 9 * minute);
    expect(tokenOf(await source.tokenFor(id))).toBe('access-1');
    at.time.set(at.time.now() + minute);
    await expect(source.tokenFor(id)).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(at.provider.requests).toHaveLength(0);

    proxy.mend();
    // The next attempt is due in a moment.
    expect(tokenOf(await source.tokenFor(id))).toBe('store_unavailable');
    await expect
      .poll(async () => {
        await at.time.advance(1_000);
        return tokenOf(await source.tokenFor(id));
      })
      .toBe('access-2');
    expect(at.provider.reuses).toBe(0);
  });
});
