import { describe, expect, onTestFinished, test } from 'vitest';
import type { AuditEvent } from '../../../src/domain/event.ts';
import type { Grant } from '../../../src/domain/grant.ts';
import { mintGrant as mintNew, type MintRequest } from '../../../src/grants/mint.ts';
import { openRegistry } from '../../../src/grants/registry.ts';
import { masterKey } from '../../../src/store/vault/key-source.ts';
import { createVault } from '../../../src/store/vault/vault.ts';
import { postgresMissing } from '../../support/postgres.ts';
import { postgresUnderTest } from '../../support/postgres-under-test.ts';
import { agentRecord, leaseRecord } from '../../support/rights.ts';
import { sqliteUnderTest } from '../../support/sqlite-under-test.ts';

const start = 1_700_000_000_000;
const minute = 60_000;
const parentSecret = {
  credential: { type: 'api_key', value: 'parent-secret' },
  audience: ['acme.test'],
} as const;
const awsKeys = {
  accessKeyId: 'ASIACHILDCHILDCHILD1',
  secretAccessKey: 'child-secret',
  sessionToken: 'child-token',
};
const wanted = { name: 'acme', user: 'default', provider: 'acme', scopes: ['all'] };

/** Two processes of one store with the grant `acme`, and the lease `l1` for 15 minutes. */
async function setup(open: typeof sqliteUnderTest) {
  let time = start;
  const now = () => time;
  const subject = await open(now);
  onTestFinished(() => subject.cleanup());
  const vault = createVault(masterKey(Buffer.alloc(32, 3)));
  const events: AuditEvent[] = [];
  const audit = {
    append: async (event: AuditEvent) => void events.push(event),
    write: () => undefined,
    note: (event: AuditEvent) => void events.push(event),
    close: async () => {},
  };
  const processes = [subject.store, await subject.second()].map((store) => ({
    store,
    vault,
    audit,
    now,
    grants: openRegistry({ store, vault, now }),
  }));
  const [first, second] = processes as [(typeof processes)[0], (typeof processes)[0]];
  await first.store.agents.insert(agentRecord());
  const lease = leaseRecord({ id: 'l1', createdAt: start, expiresAt: start + 15 * minute });
  await first.store.leases.insert(lease);
  const parent = await first.grants.add(wanted, parentSecret);
  const request = (fields: Partial<MintRequest> = {}): MintRequest => ({
    parent,
    mint: 'session',
    secret: 'child-secret',
    expiresAt: null,
    maxMs: 60 * minute,
    audience: ['chat.acme.test'],
    isRevocable: false,
    lease: null,
    by: {},
    ...fields,
  });
  return { first, second, parent, lease, events, request, pass: (ms: number) => void (time += ms) };
}

const mintGrant = async (...them: Parameters<typeof mintNew>) => (await mintNew(...them)).grant;

type Setup = Awaited<ReturnType<typeof setup>>;

const ids = (found: readonly Pick<Grant, 'id'>[]) => found.map(({ id }) => id).toSorted();

const databases = [
  ['SQLite', sqliteUnderTest, false],
  ['PostgreSQL', postgresUnderTest, postgresMissing !== null],
] as const;

