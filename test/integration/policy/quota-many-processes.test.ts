/**
 * Real processes that take from one file as fast as they can: together they never get more than the limit
 * gives.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import type { RuleLimit } from '../../../src/proxy/policy/rule.ts';
import { createSharedQuota } from '../../../src/agents/quota/shared-quota.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const program = fileURLToPath(new URL('../../support/quota-taker.ts', import.meta.url));

interface Taker {
  readonly ready: Promise<void>;
  /** Resolves when it got its first request. */
  readonly first: Promise<void>;
  readonly go: () => void;
  readonly kill: () => void;
  /** The last line of a process with its number of admitted requests, even if it was killed. */
  readonly ended: Promise<{ readonly got: number; readonly result: string }>;
}

function start(path: string, limits: readonly RuleLimit[], requests: number): Taker {
  const child = spawn(process.execPath, [program, path, JSON.stringify(limits), String(requests)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.on('error', () => {});
  onTestFinished(() => void child.kill('SIGKILL'));
  const ready = Promise.withResolvers<void>();
  const first = Promise.withResolvers<void>();
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    if (said.includes('ready\n')) ready.resolve();
    if (said.includes('.')) first.resolve();
  });
  return {
    ready: ready.promise,
    first: first.promise,
    go: () => void child.stdin.write('go\n'),
    kill: () => void child.kill('SIGKILL'),
    ended: new Promise((resolve) => {
      child.once('close', () =>
        resolve({ got: said.split('.').length - 1, result: said.trim().split('\n').at(-1) ?? '' }),
      );
    }),
  };
}

async function startAll(
  path: string,
  limits: readonly RuleLimit[],
  requests: number,
): Promise<readonly Taker[]> {
  const takers = Array.from({ length: 4 }, () => start(path, limits, requests));
  await Promise.all(takers.map(({ ready }) => ready));
  return takers;
}

const slow: RuleLimit = { kind: 'rate', key: 'slow', per: 'rule', count: 1, perMs: 86_400_000, burst: 500 };
const day: RuleLimit = { kind: 'budget', key: 'day', per: 'agent', requests: 400, bytes: null };
const fast: RuleLimit = { kind: 'rate', key: 'fast', per: 'grant', count: 1_000, perMs: 1_000, burst: 50 };

const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);

test.each([
  ['a bucket', [slow], 500],
  ['a budget', [day], 400],
  ['both', [slow, day], 400],
])('four processes together get exactly the quota from %s', async (_what, limits, has) => {
  const takers = await startAll(`${await tempFolder()}/quota.db`, limits, 300);
  for (const { go } of takers) go();
  const got = (await Promise.all(takers.map(({ ended }) => ended))).map((it) => it.got);
  expect(sum(got)).toBe(has);
});

test('four processes get no more from a refilling bucket than its burst and the refill', async () => {
  const takers = await startAll(`${await tempFolder()}/quota.db`, [fast], 2_000);
  for (const { go } of takers) go();
  const results = (await Promise.all(takers.map(({ ended }) => ended))).map(
    ({ result }) => JSON.parse(result) as { got: number; from: number; to: number },
  );
  const from = Math.min(...results.map((it) => it.from));
  const to = Math.max(...results.map((it) => it.to));
  const got = sum(results.map((it) => it.got));
  expect(got).toBeLessThanOrEqual(50 + (to - from));
  expect(got).toBeGreaterThan(50);
});

test('a killed process returns no quota, and the other processes use what remains', async () => {
  const path = `${await tempFolder()}/quota.db`;
  const wide: RuleLimit = { ...slow, burst: 100_000 };
  const takers = await startAll(path, [wide], 50_000);
  for (const { go } of takers) go();
  const [victim, ...rest] = takers;
  await victim!.first;
  victim!.kill();
  await victim!.ended;
  for (const taker of rest) taker.kill();
  const got = sum((await Promise.all(takers.map(({ ended }) => ended))).map((it) => it.got));

  const quota = createSharedQuota(path);
  onTestFinished(() => quota.close());
  const narrow: RuleLimit = { ...wide, burst: got + 100 };
  let left = 0;
  while (quota.take([narrow], { agent: 'ci', grant: 'grant-1' }, Date.now()).ok) left += 1;
  // Counts that a process took and did not report before it died: one each.
  expect(left).toBeLessThanOrEqual(100);
  expect(left).toBeGreaterThanOrEqual(100 - takers.length);
});
