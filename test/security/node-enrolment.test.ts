import { readFile } from 'node:fs/promises';
import { join as joinPath } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { answerJoins, enroll, enrolmentMs, join } from '../../src/app/enrolment.ts';
import type { AuditEvent } from '../../src/domain/event.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { openVault } from '../../src/store/vault/open.ts';
import {
  enrolmentOf,
  joinProof,
  newEnrolmentToken,
  newNodeKey,
  nodeKeyId,
  openForNode,
  readNodeKey,
  sealForNode,
} from '../../src/store/vault/node-key.ts';
import { createVault } from '../../src/store/vault/vault.ts';
import { newMasterKey } from '../../src/store/vault/key-source.ts';
import { nodeKeyName } from '../../src/store/vault/ring.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** A store, a node that holds the master key, and the way to another one. */
async function setUp() {
  const folder = await tempFolder();
  const clock = { now: 1_700_000_000_000 };
  const now = () => clock.now;
  const database = joinPath(folder, 'sidekey.db');
  const store = await openSqliteStore(database, { now });
  onTestFinished(() => store.close());
  const path = joinPath(folder, 'master.key');
  const options = { mayCreate: true, store: database, meta: store.meta, now, nodeId: 'a' };
  const keys = await openVault({ source: 'file', path }, options);
  const events: AuditEvent[] = [];
  const audit = { append: async (event: AuditEvent) => void events.push(event), note() {} };
  const parts = { store, keys, audit };
  const nodePath = joinPath(folder, 'node.key');
  return { folder, clock, store, keys, events, parts, nodePath, database, masterPath: path };
}

/** Joins while another node answers. */
async function joinAnswered({ store, parts, nodePath }: Awaited<ReturnType<typeof setUp>>, token: string) {
  const joining = join(store, nodePath, token);
  const ended = new AbortController();
  const end = () => ended.abort();
  void joining.then(end, end);
  while (!ended.signal.aborted) {
    await answerJoins(parts);
    await setImmediate();
  }
  return joining;
}

const notValid = { code: 'input_invalid', message: expect.stringContaining('not valid any more') as string };

describe('the enrolment of a node', () => {
  it('returns the master key to the holder of the token, once', async () => {
    const place = await setUp();
    const { store, keys, events, parts, nodePath } = place;
    const token = await enroll(parts, 'b');
    const node = await joinAnswered(place, token);
    const sealed = await store.meta.get(nodeKeyName('b'));
    expect(openForNode(node, sealed!).equals(keys.current())).toBe(true);
    expect(events.map(({ event }) => event)).toEqual(['node.enrolled', 'node.joined']);
    await expect(join(store, `${nodePath}-2`, token)).rejects.toMatchObject(notValid);
    await expect(enroll(parts, 'b')).rejects.toMatchObject({ code: 'already_exists' });
    await expect(join(store, nodePath, await enroll(parts, 'c'))).rejects.toMatchObject({
      code: 'already_exists',
    });
  });

  it('is recorded as joined only after the ring contains the node', async () => {
    const { store, keys, events, parts } = await setUp();
    const { id, secret } = enrolmentOf(await enroll(parts, 'b'));
    const node = newNodeKey({ name: 'b', secret, enrolment: id });
    await store.enrolments.ask(id, JSON.stringify({ publicKey: node.publicKey, proof: joinProof(node) }));
    await answerJoins({ ...parts, keys: { ...keys, admit: async () => false } });
    expect(events.map(({ event }) => event)).toEqual(['node.enrolled']);
    await answerJoins(parts);
    expect(events.at(-1)).toMatchObject({ event: 'node.joined' });
  });

  it('ends after 15 minutes by the clock of the store', async () => {
    const { store, clock, parts, nodePath } = await setUp();
    const token = await enroll(parts, 'b');
    clock.now += enrolmentMs;
    await expect(join(store, nodePath, token)).rejects.toMatchObject(notValid);
  });

  it('leaves neither the token nor a key in the store', async () => {
    const place = await setUp();
    const token = await enroll(place.parts, 'b');
    await joinAnswered(place, token);
    await place.store.close();
    const stored = Buffer.concat([
      await readFile(place.database),
      await readFile(`${place.database}-wal`).catch(() => Buffer.alloc(0)),
    ]).toString('latin1');
    const { secret, privateKey } = (await readNodeKey(place.nodePath))!;
    const master = (await readFile(place.masterPath, 'utf8')).trim().split('\n').at(-1)!;
    const raw = Buffer.from(master, 'base64url').toString('latin1');
    for (const text of [token, secret, privateKey, master, raw]) expect(stored).not.toContain(text);
  });
});

