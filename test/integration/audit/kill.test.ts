import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { access, newLogFile, openLog, paths, verify } from '../../unit/audit/log-for-test.ts';

const writer = fileURLToPath(new URL('../../support/audit-writer.ts', import.meta.url));

interface Run {
  readonly file: string;
  readonly name: string;
  readonly count: number;
  readonly burst: number;
  readonly maxBytes?: number;
  /** After how many lines of its own to kill it. */
  readonly killAfter?: number;
  /** A command line of the shell in whose place the writer runs. */
  readonly limit?: string;
}

/** Runs a writer and answers what it said. */
async function run({
  file,
  name,
  count,
  burst,
  maxBytes = 1e9,
  killAfter,
  limit = ':',
}: Run): Promise<string[]> {
  const args = [process.execPath, writer, file, name, maxBytes, count, burst].map(String);
  const child = spawn('/bin/sh', ['-c', `${limit}; exec "$@"`, 'sh', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'close');
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
  const said: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    said.push(line);
    if (said.length === killAfter) child.kill('SIGKILL');
  }
  const [code, signal]: unknown[] = await ended;
  expect([complaint, code, signal]).toEqual(killAfter === undefined ? ['', 0, null] : ['', null, 'SIGKILL']);
  return said;
}

/** Expects a log that verifies and has each of these once. */
async function expectWhole(file: string, acknowledged: readonly string[]): Promise<void> {
  const found = await verify(file);
  expect(found.problems).toEqual([]);
  const inFile = await paths(file);
  const unique = new Set(inFile);
  expect(unique.size).toBe(inFile.length);
  expect(acknowledged.filter((path) => !unique.has(path))).toEqual([]);
}

describe('writers of the audit log that are killed', () => {
  it('leave a log that opens, verifies, and contains every acknowledged event', async () => {
    const file = await newLogFile();
    const acknowledged: string[] = [];
    for (let kill = 1; kill <= 10; kill += 1) {
      const burst = kill % 2 === 0 ? 1 : 40;
      const killAfter = randomInt(1, 400);
      acknowledged.push(
        ...(await run({ file, name: `k${kill}`, count: 1e6, burst, maxBytes: 60_000, killAfter })),
      );
      expect((await verify(file)).problems).toEqual([]);
      const log = await openLog(file);
      expect(log.node).toBe('host/1');
      await log.append(access(`/between/${kill}`));
      await log.close();
      acknowledged.push(`/between/${kill}`);
      await expectWhole(file, acknowledged);
    }
  });

  it('do not affect concurrent writers', async () => {
    const file = await newLogFile();
    const said = await Promise.all([
      run({ file, name: 'steady', count: 3_000, burst: 5, maxBytes: 100_000 }),
      ...[1, 2, 3, 4].map((n) =>
        run({
          file,
          name: `k${n}`,
          count: 1e6,
          burst: 200,
          maxBytes: 100_000,
          killAfter: randomInt(1, 1_000),
        }),
      ),
    ]);
    expect(said[0]).toHaveLength(3_000);
    await expectWhole(file, said.flat());
  });
});

describe('three concurrent processes', () => {
  it('lose no event and leave a log that verifies, while they rotate a small file', async () => {
    const file = await newLogFile();
    const names = ['a', 'b', 'c'];
    const said = await Promise.all(
      names.map((name) => run({ file, name, count: 600, burst: 3, maxBytes: 10_000 })),
    );
    await expectWhole(file, said.flat());
    const all = names.flatMap((name) => Array.from({ length: 600 }, (_, index) => `/${name}/${index + 1}`));
    expect(new Set(await paths(file))).toEqual(new Set(all));
    const { files, chains } = await verify(file);
    expect(files).toBeGreaterThan(20);
    expect(chains.length).toBeLessThanOrEqual(3);
  });
});

describe('a process that reaches its file size limit', () => {
  it('refuses events that it cannot write, and leaves a log that verifies and can be continued', async () => {
    const file = await newLogFile();
    const said = await run({ file, name: 'limited', count: 120, burst: 4, limit: 'ulimit -f 50' });
    const acknowledged = said.filter((line) => line.startsWith('/'));
    expect(said.filter((line) => line === 'refused audit_unavailable')).toHaveLength(
      120 - acknowledged.length,
    );
    expect(acknowledged.length).toBeLessThan(120);
    const log = await openLog(file);
    await log.append(access('/after'));
    await log.close();
    await expectWhole(file, [...acknowledged, '/after']);
    expect(await paths(file)).toEqual([...acknowledged, '/after']);
  });
});
