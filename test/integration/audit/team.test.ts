/** The logs of several machines that share a store, with both engines. */
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { headFile } from '../../../src/audit/live-file.ts';
import { type LogsVerification, verifyLogs } from '../../../src/audit/verify-logs.ts';
import type { Problem } from '../../../src/audit/chain.ts';
import { readAllHeads, takeAnchor } from '../../../src/audit/sealed-heads.ts';
import { removeExpired } from '../../../src/audit/retention.ts';
import type { Store } from '../../../src/store/store.ts';
import { home } from '../../support/command-line.ts';
import { createDatabase, postgresMissing } from '../../support/postgres.ts';
import { postgresUnderTest } from '../../support/postgres-under-test.ts';
import { sqliteUnderTest } from '../../support/sqlite-under-test.ts';
import { newLogFile, openLog, rewriteLines, write } from '../../unit/audit/log-for-test.ts';
import { vaultForTest } from '../../unit/audit/vault-for-test.ts';

const vault = vaultForTest();
const now = Date.UTC(2026, 0, 2, 3, 4, 5);

const engines = [
  ['SQLite', sqliteUnderTest, null],
  ['PostgreSQL', postgresUnderTest, postgresMissing],
] as const;

/** Appends lines to the log of a machine, and closes it. */
async function append(store: Store, file: string, node: string, count: number, from = 1): Promise<void> {
  const log = await openLog(file, { store, node });
  await write(log, count, from);
  await log.close();
}

/** A copy of a log with all its files, in another folder. */
async function copyOf(file: string): Promise<string> {
  const copy = await newLogFile();
  for (const name of fs.readdirSync(dirname(file)))
    if (!name.endsWith('.lock')) fs.copyFileSync(join(dirname(file), name), join(dirname(copy), name));
  return copy;
}

const sentences = (problems: readonly Problem[] | undefined) =>
  problems?.map(({ sentence }) => sentence) ?? [];
const all = ({ own, copies, problems }: LogsVerification) => [
  ...sentences(own?.found.problems),
  ...copies.flatMap(({ found }) => sentences(found.problems)),
  ...sentences(problems),
];

