import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { probeOf } from '../../../../src/cli/status/ask-proxy.ts';
import { reportContext } from '../../../../src/store/vault/instance.ts';
import { newMasterKey } from '../../../../src/store/vault/key-source.ts';
import { createVault, type Ring } from '../../../../src/store/vault/vault.ts';

it('status opens the report of a proxy after a master key rotation that this process has not read', async () => {
  const first = { master: newMasterKey(), since: null, retiredAt: null };
  const ring: Ring = [{ master: newMasterKey(), since: 0, retiredAt: null }, first];
  const report = [{ grant: 'g', sentence: 's', hint: 'h' }];
  const sealed = createVault(ring).seal(reportContext, Buffer.from(JSON.stringify(report)));
  const body = { status: 'ok', instance: '0'.repeat(16), sealed: Buffer.from(sealed).toString('base64') };
  const server = createServer((_request, response) => response.end(JSON.stringify(body)));
  onTestFinished(() => void server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const listen = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
  const vault = createVault([first], { reload: async () => ring });
  const probe = probeOf({ proxy: { listen } } as Parameters<typeof probeOf>[0]);
  expect(await probe.unreadable(vault)).toEqual(report);
});
