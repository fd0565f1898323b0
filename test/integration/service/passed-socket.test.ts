/** A socket that a service manager passes: systemd.socket(5), sd_listen_fds(3). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openListeningSocket } from '../../../src/app/worker-ipc.ts';
import { home, program } from '../../support/command-line.ts';

interface Manager {
  readonly port: number;
  /** Starts the proxy with the socket as descriptor 3. Resolves when it serves, or with its stderr when it has ended. */
  readonly start: (variables?: string) => Promise<{ readonly child: ChildProcess; readonly stderr: string }>;
}

/** Holds a socket, as a service manager does, and never accepts from it. */
async function manager(config: object): Promise<Manager> {
  const socket = await openListeningSocket('127.0.0.1', 0);
  onTestFinished(() => socket.close());
  const { port } = socket.address;
  const at = await home();
  const text = {
    version: 1,
    proxy: { listen: `127.0.0.1:${port}` },
    admin: { listen: '127.0.0.1:0' },
    ...config,
  };
  await writeFile(at.configFile, JSON.stringify(text));
  const { fd } = socket.handle as unknown as { readonly fd: number };
  return {
    port,
    async start(variables = 'LISTEN_FDS=1 LISTEN_PID=$$') {
      const child = spawn(
        'sh',
        [
          '-c',
          `${variables} exec "$0" "$@"`,
          process.execPath,
          program,
          'start',
          '--json',
          '--config',
          at.configFile,
        ],
        { stdio: ['ignore', 'pipe', 'pipe', fd] },
      );
      onTestFinished(() => void child.kill('SIGKILL'));
      let stderr = '';
      child.stderr!.setEncoding('utf8').on('data', (piece: string) => (stderr += piece));
      await Promise.race([once(child.stdout!, 'data'), once(child, 'close')]);
      return { child, stderr };
    },
  };
}

function health(port: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path: '/healthz', agent: false }, (answer) =>
      resolve(answer.resume().statusCode),
    ).once('error', reject);
  });
}

describe('a socket passed by a service manager', { timeout: 60_000 }, () => {
  test.each([1, 2])('serves, and keeps connections over a restart, with %i workers', async (workers) => {
    const { port, start } = await manager({ workers });
    const first = await start();
    expect(await health(port)).toBe(200);
    first.child.kill('SIGTERM');
    await once(first.child, 'close');
    // Nobody serves: the connection waits in the socket.
    const waiting = health(port);
    await start();
    expect(await waiting).toBe(200);
  });

  test('is refused if proxy.listen names another address', async () => {
    const { start } = await manager({ proxy: { listen: '127.0.0.1:9' } });
    const { child, stderr } = await start();
    expect(child.exitCode).not.toBe(0);
    expect(stderr).toContain('and proxy.listen is 127.0.0.1:9');
  });

  test('is refused if it is not the only one', async () => {
    const { start } = await manager({});
    const { stderr } = await start('LISTEN_FDS=2 LISTEN_PID=$$');
    expect(stderr).toContain('2 sockets instead of one');
  });

  test('is ignored if it was passed to another process', async () => {
    const { start } = await manager({ proxy: { listen: '127.0.0.1:0' } });
    const { child } = await start('LISTEN_FDS=1 LISTEN_PID=1');
    expect(child.exitCode).toBeNull();
  });
});