for (const [name, open, isMissing] of databases)
  describe.skipIf(isMissing)(`mintGrant with ${name}`, () => {
    test('stores the secret below the parent, for the hosts of the row, and records it', async () => {
      const { first, second, parent, lease, events, request } = await setup(open);
      const grant = await mintGrant(request({ lease, by: { exchange: 'e1', lease: lease.id } }), first);
      expect(grant).toMatchObject({
        name: `acme.session-${grant.id.slice(0, 8)}`,
        user: 'default',
        provider: 'acme',
        type: 'oauth2',
        scopes: [],
        refreshable: false,
        parent: parent.id,
        mint: 'session',
        lease: 'l1',
        expiresAt: start + 60 * minute,
      });
      const opened = await second.grants.read(grant.id);
      expect(opened?.sealed.audience).toEqual(['chat.acme.test']);
      expect(opened?.sealed.credential).toMatchObject({ accessToken: 'child-secret', refreshToken: null });
      expect(events).toMatchObject([
        { event: 'grant.minted', grant: grant.id, exchange: 'e1', lease: 'l1', reason: 'session of acme' },
      ]);
    });

    test.each([
      ['the expiry in the response', 10 * minute, 20 * minute, true, 10 * minute],
      ['the maximum lifetime', 30 * minute, 5 * minute, true, 5 * minute],
      ['the maximum lifetime, after a lease that may be renewed', null, 60 * minute, true, 60 * minute],
      ['the expiry in the response, without a lease', 30 * minute, 60 * minute, false, 30 * minute],
    ])('ends at %s, if that is first', async (_case, stated, maxMs, hasLease, ends) => {
      const { first, lease, request } = await setup(open);
      const { audience } = parentSecret;
      const expiresAt = stated === null ? null : start + stated;
      const made = request({ expiresAt, maxMs, audience, lease: hasLease ? lease : null });
      for (const secret of ['s', { username: 'u', password: 'p' }, awsKeys])
        expect(await mintGrant({ ...made, secret }, first)).toMatchObject({ expiresAt: start + ends });
    });

    test.each([
      ['the region of its parent', { type: 'aws', ...awsKeys, region: 'eu-west-1' } as const, 'eu-west-1'],
      ['any region', parentSecret.credential, null],
    ])('stores keys of AWS for %s, and reads them again', async (_case, credential, region) => {
      const { first, second, request } = await setup(open);
      const parent = await first.grants.add(
        { ...wanted, name: 'aws' },
        { credential, audience: ['api.acme.test', 'other.test'] },
      );
      const audience = ['*.acme.test', 'elsewhere.test'];
      const keysFor = (fields: Partial<MintRequest>) => request({ maxMs: 5 * minute, audience, ...fields });
      const child = await mintGrant(keysFor({ parent, secret: awsKeys }), first);
      const next = { ...awsKeys, secretAccessKey: 'next-secret' };
      const below = await mintGrant(keysFor({ parent: child, secret: next }), first);
      expect(below).toMatchObject({ type: 'aws', parent: parent.id });
      for (const [{ id }, keys] of [
        [child, awsKeys],
        [below, next],
      ] as const)
        expect((await second.grants.read(id))?.sealed).toEqual({
          credential: { ...keys, type: 'aws', region, expiresAt: start + 5 * minute },
          audience: ['api.acme.test'],
        });
    });

    test('stores keys of AWS for the hosts of the row if the parent is of another service', async () => {
      const { first, second, parent, request } = await setup(open);
      const audience = ['*.amazonaws.com'];
      const { id } = await mintGrant(request({ parent, secret: awsKeys, audience }), first);
      expect((await second.grants.read(id))?.sealed.audience).toEqual(audience);
    });

    test('returns the same grant for the same secret, and another one for another lease or row', async () => {
      const { first, second, lease, request } = await setup(open);
      const minted = await Promise.all([first, second].map((each) => mintGrant(request(), each)));
      const again = await mintGrant(request(), second);
      expect(new Set([...minted, again].map(({ id }) => id)).size).toBe(1);
      for (const other of [{ lease }, { mint: 'other' }, { secret: 'another' }])
        expect((await mintGrant(request(other), first)).id).not.toBe(again.id);
    });

    test('returns the grant that another process stored meanwhile', async () => {
      const { first, second, request } = await setup(open);
      const minted: string[] = [];
      const append = async (event: AuditEvent) => {
        if (minted.length === 0) minted.push((await mintGrant(request(), second)).id);
        return first.audit.append(event);
      };
      const { id } = await mintGrant(request(), { ...first, audit: { ...first.audit, append } });
      expect(minted).toEqual([id]);
      expect(await first.store.grants.minted({ limit: 9 })).toHaveLength(1);
    });

    test('prolongs a grant whose secret is returned with a later expiry', async () => {
      const { first, request, pass } = await setup(open);
      const { id } = await mintGrant(request(), first);
      pass(90 * minute);
      expect(await mintGrant(request(), first)).toMatchObject({ id, expiresAt: start + 150 * minute });
    });

    test('replaces no other grant of its name', async () => {
      const { first, request } = await setup(open);
      const { id, name } = await mintGrant(request(), first);
      await first.grants.remove(id);
      const sealed = { credential: { type: 'api_key', value: 'x' }, audience: ['acme.test'] } as const;
      await first.grants.add({ ...wanted, name }, sealed);
      await expect(mintGrant(request(), first)).rejects.toMatchObject({ code: 'already_exists' });
    });

    test('refuses the 51st live grant of a row and a lease', async () => {
      const { first, lease, request, pass } = await setup(open);
      const mint = (n: number, fields: Partial<MintRequest> = {}) =>
        mintGrant(request({ secret: `secret-${n}`, maxMs: minute, lease, ...fields }), first);
      for (let n = 0; n < 50; n += 1) await mint(n);
      await expect(mint(50)).rejects.toMatchObject({ code: 'mint_limit' });
      expect(await mint(0)).toMatchObject({ lease: 'l1' });
      await mint(50, { mint: 'other' });
      await mint(50, { lease: null });
      pass(minute);
      await mint(50);
    });

    test('keeps 50 live grants of a row and a lease, whatever is minted at once', async () => {
      const { first, second, lease, request } = await setup(open);
      const mint = (n: number, state = first) => mintNew(request({ secret: `secret-${n}`, lease }), state);
      for (let n = 0; n < 47; n += 1) await mint(n);
      const more = Array.from({ length: 8 }, (_, n) => mint(100 + n, n % 2 === 0 ? first : second));
      const minted = (await Promise.allSettled(more)).filter(({ status }) => status === 'fulfilled');
      const stored = await second.store.grants.minted({ lease: 'l1', limit: 99 });
      expect(stored).toHaveLength(47 + minted.length);
      expect(stored.length).toBeLessThanOrEqual(50);
    });

    test('reports a grant as new once', async () => {
      const { first, second, request } = await setup(open);
      const minted = await Promise.all([first, second].map((each) => mintNew(request(), each)));
      const again = await mintNew(request(), first);
      expect([...minted, again].filter(({ isNew }) => isNew)).toHaveLength(1);
    });

    test('refuses more rows than one page until those of ended grants are removed', async () => {
      const { first, parent, request, pass } = await setup(open);
      const mint = (secret: string) => mintGrant(request({ secret, maxMs: minute }), first);
      for (let n = 0; n < 500; n += 1) {
        if (n % 50 === 0) pass(minute);
        await mint(`secret-${n}`);
      }
      pass(minute);
      await expect(mint('one more')).rejects.toMatchObject({ code: 'mint_limit' });
      const [ended] = await first.store.grants.minted({ parents: [parent.id], limit: 1 });
      await first.grants.remove(ended!.id);
      expect(await mint('one more')).toMatchObject({ mint: 'session' });
    });

    test.each([
      ['was removed', (at: Setup) => at.second.grants.remove(at.parent.id)],
      ['was revoked', (at: Setup) => at.second.grants.setState(at.parent, 'revoked', 'by a test')],
      [
        'lost scopes',
        (at: Setup) => at.second.grants.replaceCredential(at.parent, parentSecret, { scopes: ['some'] }),
      ],
    ])('mints nothing for a request that was sent before its parent %s', async (_how, change) => {
      const at = await setup(open);
      const child = await mintGrant(at.request({ secret: 'before' }), at.first);
      await change(at);
      const late = mintGrant(at.request(), at.first);
      await expect(late).rejects.toMatchObject({ code: 'grant_missing' });
      expect(ids(await at.first.store.grants.minted({ limit: 9 }))).toEqual([child.id]);
    });

    test('mints below the first parent, if the request had a minted grant', async () => {
      const { first, second, parent, request } = await setup(open);
      const child = await mintGrant(request(), first);
      const next = await mintGrant(request({ parent: child, mint: 'role', secret: 'x' }), second);
      expect(next).toMatchObject({ parent: parent.id, name: `acme.role-${next.id.slice(0, 8)}` });
      await first.grants.remove(parent.id);
      const orphan = mintGrant(request({ parent: child, secret: 'y' }), first);
      await expect(orphan).rejects.toMatchObject({ code: 'grant_missing' });
    });

    test('a minted grant is in no list of its provider, and is found by its name and ID', async () => {
      const { first, second, parent, request } = await setup(open);
      const minted = await mintGrant(request(), first);
      for (const { grants, store } of [first, second]) {
        const scope = { users: ['default'], ids: [] };
        for (const found of [grants.find('acme'), grants.find('acme', scope), grants.first('acme')])
          expect(ids(await found)).toEqual([parent.id]);
        expect(ids(await store.grants.find({ reference: 'acme', limit: 9 }))).toEqual([parent.id]);
        expect(ids(await store.grants.matching({}, 9))).toEqual([parent.id]);
        expect(ids(await store.grants.newest('acme', 9))).toEqual([parent.id]);
        expect(ids(await store.grants.find({ unminted: true }))).toEqual([parent.id]);
        expect(ids(await store.grantChecks.offered('acme', 9))).toEqual([parent.id]);
        for (const reference of [minted.id, minted.name])
          expect(ids(await grants.find(reference, { users: ['default'], ids: [minted.id] }))).toEqual([
            minted.id,
          ]);
        expect(ids(await store.grants.find({}))).toEqual([parent.id, minted.id].toSorted());
        expect(await store.grantChecks.count(start)).toMatchObject({ active: 1, expired: 0, minted: 1 });
        expect(await store.grantChecks.count(start + 90 * minute)).toMatchObject({
          active: 1,
          expired: 0,
          minted: 1,
        });
        expect(await store.grantChecks.endings(start, [90 * minute])).toEqual({ counts: [0], next: null });
      }
    });

    test('minted grants are listed in pages, of all parents or of some, and by lease and row', async () => {
      const { first, second, parent, lease, request } = await setup(open);
      const sealed = { credential: { type: 'api_key', value: 'x' }, audience: ['acme.test'] } as const;
      const other = await first.grants.add({ ...wanted, name: 'other' }, sealed);
      const made: string[] = [];
      for (const fields of [{}, { lease }, { mint: 'role' }, { parent: other }, { parent: other, lease }])
        made.push((await mintGrant(request(fields), first)).id);
      const read = async (query: object) => {
        const ids = [];
        for (let after; ;) {
          const [record] = await second.store.grants.minted({ ...query, after, limit: 1 });
          if (record === undefined) return ids.toSorted();
          ids.push(record.id);
          after = record;
        }
      };
      const some = (...numbers: readonly number[]) => numbers.map((number) => made[number]!).toSorted();
      expect(await read({})).toEqual(some(0, 1, 2, 3, 4));
      expect(await read({ parents: [parent.id] })).toEqual(some(0, 1, 2));
      expect(await read({ lease: 'l1' })).toEqual(some(1, 4));
      expect(await read({ lease: null, parents: [parent.id], mint: 'session' })).toEqual(some(0));
    });

    test('the labels and the end of a parent apply to its minted grants', async () => {
      const { first, second, parent, request } = await setup(open);
      await first.store.grantPolicies.set(parent.id, { labels: ['prod'], expiresAt: start + minute });
      const { id } = await mintGrant(request(), first);
      expect(await second.grants.current(id)).toMatchObject({ labels: ['prod'], endsAt: start + minute });
    });
  });
