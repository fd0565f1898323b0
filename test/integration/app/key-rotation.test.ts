import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { openState } from '../../../src/app/state.ts';
import { program, type Home } from '../../support/command-line.ts';
import { apiKey } from '../../support/sidekey.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { ask, grantWork, startTwoWorkers } from '../../support/two-workers.ts';

const grants = 600;
const log = { error() {}, warn() {}, info() {}, debug() {} };

async function addGrants(at: Home): Promise<void> {
  const state = await openState(await loadConfig(at.configFile, { env: {} }), { log, now: Date.now });
  const sealed = { credential: apiKey, audience: ['api.example.com'] };
  for (let count = 0; count < grants; count += 1) {
    const name = `g-${count}`;
    await state.grants.add({ name, user: 'default', provider: 'acme', scopes: [] }, sealed);
  }
  await state.close();
}

/** Kills its own process when it reports the first records, before it rotates more of them. */
const killedAtReport = `data:text/javascript,${encodeURIComponent(`
  const write = process.stderr.write.bind(process.stderr);
  process.stderr.write = (text, ...rest) => {
    if (String(text).includes('Re-wrapped')) process.kill(process.pid, 'SIGKILL');
    return write(text, ...rest);
  };
`)}`;

/** Starts `sidekey key rotate`, which ends after the first records. */
async function rotateUntilKilled(at: Home): Promise<unknown> {
  const args = ['--import', killedAtReport, program, 'key', 'rotate', '--config', at.configFile];
  const child = spawn(process.execPath, args, {
    cwd: at.folder,
    env: { PATH: process.env['PATH'], HOME: at.folder },
    stdio: 'ignore',
  });
  const [, signal] = (await once(child, 'close')) as [number | null, string | null];
  return signal;
}

interface Status {
  readonly rotating: boolean;
  readonly left: number;
  readonly keys: readonly { readonly key_id: string; readonly state: string; readonly records: number }[];
}

describe('a rotation of the master key during the work of a proxy with two workers', () => {
  it(
    'causes no failed request, survives a kill, resumes, and leaves an intact audit log',
    { timeout: 120_000 },
    async () => {
      const served = await startTwoWorkers({
        prepare: async (at, upstream) => {
          await grantWork(at, upstream);
          await addGrants(at);
        },
      });
      const { at, upstream } = served;
      const keyFile = await readFile(at.at('data', 'master.key'), 'utf8');
      const before = (await at.json(['key', 'status'])) as Status;
      const url = `https://${upstream.authority}/under-load`;
      const load = new AbortController();
      const answers: unknown[] = [];
      const callers = Array.from({ length: 4 }, async () => {
        while (!load.signal.aborted) answers.push(await proxiedGet(served.url, url));
      });
      // A tunnel that is open all the time.
      const tunnel = await served.open();

      expect(await rotateUntilKilled(at)).toBe('SIGKILL');
      const between = (await at.json(['key', 'status'])) as Status;
      expect(between.rotating).toBe(true);
      expect(between.left).toBeGreaterThan(0);
      expect(between.left).toBeLessThan(grants);
      // The key file still has the old key, and everything opens with it.
      expect(await readFile(at.at('data', 'master.key'), 'utf8')).toBe(keyFile);
      expect((await at.run(['grant', 'show', 'g-599'])).exit).toBe(0);
      expect((await at.run(['status'])).stdout).toContain('rotation not finished');
      expect((await ask(tunnel, upstream)).status).toBe(200);

      const resumed = await at.json(['key', 'rotate']);
      load.abort();
      await Promise.all(callers);
      expect(resumed).toMatchObject({ resumed: true, finished: true, from: before.keys[0]?.key_id });
      const after = (await at.json(['key', 'status'])) as Status;
      expect(after).toMatchObject({ rotating: false, left: 0 });
      expect(after.keys.map(({ state }) => state)).toEqual(['current', 'retired']);
      expect(after.keys[0]?.records).toBe(grants + 1);
      expect(await readFile(at.at('data', 'master.key'), 'utf8')).not.toBe(keyFile);

      expect(answers.length).toBeGreaterThan(20);
      expect(answers.filter((answer) => JSON.stringify(answer) !== '{"status":200,"body":"ok"}')).toEqual([]);
      expect((await ask(tunnel, upstream)).status).toBe(200);
      const verified = await at.run(['audit', 'verify']);
      expect(verified.stdout).toContain('is intact');
      // Both workers, the supervisor and the command line have audit chains.
      const linked = (await served.lines()).filter(({ event }) => event === 'audit.rekeyed');
      expect(new Set(linked.map(({ node }) => node)).size).toBeGreaterThanOrEqual(3);
    },
  );

  it('prevents the old key from opening the store', async () => {
    const { at } = await startTwoWorkers();
    const store = await openSqliteStore(at.at('data', 'sidekey.db'), { now: Date.now });
    const name = `k-${randomUUID().slice(0, 8)}`;
    const { copyFile } = await import('node:fs/promises');
    await copyFile(at.at('data', 'master.key'), at.at(name));
    expect((await at.run(['key', 'rotate'])).exit).toBe(0);
    expect(await store.meta.get('key_next')).toBeNull();
    await store.close();
    await copyFile(at.at(name), at.at('data', 'master.key'));
    const { exit, stderr } = await at.run(['grant', 'show', 'work']);
    expect([exit, stderr]).toEqual([2, expect.stringContaining('sealed with another master key')]);
  });
});
