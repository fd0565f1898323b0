import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import type { Caller } from '../../../src/api/caller.ts';
import type { ServiceParts } from '../../../src/api/parts.ts';
import { createService } from '../../../src/api/service.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { startService } from '../../support/service.ts';

test('requests that read the whole audit log run one at a time, and are dropped if the client disconnects or loses its permission', async () => {
  const { sidekey } = await startService();
  const reading: (() => void)[] = [];
  const config = () =>
    new Promise((resolve) => {
      reading.push(() => resolve(sidekey.proxy.config()));
    });
  let closed = 0;
  const server = createServer((request, response) => {
    response.once('close', () => (closed += 1));
    void service.handle(request, response);
  });
  server.listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const parts = { ...sidekey.proxy.state, config, url: () => url, now: Date.now };
  const caller = { user: null, role: 'auditor', scopes: new Set(['audit:read']) } as unknown as Caller;
  let came = 0;
  let isAllowed = true;
  const service = createService(parts as unknown as ServiceParts, async () => {
    came += 1;
    if (isAllowed) return caller;
    throw new SidekeyError('api_auth_required');
  });
  const ask = (signal?: AbortSignal) =>
    fetch(`${url}/v2/metrics?since=2026-01-01T00:00:00Z&step=86400`, signal === undefined ? {} : { signal });
  const first = ask();
  await expect.poll(() => reading.length).toBe(1);
  const gone = new AbortController();
  // The right of the first one was asked again at its turn.
  expect(came).toBe(2);
  const second = ask(gone.signal).catch(() => null);
  await expect.poll(() => came).toBe(3);
  const third = ask();
  await expect.poll(() => came).toBe(4);
  const fourth = ask();
  await expect.poll(() => came).toBe(5);
  gone.abort();
  await second;
  await expect.poll(() => closed).toBe(1);
  expect(reading).toHaveLength(1);
  reading[0]!();
  expect((await first).status).toBe(200);
  await expect.poll(() => reading.length).toBe(2);
  isAllowed = false;
  reading[1]!();
  expect((await third).status).toBe(200);
  expect((await fourth).status).toBe(401);
  expect(reading).toHaveLength(2);
});
