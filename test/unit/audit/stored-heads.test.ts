import fs from 'node:fs';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { headFile } from '../../../src/audit/live-file.ts';
import { type HeadStore, parseGap } from '../../../src/audit/sealed-heads.ts';
import { verifyAudit } from '../../../src/audit/verify.ts';
import { endStoreForTest } from './head-store-for-test.ts';
import { asKilled, newLogFile, openLog, rewriteLines, storedHeads, write } from './log-for-test.ts';
import { vaultForTest } from './vault-for-test.ts';

const vault = vaultForTest();
const seqs = async (store: HeadStore, file: string) =>
  [...(await storedHeads(store, file)).heads].map(([node, { seq }]) => `${node} ${seq}`);
/** Compares a log, or a copy of it, with what the store has of `file`. */
const compare = async (at: string, store: HeadStore, file = at) =>
  verifyAudit({ file: at, vault, stored: await storedHeads(store, file) });

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterEach(() => void vi.useRealTimers());

it('stored heads are written within ten seconds of a line, and at the close', async () => {
  const file = await newLogFile();
  const store = endStoreForTest();
  const put = Promise.withResolvers<void>();
  const watched: HeadStore = {
    ...store,
    auditHeads: {
      ...store.auditHeads,
      put: (end) => store.auditHeads.put(end).then(() => put.resolve()),
    },
  };
  const log = await openLog(file, { store: watched });
  await write(log, 3);
  expect(await seqs(store, file)).toEqual([]);
  vi.advanceTimersByTime(10_000);
  await put.promise;
  expect(await seqs(store, file)).toEqual(['host/1 3']);
  await write(log, 2, 4);
  // A kill now leaves the log ahead of the store, which is no problem.
  expect(await compare(await asKilled(file), store, file)).toMatchObject({ ok: true, lines: 5 });
  await log.close();
  expect(await seqs(store, file)).toEqual(['host/1 5']);
});

it('stored heads are written after the sync of their line', async () => {
  const file = await newLogFile();
  const store = endStoreForTest();
  const asked = Promise.withResolvers<void>();
  const log = await openLog(file, {
    store,
    disk: {
      write: (fd, text) => fs.writeSync(fd, text),
      writeAt: (fd, bytes, position) => fs.writeSync(fd, bytes, 0, bytes.length, position),
      sync: async () => {
        asked.resolve();
        throw new Error('io');
      },
    },
  });
  await write(log, 1);
  vi.advanceTimersByTime(10_000);
  await asked.promise;
  await log.close().catch(() => undefined);
  expect(await seqs(store, file)).toEqual([]);
});

it('stored heads name the node of a removed log, and the next writer continues from them', async () => {
  const file = await newLogFile();
  const store = endStoreForTest();
  const log = await openLog(file, { store });
  await write(log, 3);
  await log.close();
  fs.rmSync(file);
  fs.rmSync(headFile(file));
  expect((await compare(file, store)).gaps).toEqual([{ node: 'host/1', from: 1, to: 3 }]);
  const warnings: string[] = [];
  const logger = { warn: (_: object, text: string) => warnings.push(text), error: () => undefined };
  const next = await openLog(file, { store, logger });
  await write(next, 1);
  expect(warnings).toEqual([expect.stringContaining('names line 3 of host/1')]);
  expect((await compare(file, store)).gaps).toEqual([{ node: 'host/1', from: 1, to: 3 }]);
});

it('stored heads reveal a log that was restored together with its head file', async () => {
  const file = await newLogFile();
  const store = endStoreForTest();
  const first = await openLog(file, { store });
  await write(first, 2);
  await first.close();
  const older = await asKilled(file);
  const second = await openLog(file, { store });
  await write(second, 2, 3);
  await second.close();
  expect((await verifyAudit({ file: older, vault })).ok).toBe(true);
  const found = await compare(older, store, file);
  expect(found.problems.map(({ kind }) => kind)).toEqual(['cut']);
});

it('stored heads are not trusted after they were changed', async () => {
  const file = await newLogFile();
  const store = endStoreForTest();
  const log = await openLog(file, { store });
  await write(log, 2);
  await log.close();
  const changed: HeadStore = {
    ...store,
    auditHeads: {
      ...store.auditHeads,
      list: async (name) =>
        (await store.auditHeads.list(name)).map((end) => ({
          ...end,
          sealed: Buffer.from(String(end.sealed).replace('"seq":2', '"seq":1')),
        })),
    },
  };
  expect(await compare(file, changed)).toMatchObject({ ok: false, first: { kind: 'edited', file: 'store' } });
});

it('stored heads reveal that lines of two writers were swapped', async () => {
  const file = await newLogFile();
  const store = endStoreForTest();
  const logs = [await openLog(file, { store }), await openLog(file, { store })];
  for (let n = 0; n < 6; n += 1) await logs[n % 2]?.append({ event: 'access' });
  for (const log of logs) await log.close();
  expect(await compare(file, store)).toMatchObject({ ok: true });
  rewriteLines(file, (lines) => lines.with(2, lines[3] ?? '').with(3, lines[2] ?? ''));
  expect(await compare(file, store)).toMatchObject({ ok: false, first: { kind: 'reordered' } });
});

it('the text of one accepted gap is parsed, and a text with two gaps is not', () => {
  expect(parseGap('Lines 1 to 5 of host/1 are gone.')).toEqual({ node: 'host/1', from: 1, to: 5 });
  expect(parseGap('Lines 1 to 5 of host/1 are gone. Lines 6 to 7 of host/1 are gone.')).toBeUndefined();
});
