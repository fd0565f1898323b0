import { spawn } from 'node:child_process';
import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { AuditLine } from '../../../src/domain/event.ts';
import { home, program, type Home } from '../../support/command-line.ts';

/** A log with a grant, a change and an agent in it. */
async function homeWithHistory(): Promise<Home> {
  const at = await home();
  await at.grant('work', { type: 'api_key', value: 'secret' });
  await at.run(['domain', 'tunnel', 'example.org']);
  await at.run(['agent', 'create', 'ci']);
  return at;
}

const lines = (stdout: string) =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as AuditLine);

describe('sidekey audit', () => {
  test('shows the last events in columns, or as stored in the file', async () => {
    const at = await homeWithHistory();
    const { stdout } = await at.run(['audit', 'tail']);
    const time = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`;
    expect(stdout).toMatch(
      new RegExp(
        [
          `^TIME +EVENT +AGENT +REQUEST +GRANT +RESULT +TOOK\n${time}  key\\.created     -      -            -      master key \\w+, by \\S+`,
          `${time}  store\\.created   -      -            -      sealed with the master key \\w+, by \\S+`,
          `${time}  grant\\.added     -      acme         work   ok, by \\S+`,
          `${time}  domain\\.changed  -      example\\.org  -      tunnel, by \\S+`,
          `${time}  agent\\.added     ci     -            -      \\w+, by \\S+\n$`,
        ].join('\n'),
      ),
    );
    const last = lines((await at.run(['audit', 'tail', '-n', '2', '--json'])).stdout);
    expect(last.map(({ event }) => event)).toEqual(['domain.changed', 'agent.added']);
  });

  test('follows new events until it is interrupted', async () => {
    const at = await homeWithHistory();
    const follower = spawn(
      process.execPath,
      [program, 'audit', 'tail', '-f', '-n', '1', '--json', '--config', at.configFile],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    onTestFinished(() => void follower.kill('SIGKILL'));
    const ended = new Promise((resolve) => follower.once('exit', resolve));
    const seen = createInterface(follower.stdout)[Symbol.asyncIterator]();
    const next = async () => JSON.parse(String((await seen.next()).value)) as AuditLine;
    expect(await next()).toMatchObject({ event: 'agent.added' });
    await at.run(['agent', 'remove', 'ci']);
    expect(await next()).toMatchObject({ event: 'agent.removed', agent: 'ci' });
    follower.kill('SIGINT');
    expect(await ended).toBe(0);
  });

  test('finds events by their fields', async () => {
    const at = await homeWithHistory();
    const events = async (...args: string[]) => {
      const { stdout } = await at.run(['audit', 'query', ...args, '--json']);
      return stdout === '' ? [] : lines(stdout).map(({ event }) => event);
    };
    expect(await events()).toEqual([
      'key.created',
      'store.created',
      'grant.added',
      'domain.changed',
      'agent.added',
    ]);
    expect(await events('--event', 'grant.*')).toEqual(['grant.added']);
    expect(await events('--grant', 'work')).toEqual(['grant.added']);
    expect(await events('--host', 'EXAMPLE.org.')).toEqual(['domain.changed']);
    expect(await events('--agent', 'ci')).toEqual(['agent.added']);
    expect(await events('--since', '1h', '--code', 'rule_denied')).toEqual([]);
    expect(await events('--until', '1h')).toEqual([]);
    expect(await events('--port', '8443')).toEqual([]);
    for (const port of ['0', '65536', '443x', '-1'])
      expect(await at.run(['audit', 'query', `--port=${port}`])).toMatchObject({
        exit: 2,
        stderr: expect.stringContaining('--port is not a port.'),
      });
    const unknown = await at.run(['audit', 'query', '--grant', 'wrok']);
    expect(unknown).toMatchObject({
      exit: 4,
      stdout: '',
      stderr: expect.stringContaining('There is no grant wrok; did you mean work?'),
    });
    const wrong = await at.run(['audit', 'query', '--since', 'yesterday']);
    expect(wrong).toMatchObject({ exit: 2, stderr: expect.stringContaining('--since is not a time.') });
  });

  test('verifies an intact log, and locates problems in a damaged log', async () => {
    const at = await homeWithHistory();
    expect(await at.run(['audit', 'verify'])).toEqual({
      exit: 0,
      stdout: 'The audit log is intact: 5 lines in 1 file, 1 writer.\n',
      stderr: '',
    });
    const file = at.at('data', 'audit.jsonl');
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('example.org', 'example.com'));
    const edited = await at.run(['audit', 'verify']);
    expect(edited.exit).toBe(1);
    expect(edited.stdout).toMatch(
      /^The audit log data\/audit\.jsonl is damaged: 1 problem in .+\n {2}data\/audit\.jsonl:4: Line 4 of .+ was changed after it was written\.\nKeep the file: it is evidence, and .+ sidekey audit verify COPY\n$/,
    );
    await writeFile(file, text.split('\n').slice(0, 4).join('\n').concat('\n'));
    const cut = await at.run(['audit', 'verify', '--json']);
    expect(cut.exit).toBe(1);
    expect(JSON.parse(cut.stdout)).toMatchObject({ ok: false, problems: [{ kind: 'cut' }] });
  });

  test('creates and changes no file, and claims no log slot', async () => {
    const empty = await home();
    const before = await empty.everything();
    for (const command of ['tail', 'verify', 'query']) {
      const ran = await empty.run(['audit', command]);
      expect(ran.exit).toBe(0);
    }
    expect(await empty.everything()).toEqual(before);

    const at = await homeWithHistory();
    const then = await at.everything();
    for (const command of ['tail', 'verify', 'query']) await at.run(['audit', command]);
    expect(await at.everything()).toEqual(then);
  });

  test('escapes control characters for the terminal', async () => {
    const at = await homeWithHistory();
    const file = at.at('data', 'audit.jsonl');
    const first = (await readFile(file, 'utf8')).split('\n').find((line) => line.includes('"acme"')) ?? '';
    await appendFile(file, `${first.replace('"acme"', String.raw`"\u001b[31mred"`)}\n`);
    const { stdout } = await at.run(['audit', 'tail']);
    expect(stdout).not.toContain('\u001b');
    expect(stdout).toContain(String.raw`\u001b[31mred`);
  });

  test('ends when its reader closes the pipe', async () => {
    const at = await homeWithHistory();
    const child = spawn(process.execPath, [program, 'audit', 'query', '--config', at.configFile], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
    const exit = await new Promise((resolve) => child.once('close', resolve));
    expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' });
  });
});
