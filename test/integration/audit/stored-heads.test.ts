/** Evidence that was removed or bent beside the store, as `audit verify` and the next command find it. */
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { home, type Home } from '../../support/command-line.ts';

/** A log with some lines, and its name. */
async function withHistory(): Promise<{ at: Home; log: string }> {
  const at = await home();
  for (const host of ['example.org', 'example.net']) await at.run(['domain', 'tunnel', host]);
  return { at, log: at.at('data', 'audit.jsonl') };
}

const verify = (at: Home) => at.run(['audit', 'verify']);

test('verify detects the removal of the log and its head file, even after another command', async () => {
  const { at } = await withHistory();
  for (const name of readdirSync(at.at('data'))) {
    if (name.startsWith('audit.jsonl')) rmSync(at.at('data', name));
  }
  const removed = await verify(at);
  expect(removed).toMatchObject({
    exit: 1,
    stdout: expect.stringContaining('The store names line ') as string,
  });
  for (const reading of ['tail', 'query']) {
    const { stderr } = await at.run(['audit', reading]);
    expect(stderr).toMatch(/was changed after it was written.*\n.*sidekey audit verify/);
    expect(stderr).not.toContain('Nothing was recorded');
  }
  expect((await at.run(['status'])).stdout).toMatch(/✗ audit .*its lines are gone/);
  const next = await at.run(['domain', 'tunnel', 'example.com']);
  expect(next).toMatchObject({
    exit: 0,
    stderr: expect.stringContaining('sidekey audit verify --accept') as string,
  });
  expect(await verify(at)).toMatchObject({
    exit: 1,
    stdout: expect.stringMatching(/Lines 1 to 4 \(writer \S+\) are missing/) as string,
  });
});

test('tail and query of a log that was never written say so', async () => {
  const at = await home();
  for (const reading of ['tail', 'query'])
    expect((await at.run(['audit', reading])).stderr).toMatch(/^Nothing was recorded in .* yet\.\n$/);
});

test('tail, query, verify and status name a log that is a folder', async () => {
  const { at, log } = await withHistory();
  rmSync(log);
  mkdirSync(log);
  for (const reading of ['tail', 'query', 'verify'])
    expect(await at.run(['audit', reading])).toMatchObject({
      exit: 1,
      stderr: `sidekey: The audit log ${log} is not a regular file.\n  → Set audit.file in the config to the path of a file.\n`,
    });
  expect((await at.run(['status'])).stdout).toContain('is not a regular file');
});

test('verify of a log that was cut within a line does not say that no line is missing', async () => {
  const { at, log } = await withHistory();
  const lines = readFileSync(log, 'utf8').split('\n');
  writeFileSync(log, `${lines.slice(0, 2).join('\n')}\n{"v":1`);
  const { exit, stdout } = await verify(at);
  expect(exit).toBe(1);
  expect(stdout).toMatch(/3 to 4 .*missing|3 to 4 of/);
  expect(stdout).toContain('1 unfinished line is in it');
  expect(stdout).not.toContain('no line is missing');
});

test('verify treats an accepted loss as known, and still reports its size', async () => {
  const { at, log } = await withHistory();
  const older = [log, `${log}.head`].map((name) => [name, readFileSync(name)] as const);
  await at.run(['domain', 'tunnel', 'example.com']);
  for (const [name, bytes] of older) writeFileSync(name, bytes);
  expect(await verify(at)).toMatchObject({ exit: 1 });
  const accepted = await at.run(['audit', 'verify', '--accept']);
  expect(accepted).toMatchObject({
    exit: 0,
    stdout: expect.stringMatching(/Lines 5 to 5 of \S+ are gone/) as string,
  });
  const whole = await verify(at);
  expect(whole).toMatchObject({
    exit: 0,
    stdout: expect.stringContaining('1 line is missing, and the loss was accepted') as string,
  });
  const { stdout } = await at.run(['audit', 'query', '--event', 'audit.accepted', '--json']);
  expect(JSON.parse(stdout)).toMatchObject({ by: expect.any(String) as string, client: 'cli' });
});

test('verify reports that a copy of the log has no store to be compared with', async () => {
  const { at } = await withHistory();
  const copy = await home();
  await copy.run(['audit', 'verify']);
  cpSync(at.at('data'), copy.at('data'), { recursive: true });
  for (const name of readdirSync(copy.at('data')))
    if (name.startsWith('sidekey.db')) rmSync(copy.at('data', name));
  const key = readdirSync(at.folder, { recursive: true }).find((name) => String(name).endsWith('.key'));
  if (key !== undefined) cpSync(at.at(String(key)), copy.at(String(key)));
  expect(await verify(copy)).toMatchObject({
    exit: 0,
    stdout: expect.stringContaining('was not compared with the store') as string,
  });
});
