/**
 * Somebody who may write to the folder of the log, and has no key, at every place of a log of several files
 * and two writers: what is said of it, alone and with an anchor from before.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { anchoredLines, parseAnchors, takeAnchor } from '../../src/audit/sealed-heads.ts';
import { headFile, headSize } from '../../src/audit/live-file.ts';
import { packRotated } from '../../src/audit/retention.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { access, openLog, problems, rewriteLines, write } from '../unit/audit/log-for-test.ts';
import { vaultForTest } from '../unit/audit/vault-for-test.ts';

const vault = vaultForTest();

/** Two writers by turns, in three packed files and a live one; and the folder as it was half way. */
async function log() {
  const folder = await tempFolder();
  const [now, older] = [join(folder, 'now'), join(folder, 'older')];
  const file = join(now, 'audit.jsonl');
  const writers = [await openLog(file, { maxBytes: 2_000 }), await openLog(file, { maxBytes: 2_000 })];
  for (let n = 0; n < 30; n += 1) {
    await writers[n % 3 === 0 ? 1 : 0]?.append(access(`/${n}`));
    if (n === 14) fs.cpSync(now, older, { recursive: true });
  }
  for (const writer of writers) await writer.close();
  await packRotated(file, Date.now() + 120_000);
  expect(fs.readdirSync(now).filter((name) => name.endsWith('.gz'))).toHaveLength(3);
  const anchor = takeAnchor(file, vault, 0).text;
  return { file, older, anchor, rotated: (n: number) => `${file}.00000${n}.gz` };
}
type Log = Awaited<ReturnType<typeof log>>;

/** Takes the lines of one writer out of all files. */
function dropWriter({ file, rotated }: Log, node: string): void {
  const without = (text: string) =>
    text
      .split('\n')
      .filter((line) => !line.includes(`"node":"${node}"`))
      .join('\n');
  for (const at of [1, 2, 3].map(rotated)) {
    fs.writeFileSync(at.slice(0, -'.gz'.length), without(gunzipSync(fs.readFileSync(at)).toString()));
    fs.rmSync(at);
  }
  fs.writeFileSync(file, without(fs.readFileSync(file, 'utf8')));
}

/** Makes the record of a slot one that was never written. */
function zeroHead({ file }: Log, slot: number): void {
  const heads = fs.readFileSync(headFile(file));
  fs.writeFileSync(headFile(file), heads.fill(0, (slot - 1) * headSize, slot * headSize));
}

const renamed = (from: string, to: string) => fs.renameSync(from, to);

/** [what is done, what is found alone: the kind and file of the first problem, how] */
const attacks: readonly (readonly [string, string, (log: Log) => void])[] = [
  ['the first file removed', 'missing .000002.gz', ({ rotated }) => fs.rmSync(rotated(1))],
  ['a file in the middle removed', 'missing .000003.gz', ({ rotated }) => fs.rmSync(rotated(2))],
  ['the last rotated file removed', 'missing ', ({ rotated }) => fs.rmSync(rotated(3))],
  ['the live file removed', 'cut .000003.gz', ({ file }) => fs.rmSync(file)],
  ['the live file emptied', 'cut .000003.gz', ({ file }) => fs.truncateSync(file)],
  [
    'the first file removed, and the others renumbered',
    'missing .000001.gz',
    ({ rotated }) => [renamed(rotated(2), rotated(1)), renamed(rotated(3), rotated(2))],
  ],
  [
    'two files changed for each other',
    'reordered .000002.gz',
    ({ rotated, file }) => [
      renamed(rotated(1), `${file}.x`),
      renamed(rotated(2), rotated(1)),
      renamed(`${file}.x`, rotated(2)),
    ],
  ],
  [
    'a file copied behind the others',
    'repeated .000004.gz',
    ({ rotated }) => fs.copyFileSync(rotated(1), rotated(4)),
  ],
  ['a packed file emptied', 'missing .000002.gz', ({ rotated }) => fs.truncateSync(rotated(1))],
  ['a packed file cut', 'edited .000002.gz', ({ rotated }) => fs.truncateSync(rotated(2), 200)],
  [
    'an empty file put before a packed one',
    'missing .000002.gz',
    ({ rotated }) => fs.writeFileSync(rotated(1).slice(0, -'.gz'.length), ''),
  ],
  [
    'a file replaced by an older copy of it',
    'missing .000003.gz',
    ({ rotated, older }) => [
      fs.rmSync(rotated(2)),
      fs.copyFileSync(join(older, 'audit.jsonl'), rotated(2).slice(0, -'.gz'.length)),
    ],
  ],
  ['the last line removed', 'cut ', ({ file }) => rewriteLines(file, (lines) => lines.slice(0, -1))],
  ['the last line torn', 'edited ', ({ file }) => fs.truncateSync(file, fs.statSync(file).size - 20)],
  ["one writer's lines removed", 'cut .head', (at) => dropWriter(at, 'host/2')],
  [
    "one writer's lines and head record removed",
    'reordered .000001',
    (at) => [dropWriter(at, 'host/2'), fs.truncateSync(headFile(at.file), headSize)],
  ],
  [
    "the first writer's lines and head record removed",
    'reordered .000001',
    (at) => [dropWriter(at, 'host/1'), zeroHead(at, 1)],
  ],
  [
    'an older log restored without its head records',
    'cut ',
    ({ file, older, rotated }) => {
      for (const at of [1, 2, 3].map(rotated)) fs.rmSync(at);
      for (const name of fs.readdirSync(older)) {
        if (!name.endsWith('.head')) fs.copyFileSync(join(older, name), join(file, '..', name));
      }
    },
  ],
];

test.each(attacks)('%s is reported as: %s', async (_what, found, attack) => {
  const at = await log();
  expect(await problems(at.file)).toEqual([]);
  attack(at);
  const { first } = await verifyAudit({ file: at.file, vault });
  expect(`${first?.kind} ${first?.file.slice(at.file.length)}`).toBe(found);
});

test.each<readonly [string, (log: Log) => void]>([
  [
    'the whole folder restored from an older copy',
    ({ file, older }) => {
      fs.rmSync(join(file, '..'), { recursive: true });
      fs.cpSync(older, join(file, '..'), { recursive: true });
    },
  ],
  [
    'all of it removed',
    ({ file }) => {
      for (const name of fs.readdirSync(join(file, '..'))) fs.rmSync(join(file, '..', name));
    },
  ],
])('%s: only an anchor detects the change', async (_what, attack) => {
  const at = await log();
  attack(at);
  expect(await problems(at.file)).toEqual([]);
  const anchored = anchoredLines(parseAnchors(at.anchor, vault));
  const { ok, first } = await verifyAudit({ file: at.file, vault, anchored });
  expect([ok, first?.kind]).toEqual([false, 'cut']);
});

test("a writer's chain that was removed with its head record stays reported as missing after its slot is reused", async () => {
  const at = await log();
  dropWriter(at, 'host/1');
  zeroHead(at, 1);
  const again = await openLog(at.file);
  await write(again, 2);
  await again.close();
  expect(await problems(at.file)).toContainEqual(expect.stringMatching(/^cut /));
});

test('an older head record of a writer that had ended is detected', async () => {
  const at = await log();
  const ended = fs.readFileSync(headFile(at.file));
  const again = await openLog(at.file);
  await write(again, 2);
  await again.close();
  expect(await problems(at.file)).toEqual([]);
  fs.writeFileSync(headFile(at.file), ended);
  expect(await problems(at.file)).toEqual(['repeated 1']);
});
