import fs from 'node:fs';
import { expect, it } from 'vitest';
import { indexName, readIndex } from '../../../src/audit/block-index.ts';
import type { AuditFilter } from '../../../src/audit/filter.ts';
import { packedName, rotatedFiles, rotatedName, snapshotLog } from '../../../src/audit/log-files.ts';
import { queryAudit, queryRaw } from '../../../src/audit/query.ts';
import { openSource } from '../../../src/audit/reader.ts';
import { blockSize } from '../../../src/audit/packed.ts';
import { indexRotated, packRotated, removeExpired } from '../../../src/audit/retention.ts';
import { findParts } from '../../../src/audit/log-scan.ts';
import { access, newLogFile, openLog, problems, verify, write, writtenLog } from './log-for-test.ts';
import { vaultForTest } from './vault-for-test.ts';

const later = () => Date.now() + 120_000;

/**
 * A log with a rotated file of several blocks, whose exchange `long` begins in the first one and ends in the
 * last one.
 */
async function longLog(): Promise<string> {
  const file = await newLogFile();
  let time = Date.UTC(2026, 0, 1);
  const log = await openLog(file, { maxBytes: 3 * blockSize, now: () => (time += 1_000) });
  await log.append({ ...access('/long'), exchange: 'long', agent: 'rare' });
  const writeTo = async (size: number) => {
    while (rotatedFiles(file).length === 0 && fs.statSync(file).size < size)
      await Promise.all(
        Array.from({ length: 50 }, (_, n) => log.append({ ...access(`/${n}`), exchange: `x${n}` })),
      );
  };
  await writeTo(2.9 * blockSize);
  await log.append({ event: 'outcome', exchange: 'long', code: 'upstream_timeout', outcome: 'failed' });
  await writeTo(Infinity);
  await log.close();
  return file;
}

async function found(file: string, filter: AuditFilter) {
  const lines: string[] = [];
  for await (const { event, path, agent } of queryAudit({ file, filter }))
    lines.push(`${event} ${path} ${agent}`);
  return lines;
}

it.each(['plain', 'packed'])(
  'the block index of a %s file finds the blocks that contain a value, a time, or the access of an outcome',
  async (kind) => {
    const file = await longLog();
    expect(findParts(file, { agent: 'rare' })).toHaveLength(2);
    expect(await indexRotated(file, later())).toBe(1);
    expect(await indexRotated(file, later())).toBe(0);
    if (kind === 'packed') expect(await packRotated(file, later())).toBe(1);
    const blocks = readIndex(file, 1)!.blocks;
    expect(blocks.length).toBeGreaterThan(2);
    const read = (filter: AuditFilter) =>
      findParts(file, filter).flatMap(({ from, size }) => (size === undefined ? [] : [from]));
    const last = blocks.slice(0, 2).reduce((sum, { size }) => sum + size, 0);
    // The end has the agent of its access, which is in the first block.
    expect(read({ agent: 'rare' })).toEqual([0, last]);
    expect(await found(file, { agent: 'rare' })).toEqual(['access /long rare', 'outcome /long rare']);
    expect(read({ code: 'upstream_timeout' })).toEqual([last]);
    expect(await found(file, { code: 'upstream_timeout' })).toEqual(['outcome /long rare']);
    expect(read({ agent: 'nobody' })).toEqual([]);
    expect(read({ until: Date.UTC(2026, 0, 1) })).toEqual([]);
    expect(read({ until: Date.UTC(2026, 0, 1, 0, 1) })).toEqual([0]);
    // Each block is one of the packed file, so that reading it inflates nothing else.
    using reader = openSource(file, snapshotLog(file)[0]!)!;
    expect(reader.size()).toBe(readIndex(file, 1)!.size);
  },
);

it.each([1, 2, 50, 700, 2_500, 1e6])(
  'the block index is not needed to read the last %i lines backwards',
  async (last) => {
    const file = await longLog();
    const textOf = async (filter: AuditFilter, count?: number) => {
      const lines: string[] = [];
      for await (const { line } of queryRaw({ file, filter, last: count })) lines.push(JSON.stringify(line));
      return lines;
    };
    const every = await textOf({});
    expect(await textOf({}, last)).toEqual(every.slice(-last));
    expect(await textOf({ agent: 'rare' }, last)).toEqual((await textOf({ agent: 'rare' })).slice(-last));
  },
);

