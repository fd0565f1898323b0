import { type ChildProcess, spawn, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const commands: Readonly<Record<string, readonly string[]>> = {
  darwin: ['open'],
  win32: ['rundll32', 'url.dll,FileProtocolHandler'],
  linux: ['xdg-open'],
};

/** The machine of the person. */
export interface Machine extends Pick<NodeJS.Process, 'platform' | 'env'> {
  readonly start: (
    program: string,
    args: readonly string[],
    options: SpawnOptions,
  ) => Pick<ChildProcess, 'unref' | 'once'>;
}

const here: Machine = { platform: process.platform, env: process.env, start: spawn };

/**
 * Returns the function that opens an address in the browser of this machine; null: there is none. Other users
 * can read arguments of programs, so the browser gets an address that redirects to the real one once.
 */
export function browserOf({ platform, env, start }: Machine = here): ((url: string) => Promise<void>) | null {
  const [program, ...args] = commands[platform] ?? [];
  const hasScreen = platform !== 'linux' || (env['DISPLAY'] ?? env['WAYLAND_DISPLAY'] ?? '') !== '';
  if (program === undefined || !hasScreen) return null;
  return async (url) => {
    // Large enough for the cookies that servers on other ports of the host have set.
    const server = createServer({ maxHeaderSize: 1_048_576 }, (_request, response) => {
      response.writeHead(303, { location: url, connection: 'close' }).end();
      server.close();
    });
    server.listen(0, '127.0.0.1').unref();
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const child = start(program, [...args, `http://127.0.0.1:${port}/`], { stdio: 'ignore', detached: true });
    child.unref();
    // The address was printed, so a browser that does not start is no failure.
    child.once('error', () => server.close());
  };
}