describe.each(engines)('audit logs of two machines with one store in %s', (_, open, missing) => {
  const it = test.skipIf(missing !== null);
  const suffix = missing ?? '';

  /** Machine `a` with 3 lines and machine `b` with 4, and the result on `a`. */
  async function team() {
    const subject = await open(() => now);
    onTestFinished(() => subject.cleanup());
    const { store } = subject;
    const [a, b] = [await newLogFile(), await newLogFile()];
    await append(store, a, 'a', 3);
    await append(store, b, 'b', 4);
    const check = async (copies: readonly string[] = [], anchors?: string, own = a) =>
      verifyLogs({ own, copies, host: 'a', vault, anchors, stored: await readAllHeads(store, vault) });
    return { store, a, b, check };
  }

  it(`verify together, and a missing log is named with its last anchor${suffix}`, async () => {
    const { b, check } = await team();
    const alone = await check();
    expect(all(alone)).toEqual([]);
    expect(alone).toMatchObject({
      own: { found: { lines: 3 }, isStored: true },
      copies: [],
      absent: [{ host: 'b', path: b, chains: [{ node: 'b/1', seq: 4, time: new Date(now).toISOString() }] }],
    });
    const both = await check([await copyOf(b)]);
    expect(all(both)).toEqual([]);
    expect(both).toMatchObject({ copies: [{ found: { lines: 4, ok: true }, behind: [] }], absent: [] });
  });

  it(`are reported if a chain was cut below its head, in a copy too${suffix}`, async () => {
    const { a, b, check } = await team();
    const copy = await copyOf(b);
    rewriteLines(copy, (lines) => lines.slice(0, -1));
    expect(all(await check([copy]))).toEqual([
      'Line 4 (writer b/1) is missing: the log was cut after line 3 of it.',
    ]);
    rewriteLines(a, (lines) => lines.slice(0, -1));
    fs.rmSync(headFile(a));
    expect(all(await check())).toContainEqual(expect.stringContaining('The store names line 3 of a/1'));
  });

  it(`show which lines an older copy lacks, and report these as a problem if an anchor covers them${suffix}`, async () => {
    const { store, a, b, check } = await team();
    const older = await copyOf(b);
    await append(store, b, 'b', 2, 5);
    const late = await check([older]);
    expect(all(late)).toEqual([]);
    expect(late.copies[0]?.behind).toEqual([
      { node: 'b/1', from: 5, to: 6, time: new Date(now).toISOString() },
    ]);
    const heads = [...(await readAllHeads(store, vault)).values()].flatMap((log) => [...log.heads.values()]);
    const anchor = takeAnchor(a, vault, now, heads).text;
    expect(all(await check([await copyOf(b)], anchor))).toEqual([]);
    expect(all(await check([older], anchor))).toEqual([
      expect.stringContaining('names line 6 of b/1, and the log ends at line 4 of it.'),
    ]);
  });

  it(`are reported if only an anchor names a log, not the files or the store${suffix}`, async () => {
    const { a, b, check } = await team();
    const anchor = takeAnchor(b, vault, now).text;
    expect(all(await check([], anchor))).toEqual([]);
    const lost = await verifyLogs({
      own: a,
      copies: [],
      host: 'a',
      vault,
      anchors: anchor,
      stored: new Map(),
    });
    expect(all(lost)).toEqual([
      'The anchor of 2026-01-02T03:04:05.000Z names line 4 of b/1, of a log that is not here.',
    ]);
  });

  it(`are reported if the log of this machine was removed or replaced by the log of another machine${suffix}`, async () => {
    const { a, b, check } = await team();
    for (const each of [a, headFile(a)]) fs.rmSync(each);
    expect(all(await check())).toContainEqual(expect.stringContaining('The store names line 3 of a/1'));
    fs.copyFileSync(b, a);
    fs.copyFileSync(headFile(b), headFile(a));
    expect(all(await check())).toEqual([
      'The store names line 3 of a/1 of a log at this path, and it is not here: another log is in its place.',
    ]);
  });

  it(`are reported if a chain forks, against the store and between two copies${suffix}`, async () => {
    const { store, b, check } = await team();
    const twin = await copyOf(b);
    // The twin is continued without the store, as on a machine that was cloned.
    const log = await openLog(twin, { node: 'b' });
    await write(log, 5, 100);
    await log.close();
    await append(store, b, 'b', 1, 5);
    expect(all(await check([twin]))).toEqual([
      expect.stringMatching(/^Line 5 of b\/1 is not the one that the store names: the chain forks\./),
    ]);
    const offline = await verifyLogs({
      own: await newLogFile(),
      copies: [twin, b],
      host: 'c',
      vault,
      anchors: undefined,
      stored: undefined,
    });
    expect(all(offline)).toEqual([
      expect.stringMatching(/^Line 5 of b\/1 is another one in .+: the chain forks\./),
    ]);
  });

  it(`count as two logs for one machine at two paths, and as one log after a move${suffix}`, async () => {
    const { store, a, check } = await team();
    const second = await newLogFile();
    await append(store, second, 'a', 2);
    expect((await check([second])).absent.map(({ host }) => host)).toEqual(['b']);
    const heads = [...(await readAllHeads(store, vault)).values()].flatMap((log) => [...log.heads.values()]);
    const anchor = takeAnchor(a, vault, now, heads).text;
    expect(all(await check([second], anchor))).toEqual([]);
    const moved = await copyOf(a);
    await append(store, moved, 'a', 1, 4);
    expect((await check([], undefined, moved)).own).toMatchObject({ found: { lines: 4, ok: true } });
  });

  it(`are reported if any head in the store was changed${suffix}`, async () => {
    const { store, check } = await team();
    for (const head of await store.auditHeads.list())
      await store.auditHeads.put({ ...head, seq: head.seq + 5 });
    expect(all(await check()).toSorted()).toEqual([
      'The end of a/1 in the store was changed.',
      'The end of b/1 in the store was changed.',
    ]);
  });

  it(`verify after retention by age and size, and report only what retention removed${suffix}`, async () => {
    const { store, b, check } = await team();
    const log = await openLog(b, { store, node: 'b', maxBytes: 900 });
    await write(log, 20, 5);
    const limits = { keepMs: null, keepFiles: null, keepBytes: 1_500, now };
    expect(await removeExpired({ file: b, vault, audit: log, ...limits })).toBeGreaterThan(0);
    await log.close();
    const kept = await check([await copyOf(b)]);
    expect(all(kept)).toEqual([]);
    const { lines, removedLines, chains } = kept.copies[0]!.found;
    expect(removedLines).toBeGreaterThan(0);
    expect(removedLines + lines).toBe(chains[0]?.last);
    const copy = await copyOf(b);
    const first = fs.readdirSync(dirname(copy)).find((each) => /\.\d{6}$/.test(each));
    fs.rmSync(join(dirname(copy), first!));
    expect(all(await check([copy]))).toContainEqual(expect.stringMatching(/ (?:is|are) gone\.$/));
  });
});

test.skipIf(postgresMissing !== null)(
  `audit verify of two homes with one database names the other log, and verifies a copy of that log${postgresMissing ?? ''}`,
  async () => {
    const { address, drop } = await createDatabase();
    onTestFinished(drop);
    const store = `postgres://${address.user}@127.0.0.1:${address.port}/${address.database}`;
    const [one, two] = [await home({ store }), await home({ store })];
    expect(await one.run(['domain', 'tunnel', 'example.org'])).toMatchObject({ exit: 0 });
    fs.mkdirSync(two.at('data'), { mode: 0o700 });
    fs.copyFileSync(one.at('data', 'master.key'), two.at('data', 'master.key'));
    expect(await two.run(['domain', 'tunnel', 'example.net'])).toMatchObject({ exit: 0 });
    const log = two.at('data', 'audit.jsonl');
    const alone = await one.run(['audit', 'verify']);
    expect(alone).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining(`Not here: ${log} of `) as string,
    });
    expect(await one.run(['audit', 'verify', '--all'])).toMatchObject({ exit: 1 });
    expect(await one.run(['audit', 'verify', '--all', log])).toMatchObject({ exit: 0 });
    expect(await one.json(['audit', 'verify', log])).toMatchObject({
      ok: true,
      copies: [{ file: log, ok: true, behind: [] }],
      absent: [],
    });
    expect(await one.run(['audit', 'verify', one.at('none.jsonl')])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('There is no audit log at') as string,
    });
  },
);
