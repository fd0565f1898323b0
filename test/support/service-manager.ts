import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { onTestFinished } from 'vitest';
import { openListeningSocket } from '../../src/app/worker-ipc.ts';
import { type Home, home, program } from './command-line.ts';

/** A service manager that passes its socket to proxies. */
export interface Manager {
  readonly at: Home;
  readonly port: number;
  /**
   * Starts the proxy with the socket as descriptor 3. Resolves when it serves, or with its stderr when it has
   * ended.
   */
  readonly start: (variables?: string) => Promise<{ readonly child: ChildProcess; readonly stderr: string }>;
}

/** Holds a socket, as a service manager does, and never accepts from it. */
export async function manager(config: object): Promise<Manager> {
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
    at,
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
