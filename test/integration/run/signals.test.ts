import { fileURLToPath } from 'node:url';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { hasPseudoTerminal, runInTerminal } from '../../support/pseudo-terminal.ts';
import { program } from '../../support/command-line.ts';
import { runHome } from '../../support/run-command.ts';

/** A program that says which signals it gets, and ends at the one that is named. */
const listener = (last: NodeJS.Signals) =>
  [
    `for (const name of ['SIGINT','SIGQUIT','SIGTERM','SIGHUP','SIGUSR1','SIGUSR2','SIGWINCH','SIGCONT'])`,
    `  process.on(name, () => { console.log('got=' + name); if (name === '${last}') process.exit(3); });`,
    `setInterval(() => {}, 1000); console.log('ready=' + process.pid);`,
  ].join('\n');

describe('signals to sidekey run', () => {
  test.each(['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH', 'SIGCONT', 'SIGINT', 'SIGQUIT'] as const)(
    '%s is forwarded to the program, which decides how to react',
    async (name) => {
      const { start } = await runHome();
      const command = start(['--quiet', '--', process.execPath, '-e', listener(name)]);
      await command.told('ready');
      command.signal(name);
      expect(await command.ended).toMatchObject({ exit: 3, stdout: expect.stringContaining(`got=${name}`) });
    },
  );

  test.skipIf(process.platform !== 'linux')(
    'a program that stops itself stops sidekey run, and both continue together',
    async () => {
      const { start } = await runHome();
      const command = start([
        '--quiet',
        '--',
        'sh',
        '-c',
        'echo ready=$$; kill -STOP $$; echo again=$$; kill -STOP $$; echo on=$$',
      ]);
      await command.told('ready');
      // A shell that waits for the whole would see it stopped: whoever continues it continues the program.
      const isStopped = () => / T /.test(readFileSync(`/proc/${command.pid}/stat`, 'latin1'));
      while (!isStopped()) await new Promise((resolve) => setImmediate(resolve));
      command.signal('SIGCONT');
      // The second stop comes after the look at the start.
      await command.told('again');
      while (!isStopped()) await new Promise((resolve) => setImmediate(resolve));
      command.signal('SIGCONT');
      expect(await command.ended).toMatchObject({ exit: 0, stdout: expect.stringContaining('on=') });
    },
  );

  test.skipIf(process.platform !== 'linux')(
    'a program that stopped before sidekey run listened stops sidekey run too (needs /proc)',
    async () => {
      const stopped = fileURLToPath(new URL('../../support/stopped-child.ts', import.meta.url));
      const whole = spawn(process.execPath, [stopped], { stdio: 'ignore' });
      onTestFinished(() => void whole.kill('SIGKILL'));
      const ended = once(whole, 'exit');
      const isStopped = () => / T /.test(readFileSync(`/proc/${whole.pid}/stat`, 'latin1'));
      while (!isStopped()) await new Promise((resolve) => setImmediate(resolve));
      whole.kill('SIGCONT');
      expect(await ended).toEqual([7, null]);
    },
  );
});

describe.skipIf(!hasPseudoTerminal)('sidekey run in a terminal (needs script of util-linux)', () => {
  test('passes Ctrl-C to the program only once, and keeps the size of the terminal', async () => {
    const { at } = await runHome();
    const script = `trap 'count=$((count+1))' INT; stty size; test -t 0 && test -t 1 && echo is-a-terminal; echo now-press; while [ "\${count:-0}" = 0 ]; do read line; done; echo count=$count; exit 0`;
    // The shell around it has Ctrl-C too, and goes on, as one that a person types at does.
    const shell = `trap : INT; settings=$(stty -g); "$@"; echo ended=$?; test "$settings" = "$(stty -g)" && echo settings=same`;
    const command = [process.execPath, program, 'run', '--config', at.configFile, '--', 'sh', '-c', script];
    const inside = runInTerminal(['sh', '-c', shell, 'sh', ...command], { cwd: at.folder });
    await inside.until((screen) => screen.includes('now-press'));
    inside.type('\u0003');
    await inside.ended;
    const screen = inside.screen();
    expect(screen).toContain('30 100');
    expect(screen).toContain('is-a-terminal');
    expect(screen).toContain('count=1');
    expect(screen).toContain('sidekey: no request came through the proxy');
    expect(screen).toContain('ended=0');
    expect(screen).toContain('settings=same');
  });
});
