import { copyFile, readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import type { Home, Running } from '../../support/command-line.ts';
import { postgresMissing } from '../../support/postgres.ts';
import { createTeam, until } from '../../support/team.ts';

interface Status {
  readonly rotating: boolean;
  readonly keys: readonly { readonly key_id: string; readonly state: string }[];
  readonly behind: readonly { readonly name: string; readonly key_id: string }[];
}

const keyFile = (at: Home) => readFile(at.at('data', 'master.key'), 'utf8');
const status = async (at: Home) => (await at.json(['key', 'status'])) as Status;
const isReady = async ({ url }: Running) => (await fetch(`${url}/readyz`)).status === 200;
const work = { type: 'api_key', value: 'key-secret-0123456789' };
const audience = ['--provider', 'acme', '--audience', 'a.example.com'];

/** Registers a node that then is off. */
async function once(at: Home, env = {}): Promise<void> {
  const { exit, stderr } = await at.run(['agent', 'create', `a-${Math.random()}`.replace('.', '')], { env });
  expect([exit, stderr]).toEqual([0, expect.any(String)]);
}

async function expectIntact(at: Home): Promise<void> {
  const verified = await at.run(['audit', 'verify']);
  expect(verified.stdout).toContain('is intact');
  expect(await readFile(at.at('data', 'audit.jsonl'), 'utf8')).toContain('"audit.rekeyed"');
}

/** Runs a command in a process of its own: a variable with the key is removed after the read. */
const start = async (at: Home, args: readonly string[], env: Record<string, string>) => {
  const { exit, stdout, stderr } = await at.program([...args, '--json'], { env });
  expect([exit, stderr]).toEqual([0, expect.any(String)]);
  return JSON.parse(stdout) as object;
};

describe.skipIf(postgresMissing !== null)(
  `nodes with copies of the master key${postgresMissing ?? ''}`,
  () => {
    it(
      'follow a rotation at once if they run, and at their next start if they were off',
      { timeout: 180_000 },
      async () => {
        const team = await createTeam();
        const first = await team.node();
        await first.grant('work', work, audience);
        const running = await team.copyOf(first, 'master.key');
        const off = await team.copyOf(first, 'master.key');
        await once(off);
        const served = await running.start();
        const old = await keyFile(first);

        const rotated = await first.run(['key', 'rotate']);
        expect(rotated.stdout).toMatch(
          /^The key \w+ opens the store until it is replaced at the key source of \S+ \(file, last seen .*\)\.$/m,
        );
        expect(rotated.stdout).toContain('sidekey key rotate --retire');
        expect(await keyFile(running)).toBe(await keyFile(first));
        expect(await keyFile(off)).toBe(old);
        const between = await status(first);
        expect([between.rotating, between.behind.length]).toEqual([true, 1]);
        expect((await first.run(['key', 'status'])).stdout).toContain(
          `of ${between.behind[0]?.name} (file, `,
        );
        expect(await isReady(served)).toBe(true);

        const late = await off.start();
        await until(
          () => status(first),
          ({ rotating }) => !rotating,
        );
        expect(await keyFile(off)).toBe(await keyFile(first));
        expect([await isReady(served), await isReady(late)]).toEqual([true, true]);
        await Promise.all([served.stop(), late.stop()]);
        for (const at of [running, off]) {
          expect((await at.run(['grant', 'show', 'work'])).exit).toBe(0);
          await expectIntact(at);
        }
        expect((await status(first)).keys.map(({ state }) => state)).toEqual(['current', 'retired']);
      },
    );

    it(
      'are locked out if the operator retires the old key before they have the new key',
      { timeout: 180_000 },
      async () => {
        const team = await createTeam();
        const first = await team.node();
        await once(first);
        const off = await team.copyOf(first, 'master.key');
        await once(off);
        expect((await first.json(['key', 'rotate'])) as object).toMatchObject({ finished: false });
        const retired = await first.run(['key', 'rotate', '--retire']);
        expect(retired.stdout).toMatch(
          /is retired: .*\nGive the new key to \S+ \(file, last seen .*\): without it they cannot start\./,
        );
        expect((await status(first)).rotating).toBe(false);
        const refused = await off.run(['agent', 'list', '--json']);
        expect((await off.run(['agent', 'create', 'late'])).stderr).toContain(
          'sealed with another master key',
        );
        expect(refused.exit).toBe(0);
        await copyFile(first.at('data', 'master.key'), off.at('data', 'master.key'));
        await once(off);
      },
    );

    it('keep their passphrase when they follow a rotation', { timeout: 180_000 }, async () => {
      const team = await createTeam();
      const config = { key: { source: 'passphrase', passphrase: 'env:PHRASE' } };
      const first = await team.node(config);
      await once(first, { PHRASE: 'one' });
      const second = await team.copyOf(first, 'master.sealed', config);
      const served = await second.start({ env: { PHRASE: 'one' } });
      const rotated = await first.json(['key', 'rotate', '--new', 'env:NEXT'], {
        env: { PHRASE: 'one', NEXT: 'two' },
      });
      expect(rotated).toMatchObject({ finished: true, behind: [] });
      expect(await isReady(served)).toBe(true);
      await served.stop();
      await once(first, { PHRASE: 'two' });
      await once(second, { PHRASE: 'one' });
    });

    it(
      'with a key from the environment wait until the new key is set there',
      { timeout: 180_000 },
      async () => {
        const [before, after] = ['a'.repeat(64), 'b'.repeat(64)];
        const team = await createTeam();
        const config = { key: { source: 'env', name: 'KEY' } };
        const [first, second] = [await team.node(config), await team.node(config)];
        await start(first, ['agent', 'create', 'a'], { KEY: before });
        await start(second, ['agent', 'create', 'b'], { KEY: before });
        const begun = await start(first, ['key', 'rotate', '--new', 'env:NEXT'], {
          KEY: before,
          NEXT: after,
        });
        expect(begun).toMatchObject({
          finished: false,
          behind: [expect.objectContaining({ source: 'env' })],
        });
        expect(await start(first, ['key', 'rotate'], { KEY: after })).toMatchObject({ finished: false });
        await start(second, ['agent', 'create', 'c'], { KEY: after });
        expect(await start(first, ['key', 'rotate'], { KEY: after })).toMatchObject({ finished: true });
        expect((await second.program(['agent', 'create', 'x'], { env: { KEY: before } })).exit).toBe(2);
      },
    );
  },
);
