import { Server } from 'node:net';
import { expect, onTestFinished, test, vi } from 'vitest';
import { proxiedGet } from '../../support/proxied-get.ts';
import { startService } from '../../support/service.ts';

test('a connection that the system cannot accept is logged, and the proxy and the API serve further ones', async () => {
  const listened = vi.spyOn(Server.prototype, 'listen');
  onTestFinished(() => listened.mockRestore());
  const { sidekey, url } = await startService();
  const servers = new Set(listened.mock.contexts as Server[]);
  expect(servers.size).toBe(2);
  for (const server of servers) server.emit('error', new Error('accept ENOBUFS'));
  expect(sidekey.logged().match(/accept ENOBUFS/g)?.length).toBeGreaterThanOrEqual(2);
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  expect(await proxiedGet(sidekey.url, 'http://sidekey.internal/')).toMatchObject({ status: 200 });
});