describe('an attacker with write access to the database and without a token', () => {
  it('cannot request the key with their own public key', async () => {
    const { store, events, parts } = await setUp();
    const token = await enroll(parts, 'b');
    const { id } = enrolmentOf(token);
    const own = newNodeKey({ name: 'b', secret: enrolmentOf(newEnrolmentToken()).secret, enrolment: id });
    await store.enrolments.ask(id, JSON.stringify({ publicKey: own.publicKey, proof: joinProof(own) }));
    await answerJoins(parts);
    expect(await store.meta.get(nodeKeyName('b'))).toBeNull();
    expect(events.at(-1)).toMatchObject({ event: 'node.refused', reason: 'b' });
  });

  it('cannot replace the public key of the requesting node', async () => {
    const { store, parts } = await setUp();
    const { id, secret } = enrolmentOf(await enroll(parts, 'b'));
    const node = newNodeKey({ name: 'b', secret, enrolment: id });
    const { publicKey } = newNodeKey({ name: 'b', secret, enrolment: id });
    await store.enrolments.ask(id, JSON.stringify({ publicKey, proof: joinProof(node) }));
    await answerJoins(parts);
    expect(await store.meta.get(nodeKeyName('b'))).toBeNull();
  });

  it('cannot create or rename an enrolment', async () => {
    const { store, parts } = await setUp();
    const { id, secret } = enrolmentOf(newEnrolmentToken());
    const node = newNodeKey({ name: 'b', secret, enrolment: id });
    const request = JSON.stringify({ publicKey: node.publicKey, proof: joinProof(node) });
    await store.enrolments.insert(
      { id, name: 'b', sealed: Buffer.from(JSON.stringify({ name: 'b', secret })) },
      1_000,
    );
    await store.enrolments.ask(id, request);
    await answerJoins(parts);
    const other = enrolmentOf(await enroll(parts, 'c'));
    const renamed = newNodeKey({ name: 'admin', secret: other.secret, enrolment: other.id });
    const asked = { publicKey: renamed.publicKey, proof: joinProof(renamed) };
    await store.enrolments.ask(other.id, JSON.stringify(asked));
    await answerJoins(parts);
    for (const name of ['b', 'c', 'admin']) expect(await store.meta.get(nodeKeyName(name))).toBeNull();
  });

  it('cannot give their own master key to the requesting node', async () => {
    const { store, parts, nodePath } = await setUp();
    const token = await enroll(parts, 'b');
    const joining = join(store, nodePath, token);
    void joining.catch(() => undefined);
    let asked = await store.enrolments.asked();
    while (asked.length === 0) {
      await setImmediate();
      asked = await store.enrolments.asked();
    }
    const { publicKey } = JSON.parse(asked[0]!.request!) as { publicKey: string };
    const { secret } = enrolmentOf(newEnrolmentToken());
    const forged = sealForNode(newMasterKey(), { name: 'b', publicKey, secret, enrolment: '' });
    await store.meta.putIfAbsent(nodeKeyName('b'), forged);
    await expect(joining).rejects.toMatchObject({ code: 'record_tampered' });
  });

  it('cannot create an enrolment with a key that was just retired', async () => {
    const { store, keys, parts, events } = await setUp();
    const leaked = createVault(keys.current());
    await keys.begin({ next: newMasterKey(), by: null, hasCopies: true });
    await keys.source.replace!(keys.current());
    await keys.retire();
    const { id, secret } = enrolmentOf(newEnrolmentToken());
    const node = newNodeKey({ name: 'b', secret, enrolment: id });
    const sealed = leaked.seal(`node-enrolment/${id}`, Buffer.from(JSON.stringify({ name: 'b', secret })));
    await store.enrolments.insert({ id, name: 'b', sealed }, 1_000);
    await store.enrolments.ask(id, JSON.stringify({ publicKey: node.publicKey, proof: joinProof(node) }));
    await answerJoins(parts);
    expect(await store.meta.get(nodeKeyName('b'))).toBeNull();
    expect(events.at(-1)).toMatchObject({ event: 'node.refused', reason: 'b' });
  });

  it('cannot reuse an enrolment after the node was revoked, even with its node key', async () => {
    const place = await setUp();
    const { store, keys, parts } = place;
    const token = await enroll(parts, 'b');
    const { id } = enrolmentOf(token);
    const used = (await store.enrolments.get(id))!;
    const node = await joinAnswered(place, token);
    const again = async (pair: { readonly publicKey: string }) => {
      await store.enrolments.insert({ id, name: 'b', sealed: used.sealed }, 1_000);
      const request = { publicKey: pair.publicKey, proof: joinProof({ ...node, publicKey: pair.publicKey }) };
      await store.enrolments.ask(id, JSON.stringify(request));
      await answerJoins(parts);
    };
    // A second key pair while the first one is in use.
    await again(newNodeKey(node));
    expect(keys.nodes().members.map(({ publicKey }) => publicKey)).toEqual([node.publicKey]);
    await keys.revoke(nodeKeyId(node));
    await again(node);
    await again(newNodeKey(node));
    expect(await store.meta.get(nodeKeyName('b'))).toBeNull();
  });
});