it('the block index does not hide damage in a packed file, whether the file is read forwards or backwards', async () => {
  const file = await writtenLog(20, { maxBytes: 900 });
  await packRotated(file, later());
  const at = packedName(file, 2);
  fs.writeFileSync(at, fs.readFileSync(at).subarray(0, -9));
  for (const last of [undefined, 100]) {
    const lines = async () => {
      for await (const { seq } of queryAudit({ file, filter: {}, last })) void seq;
    };
    await expect(lines()).rejects.toMatchObject({ code: 'audit_broken' });
  }
});

it('the block index pairs an outcome with the last access of its exchange, even if a block has an earlier access', async () => {
  const file = await newLogFile();
  const log = await openLog(file, { maxBytes: 900 });
  for (const exchange of ['a', 'b']) await log.append({ ...access('/first'), exchange });
  while (rotatedFiles(file).length === 0) await log.append({ event: 'proxy.started' });
  await indexRotated(file, later());
  await log.append({ ...access('/second'), exchange: 'a' });
  for (const exchange of ['b', 'a']) await log.append({ event: 'outcome', exchange });
  expect(await found(file, { event: 'outcome' })).toEqual(['outcome /first ci', 'outcome /second ci']);
});

it('the block index finds an outcome in a later file, even if its text does not name the agent', async () => {
  const file = await newLogFile();
  const log = await openLog(file, { maxBytes: 900 });
  await log.append({ ...access('/first'), exchange: 'a', agent: 'rare' });
  while (rotatedFiles(file).length === 0) await log.append({ event: 'proxy.started' });
  await indexRotated(file, later());
  await log.append({ event: 'outcome', exchange: 'a' });
  expect(await found(file, { agent: 'rare' })).toEqual(['access /first rare', 'outcome /first rare']);
});

it('the block index is removed with its file, and is created only when the file is complete', async () => {
  const file = await newLogFile();
  const log = await openLog(file, { maxBytes: 900 });
  await write(log, 20);
  expect(await indexRotated(file, Date.now())).toBe(0);
  await indexRotated(file, later());
  expect(fs.existsSync(indexName(file, 1))).toBe(true);
  const limits = { keepMs: null, keepFiles: 1, keepBytes: null, now: Date.now() };
  await removeExpired({ file, vault: vaultForTest(), audit: log, ...limits });
  expect(fs.existsSync(indexName(file, 1))).toBe(false);
  expect(await problems(file)).toEqual([]);
});

it('verify reports a change at any position of a block index', async () => {
  const file = await writtenLog(20, { maxBytes: 900 });
  await indexRotated(file, later());
  expect(await problems(file)).toEqual([]);
  const at = indexName(file, 2);
  const bytes = fs.readFileSync(at);
  for (let n = 0; n < bytes.length; n += 5) {
    fs.writeFileSync(at, Buffer.from(bytes).fill(bytes[n]! ^ 1, n, n + 1));
    const { first } = await verify(file);
    expect(first, `byte ${n}`).toMatchObject({ kind: 'edited', file: at });
  }
  // The index of another file is no index of this one.
  fs.copyFileSync(indexName(file, 1), at);
  expect(await problems(file)).toEqual(['edited 1']);
  fs.rmSync(at);
  expect(await problems(file)).toEqual([]);
});

it.each(['plain', 'packed'])(
  'the block index of a %s file does not hide lines that were added after the index was created',
  async (kind) => {
    const file = await writtenLog(20, { maxBytes: 900 });
    const text = fs.readFileSync(rotatedName(file, 2), 'utf8');
    const lines = text.split('\n');
    fs.writeFileSync(rotatedName(file, 2), lines.slice(0, -2).join('\n') + '\n');
    await indexRotated(file, later());
    fs.writeFileSync(rotatedName(file, 2), text);
    if (kind === 'packed') await packRotated(file, later());
    expect(await problems(file)).toEqual([]);
    expect(await found(file, { event: 'access' })).toHaveLength(20);
    expect(await found(file, { agent: 'ci' })).toHaveLength(20);
  },
);

it('a block index that cannot be read hides no lines', async () => {
  const file = await writtenLog(20, { maxBytes: 900 });
  await indexRotated(file, later());
  const every = await found(file, {});
  for (const change of [
    (bytes: Buffer) => bytes.subarray(0, bytes.length - 3),
    (bytes: Buffer) => Buffer.concat([bytes, Buffer.from('xy')]),
    () => Buffer.alloc(0),
    (bytes: Buffer) => bytes.subarray(0, 16),
  ]) {
    const bytes = fs.readFileSync(indexName(file, 1));
    fs.writeFileSync(indexName(file, 1), change(bytes));
    expect(await found(file, {})).toEqual(every);
    fs.writeFileSync(indexName(file, 1), bytes);
  }
});
