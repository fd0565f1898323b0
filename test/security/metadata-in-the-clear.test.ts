/**
 * A copy of the store gave away what people write down about a grant, such as the name of a customer. It was
 * in the clear beside the sealed credential.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { type Machine, engines, machine, ok, opened, openedStore } from '../support/backup-machine.ts';
import { createMarks, filesBelow } from '../support/marks.ts';
import { postgresMissing, programs } from '../support/postgres.ts';

type Marks = ReturnType<typeof createMarks>;

/** Returns each mark in the files of a machine, and in a dump of its database. */
async function leaksOf(at: Machine, marks: Marks): Promise<readonly string[]> {
  const { store } = await loadConfig(at.configFile, { env: {} });
  const files = [...(await filesBelow(at.folder))];
  if (store.kind === 'postgres') {
    const { user, port, database } = store.address;
    const words = ['-h', '127.0.0.1', '-p', String(port), '-U', user, database];
    files.push(['pg_dump', execFileSync(join(programs!, 'pg_dump'), words)]);
  }
  expect(files.length).toBeGreaterThan(3);
  return files.flatMap(([place, bytes]) => marks.findIn(bytes).map((name) => `${name} in ${place}`));
}

const metadataOf = async (at: Machine, name = 'work') =>
  ((await at.json(['grant', 'show', name])) as { settings: { metadata: object } }).settings.metadata;

describe.each(engines)('metadata of grants in %s', (_name, engine) => {
  const isMissing = engine === 'postgres' && postgresMissing !== null;

  it.skipIf(isMissing)('appears in no file in plaintext, with the store open and in its backup', async () => {
    const [at, marks] = [await machine(engine), createMarks()];
    const state = await opened(at);
    await at.grant('work', { api_key: 'key' });
    const [key, value, given] = [marks.mark('key'), marks.mark('value'), marks.mark('of connect')];
    expect(await at.run(['grant', 'set', 'work', '--meta', `${key}=${value}`, '--ttl', '9d'])).toMatchObject(
      ok,
    );
    const connect = ['connect', 'openai', '--token', '--no-verify', '--meta', `team=${given}`];
    expect(await at.run(connect, { input: 'sk-0123456789' })).toMatchObject(ok);
    expect(await at.backup(at.at('x.age'))).toMatchObject(ok);
    expect(await leaksOf(at, marks)).toEqual([]);
    await state.close();

    expect(await at.run(['key', 'rotate'])).toMatchObject(ok);
    expect(await metadataOf(at)).toEqual({ [key]: value });
    const fresh = await machine(engine);
    expect(await fresh.restore(at.at('x.age'))).toMatchObject(ok);
    expect(await metadataOf(fresh)).toEqual({ [key]: value });
    expect(await metadataOf(fresh, 'openai')).toEqual({ team: given });
    expect([...(await leaksOf(at, marks)), ...(await leaksOf(fresh, marks))]).toEqual([]);
  });

  it.skipIf(isMissing)('cannot be opened in place of the metadata of another grant', async () => {
    const at = await machine(engine);
    for (const name of ['work', 'home']) {
      await at.grant(name, { api_key: `key-${name}` });
      await at.run(['grant', 'set', name, '--meta', `of=${name}`]);
    }
    const { store, close } = await openedStore(at);
    const [home, work] = await store.grants.find({});
    const [{ revision }, { sealed }] = [work!, home!];
    expect(await store.grants.replace({ ...work!, sealed, revision: revision + 1 }, revision)).toBe(true);
    await close();
    const shown = await at.run(['grant', 'show', 'work']);
    expect(shown).toMatchObject({ exit: 1, stderr: expect.stringContaining('does not open') });
    expect(await metadataOf(at, 'home')).toEqual({ of: 'home' });
  });
});
