import { randomUUID } from 'node:crypto';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createPermissionCache } from '../../../src/agents/permissions.ts';
import { openRegistry } from '../../../src/grants/registry.ts';
import type { HeldGrants } from '../../../src/store/held-grants.ts';
import type { GrantQuery } from '../../../src/store/store.ts';
import { openPostgresStore } from '../../../src/store/postgres.ts';
import { masterKey } from '../../../src/store/vault/key-source.ts';
import { createVault } from '../../../src/store/vault/vault.ts';
import { createDatabase, type PostgresDatabase, postgresMissing } from '../../support/postgres.ts';
import { agentRecord, tokenRecord } from '../../support/rights.ts';

const now = () => 1_700_000_000_000;
const vault = createVault(masterKey(Buffer.alloc(32, 3)));
const sealed = (value: string) => ({
  credential: { type: 'api_key' as const, value },
  audience: ['acme.test'],
});

/** A process on the database, and the grants that it read: their ids, or `all`. */
async function startProcess({ address }: PostgresDatabase, onTime = () => {}) {
  const store = await openPostgresStore({ address, password: null }, { now, onTime });
  onTestFinished(() => store.close());
  const reads: string[] = [];
  const counted = {
    ...store,
    grants: {
      ...store.grants,
      find: (query: GrantQuery) => (reads.push(query.reference ?? 'all'), store.grants.find(query)),
      some: (ids: readonly string[]) => (reads.push(...ids), store.grants.some(ids)),
    },
  };
  return { store, counted, reads, registry: openRegistry({ store: counted, vault, now }) };
}

async function twoProcesses() {
  const database = await createDatabase();
  onTestFinished(() => database.drop());
  return [await startProcess(database), await startProcess(database), database] as const;
}

/**
 * Waits for the given number of changes, and forgets the reads. An added grant is two: the grant and its
 * names.
 */
async function settled(
  { store, registry, reads }: Awaited<ReturnType<typeof startProcess>>,
  changes: number,
) {
  await expect.poll(() => store.epoch()).toBe(changes);
  for (const name of ['acme', 'one', 'two', 'three', 'four']) await registry.find(name);
  reads.length = 0;
}

const add = (
  { registry }: Pick<Awaited<ReturnType<typeof startProcess>>, 'registry'>,
  name: string,
  id?: string,
) => registry.add({ name, user: 'default', provider: 'acme', scopes: [] }, sealed(name), id);

