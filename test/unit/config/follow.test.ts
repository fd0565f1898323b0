import { writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { followConfig } from '../../../src/config/reload.ts';
import { tempFolder } from '../../support/temp-folder.ts';

/** A watched file; each load reads it, and ends when the test resolves it. */
async function setup(isDue: () => boolean = () => true) {
  const file = join(await tempFolder(), 'sidekey.yaml');
  const write = (text: string) => writeFileSync(file, text);
  write('0');
  const loads: { readonly text: string; readonly end: () => void }[] = [];
  let waiting: (() => void)[] = [];
  let inForce = '0';
  const followed = followConfig(
    file,
    async () => {
      const text = await readFile(file, 'utf8');
      const { promise, resolve } = Promise.withResolvers<void>();
      loads.push({ text, end: resolve });
      for (const wake of waiting.splice(0)) wake();
      await promise;
      inForce = text;
    },
    isDue,
  );
  /** The load with this number, after it has read the file. */
  const load = async (index: number) => {
    while (loads.length <= index) await new Promise<void>((resolve) => waiting.push(resolve));
    return loads[index]!;
  };
  return { followed, write, loads, load, inForce: () => inForce };
}

test('an unchanged file causes no load', async () => {
  const { followed, loads } = await setup();
  expect(followed.newest()).toBe(null);
  expect(loads).toHaveLength(0);
});

test('an edit is loaded by the first request for which a check is due', async () => {
  let isDue = false;
  const { followed, write, load, loads } = await setup(() => isDue);
  write('1');
  expect(followed.newest()).toBe(null);
  expect(loads).toHaveLength(0);
  isDue = true;
  const loaded = followed.newest();
  (await load(0)).end();
  await loaded;
  expect(loads).toHaveLength(1);
});

test('a check on demand loads an edit even if no check is due', async () => {
  const { followed, write, load, inForce } = await setup(() => false);
  write('1');
  const loaded = followed.check();
  (await load(0)).end();
  await loaded;
  expect(inForce()).toBe('1');
});

test('all callers after an edit wait for one load', async () => {
  const { followed, write, load, loads, inForce } = await setup();
  write('1');
  const asked = Promise.all(Array.from({ length: 50 }, async () => followed.newest()));
  (await load(0)).end();
  await asked;
  expect(inForce()).toBe('1');
  expect(followed.newest()).toBe(null);
  expect(loads).toHaveLength(1);
});

test('a caller after a second edit waits for the load that follows the current load', async () => {
  const { followed, write, load, loads, inForce } = await setup();
  write('1');
  const first = followed.newest();
  await load(0);
  write('2');
  const seen: string[] = [];
  const second = Promise.all(
    [1, 2, 3].map(async () => {
      await followed.newest();
      seen.push(inForce());
    }),
  );
  loads[0]!.end();
  await first;
  (await load(1)).end();
  await second;
  expect(seen).toEqual(['2', '2', '2']);
  expect(loads).toHaveLength(2);
});

test('a caller during a load waits only for that load when the file has not changed', async () => {
  const { followed, write, load, loads } = await setup();
  write('1');
  const first = followed.newest();
  await load(0);
  const second = followed.newest();
  loads[0]!.end();
  await Promise.all([first, second]);
  expect(loads).toHaveLength(1);
});

test('an explicit reload loads an unchanged file too', async () => {
  const { followed, load, loads } = await setup();
  const reloaded = followed.reload();
  (await load(0)).end();
  await reloaded;
  expect(loads).toHaveLength(1);
});
