import { join } from 'node:path';
import { stringify } from 'yaml';
import { writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { rotateKey } from '../../src/operations/rotation.ts';
import { openState, type State } from '../../src/app/state.ts';
import type { AuditEvent } from '../../src/domain/event.ts';
import { loadConfig } from '../../src/config/load.ts';
import { openAuthority } from '../../src/ca/authority.ts';
import { sessionsOf } from '../../src/grants/sessions.ts';
import type { Reseal } from '../../src/store/store.ts';
import { isRotating } from '../../src/store/vault/ring.ts';
import { z } from 'zod';
import * as fc from '../support/fast-check.ts';
import { apiKey } from '../support/sidekey.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { allGrants } from '../support/all-grants.ts';

const silentLog = { error() {}, warn() {}, info() {}, debug() {} };
const crash = new Error('crash');

/**
 * A state that ends the caller at its change number `at`, before or after the change is made. Each change is
 * atomic.
 */
function crashing(state: State, at: number, isAfter: boolean): State {
  let changes = 0;
  const counted =
    <A extends unknown[], R>(change: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      changes += 1;
      if (changes === at && !isAfter) throw crash;
      const result = await change(...args);
      if (changes === at) throw crash;
      return result;
    };
  const { store, keys, audit } = state;
  return {
    ...state,
    store: {
      ...store,
      sealed: {
        ...store.sealed,
        replace: counted((table: 'grants' | 'sessions', seals: readonly Reseal[]) =>
          store.sealed.replace(table, seals),
        ),
      },
    },
    audit: { ...audit, append: counted((event: AuditEvent) => audit.append(event)) },
    keys: {
      ...keys,
      begin: counted(keys.begin),
      retire: counted(keys.retire),
      source: { ...keys.source, replace: counted(keys.source.replace!) },
    },
  };
}

const options = { now: Date.now, next: null, retire: false, onProgress: () => {} };

/** Lets a process that runs see the rotation at once, and not within a second. */
const followedBy = ({ vault, audit }: State) => ({
  ...options,
  onProgress: () => void vault.refresh().then(() => audit.rekey()),
});

async function home() {
  const folder = await tempFolder();
  const file = join(folder, 'sidekey.yaml');
  await writeFile(
    file,
    stringify({
      version: 1,
      store: 'sqlite:s.db',
      key: { source: 'file', path: 'k' },
      ca: { directory: 'certs' },
      audit: { file: 'a.jsonl' },
    }),
  );
  const config = await loadConfig(file, { env: {} });
  const open = () => openState(config, { log: silentLog, now: Date.now });
  return { config, open };
}

const add = (state: State, name: string) =>
  state.grants.add(
    { name, user: 'alice', provider: 'acme', scopes: [] },
    { credential: apiKey, audience: ['api.example.com'] },
  );

const sessions = (state: State) => sessionsOf('test', z.string(), { ...state, now: Date.now });

async function expectAllOpen(state: State, config: Awaited<ReturnType<typeof home>>['config']) {
  const grants = await allGrants(state.store);
  for (const { id } of grants) expect((await state.grants.read(id))?.sealed.credential).toEqual(apiKey);
  expect(await sessions(state).get('key')).toBe('value');
  await openAuthority({ ...config.ca, vault: state.vault, now: Date.now });
  return grants.length;
}

describe('a rotation of the master key', () => {
  it('leaves each record readable by old and new processes after any interruption, and can be resumed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 9 }), fc.boolean(), async (at, isAfter) => {
        const { config, open } = await home();
        // A process that runs all the time.
        const old = await open();
        await openAuthority({ ...config.ca, vault: old.vault, now: Date.now });
        const placeholder = old.vault.mac('placeholder', 'x');
        for (const name of ['a', 'b', 'c']) await add(old, name);
        await sessions(old).put('key', 'value', Date.now() + 3_600_000);
        const first = await open();
        const before = first.vault.keyId;
        const ended = await rotateKey(crashing(first, at, isAfter), isAfter ? followedBy(old) : options).then(
          () => 'finished',
          (error: unknown) => {
            if (error !== crash) throw error;
            return 'crashed';
          },
        );
        await first.close();
        // The old process reads what the rotation has left, and writes meanwhile.
        for (const { id } of await allGrants(old.store))
          expect((await old.grants.open(id))?.sealed.credential).toEqual(apiKey);
        await add(old, 'd');
        expect(await expectAllOpen(old, config)).toBe(4);
        const later = await open();
        expect(await expectAllOpen(later, config)).toBe(4);
        if (ended === 'crashed' && isRotating(later.vault.generations))
          await rotateKey(later, followedBy(old));
        expect(isRotating(later.vault.generations)).toBe(false);
        if (later.vault.keyId !== before) {
          for (const { sealed } of await later.store.grants.find({}))
            expect(Buffer.from(sealed.subarray(4, 12)).toString('hex')).toBe(later.vault.keyId);
        }
        expect(later.vault.mac('placeholder', 'x')).toBe(placeholder);
        expect(await expectAllOpen(later, config)).toBe(4);
        expect(await expectAllOpen(old, config)).toBe(4);
        await later.close();
        await old.close();
      }),
      { numRuns: 18 },
    );
  }, 120_000);
});