describe.skipIf(postgresMissing !== null)(`grants in memory${postgresMissing ?? ''}`, () => {
  test('are read again individually when any process changes, adds or removes a grant that it holds', async () => {
    const [a, b] = await twoProcesses();
    const grants = [await add(a, 'one'), await add(a, 'two'), await add(a, 'three')] as const;
    const ids = grants.map(({ id }) => id);
    for (const each of [a, b]) {
      // Those of `a` count once when they are made, and once when they are notified.
      await settled(each, each === a ? 12 : 6);
    }
    await a.registry.replaceCredential(grants[1], sealed('new'));
    await a.registry.remove(ids[2]!);
    const fourth = await add(a, 'four');
    for (const each of [a, b]) {
      await expect
        .poll(async () =>
          (await each.registry.find('acme')).map(({ name, revision }) => `${name} ${revision}`),
        )
        .toEqual(['four 1', 'one 1', 'two 2']);
      expect((await each.registry.open(ids[1]!))?.sealed.credential).toMatchObject({ value: 'new' });
      expect(await each.registry.find('two')).toMatchObject([{ revision: 2 }]);
      expect(await each.registry.find('three')).toEqual([]);
      expect(await each.registry.find('four')).toMatchObject([{ id: fourth.id }]);
      expect(each.registry.find('one')).toMatchObject([{ id: ids[0] }]);
      expect(each.registry.peek(ids[0]!)).not.toBeUndefined();
      expect(new Set(each.reads)).toEqual(new Set(['acme', 'two', 'three', 'four']));
    }
  });

  test('are not read again when a grant changes that the process does not hold', async () => {
    const [a, b] = await twoProcesses();
    const [one, two] = [await add(a, 'one'), await add(a, 'two')];
    await settled(b, 4);
    const before = b.store.epoch();
    await a.registry.replaceCredential(two, sealed('new'));
    await expect.poll(() => b.store.epoch()).not.toBe(before);
    expect(b.registry.find('one')).toMatchObject([{ id: one.id }]);
    expect(b.registry.peek(one.id)).toMatchObject({ sealed: sealed('one') });
    expect(b.reads).toEqual([]);
  });

  test('are read again each time that another process refreshed them, and no others are reported', async () => {
    const database = await createDatabase();
    onTestFinished(() => database.drop());
    let polls = 0;
    const [a, b] = [await startProcess(database), await startProcess(database, () => (polls += 1))];
    const [one, two, three] = ['0001', '0002', '0003'].map((hash) => hash + randomUUID().slice(4));
    for (const [id, name] of Object.entries({ one, two, three }).map(([name, id]) => [id!, name] as const))
      await add(a, name, id);
    await expect.poll(() => b.store.epoch()).toBe(6);
    await b.registry.open(one!);
    expect(await b.registry.first('two')).toHaveLength(1);
    for (const round of [2, 3]) {
      // Polls that take what was read.
      const before = polls;
      await expect.poll(() => polls).toBeGreaterThan(before + 1);
      const epoch = b.store.epoch();
      for (const id of [three!, one!, two!]) {
        const { grant } = (await a.registry.read(id))!;
        const lock = { name: 'refresh', holder: 'a' };
        await a.registry.replaceCredential(grant, sealed(`${round}`), { lock });
      }
      await expect.poll(async () => (await b.registry.open(one!))?.sealed).toMatchObject(sealed(`${round}`));
      await expect.poll(async () => (await b.registry.first('two'))[0]?.revision).toBe(round);
      expect(b.store.changesSince(epoch).grants?.toSorted()).toEqual([one, two]);
    }
    for (const id of [one!, two!, three!]) await a.registry.remove(id);
    await expect.poll(() => b.registry.find('one')).toEqual([]);
    await expect.poll(() => b.registry.first('two')).toEqual([]);
    expect((b.store.held as HeldGrants).mask()).toEqual(Buffer.alloc(8));
  });

  test('are read again if another process refreshed them while they were read', async () => {
    const database = await createDatabase();
    onTestFinished(() => database.drop());
    let polls = 0;
    const [a, b] = [await startProcess(database), await startProcess(database, () => (polls += 1))];
    const grant = await add(a, 'one');
    await expect.poll(() => b.store.epoch()).toBe(2);
    const { some } = b.counted.grants;
    b.counted.grants.some = async (ids) => {
      const records = await some(ids);
      b.counted.grants.some = some;
      await a.registry.replaceCredential(grant, sealed('new'), { lock: { name: 'refresh', holder: 'a' } });
      const before = polls;
      await expect.poll(() => polls).toBeGreaterThan(before + 1);
      return records;
    };
    expect((await b.registry.open(grant.id))?.sealed).toEqual(sealed('one'));
    await expect.poll(async () => (await b.registry.open(grant.id))?.sealed).toEqual(sealed('new'));
  });

  test('are all read again after notifications were lost', async () => {
    const [a, b, { query }] = await twoProcesses();
    const grant = await add(a, 'one');
    await settled(b, 2);
    const token = tokenRecord();
    await a.store.agents.insert(agentRecord(), { tokens: [token] });
    const rights = createPermissionCache(b.store, 1_000_000);
    const labels = async () =>
      (rights.holder(token.hash) ?? (await rights.readHolder(token.hash)))?.agent.labels;
    await expect.poll(labels).toEqual([]);
    expect(await b.registry.find('acme')).toHaveLength(1);
    await query(
      `select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
    );
    await expect.poll(() => a.registry.remove(grant.id).catch(() => false)).toBe(true);
    await expect
      .poll(async () => (await (async () => b.registry.find('acme'))().catch(() => [grant])).length)
      .toBe(0);
    await expect.poll(() => a.store.agents.change('claude', { labels: ['x'] }).catch(() => false)).toBe(true);
    await expect.poll(() => labels().catch(() => null)).toEqual(['x']);
  });

  test('are not read again after a change of rights, and rights are not read again after a change of grants', async () => {
    const [a, b] = await twoProcesses();
    await add(a, 'one');
    const token = tokenRecord();
    await a.store.agents.insert(agentRecord(), { tokens: [token] });
    let reads = 0;
    const counted = <Value>(value: Value): Value => ((reads += 1), value);
    const rights = createPermissionCache(
      {
        ...b.store,
        rights: {
          revision: () => counted(b.store.rights.revision()),
          holder: (hash) => counted(b.store.rights.holder(hash)),
          agent: (name) => counted(b.store.rights.agent(name)),
        },
      },
      1_000_000,
    );
    const labels = async () =>
      (rights.holder(token.hash) ?? (await rights.readHolder(token.hash)))?.agent.labels;
    await expect.poll(labels).toEqual([]);
    await expect.poll(async () => (await b.registry.find('acme')).length).toBe(1);
    const [before, earlier] = [b.store.epoch(), reads];
    await add(a, 'two');
    await a.store.agents.insert(agentRecord({ name: 'other' }), {
      tokens: [tokenRecord({ agent: 'other' })],
    });
    await a.store.agents.change('other', { labels: ['y'] });
    await expect.poll(() => b.store.epoch()).not.toBe(before);
    await expect.poll(async () => (await b.registry.find('acme')).length).toBe(2);
    expect(rights.holder(token.hash)).not.toBeUndefined();
    expect(reads).toBe(earlier);
    b.reads.length = 0;
    await a.store.agents.change('claude', { labels: ['x'] });
    await expect.poll(labels).toEqual(['x']);
    expect((await b.registry.find('acme')).length).toBe(2);
    expect(b.reads).toEqual([]);
  });
});
