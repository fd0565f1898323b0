import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { holderStateOf, newHolder } from '../../../src/grants/refresh-lock.ts';

async function child(): Promise<ChildProcess & { readonly pid: number }> {
  const process = spawn('sleep', ['60'], { stdio: 'ignore' });
  onTestFinished(() => void process.kill('SIGKILL'));
  await once(process, 'spawn');
  return process as ChildProcess & { readonly pid: number };
}

test('a lock holder has a unique name, and is alive while its process runs', () => {
  expect(newHolder()).not.toBe(newHolder());
  expect(holderStateOf(newHolder())).toBe('running');
});

test('a lock holder is dead when its process was killed', async () => {
  const process = await child();
  const holder = newHolder(process.pid);
  expect(holderStateOf(holder)).toBe('running');
  const ended = once(process, 'exit');
  process.kill('SIGKILL');
  await ended;
  expect(holderStateOf(holder)).toBe('dead');
});

test('a lock holder is dead when another process has its process id', async () => {
  const { pid } = await child();
  const named = JSON.parse(newHolder()) as object;
  expect(holderStateOf(JSON.stringify({ ...named, pid }))).toBe('dead');
});

test('a lock holder is stopped while its process is stopped, and alive after it continues', async () => {
  const process = await child();
  const holder = newHolder(process.pid);
  process.kill('SIGSTOP');
  await expect.poll(() => holderStateOf(holder)).toBe('stopped');
  process.kill('SIGCONT');
  await expect.poll(() => holderStateOf(holder)).toBe('running');
});

test('a lock holder of another machine, boot or container is elsewhere', () => {
  const named = JSON.parse(newHolder()) as object;
  expect(holderStateOf(JSON.stringify({ ...named, place: 'another' }))).toBe('elsewhere');
});

test.each([
  ['of a system without a boot id', (named: object) => JSON.stringify({ ...named, place: null })],
  ['of an older version', () => '7d4c2d0e-5d3c-4d54-9e58-0f8f4a4f9b52'],
  ['with a malformed name', () => 'null'],
  ['with the process id -1', (named: object) => JSON.stringify({ ...named, pid: -1 })],
])('a lock holder %s is unknown', (_what, written) => {
  const named = JSON.parse(newHolder()) as object;
  expect(holderStateOf(written({ ...named, pid: 2 ** 22 + 1 }))).toBe('unknown');
});
