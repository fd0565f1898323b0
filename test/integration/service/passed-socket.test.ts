/** A socket that a service manager passes: systemd.socket(5), sd_listen_fds(3). */
import { once } from 'node:events';
import { get } from 'node:http';
import { describe, expect, test } from 'vitest';
import { manager } from '../../support/service-manager.ts';

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
    // No process accepts yet: the connection waits in the socket.
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

  test('is refused if more than one socket was passed', async () => {
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
