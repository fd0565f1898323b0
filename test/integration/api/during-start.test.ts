import { expect, test, vi } from 'vitest';
import { freePort } from '../../support/free-port.ts';
import { startService } from '../../support/service.ts';

const api = vi.hoisted(() => ({ port: 0 }));

/** Sends a request to the API, if it listens already, while the tracer is loaded. */
vi.mock('../../../src/proxy/telemetry/traces.ts', async (importOriginal) => {
  if (api.port !== 0) await fetch(`http://127.0.0.1:${api.port}/v2/grants`).catch(() => {});
  return importOriginal();
});

test('a request during a start with traces does not break the API', async () => {
  api.port = await freePort();
  const { call } = await startService({
    config: {
      admin: { listen: `127.0.0.1:${api.port}` },
      telemetry: { traces: { url: 'http://127.0.0.1:1/v1/traces' } },
    },
  });
  expect(await call('GET /v2/grants')).toMatchObject({ status: 200 });
});
