import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { askOwner, probeOf } from '../../../../src/cli/status/ask-proxy.ts';
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

it('reports the owner of the open connection to a listener, and none where nothing listens', async () => {
  const server = createServer((_request, response) => void response.end('{}'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const listen = { host: '127.0.0.1', port };
  const isOpen: (boolean | undefined)[] = [];
  const ownerOf = async (ends: { readonly remotePort?: number | undefined; readonly writable?: boolean }) => {
    isOpen.push(ends.remotePort === port && ends.writable);
    return 'other' as const;
  };
  expect(await askOwner(listen, ownerOf)).toBe('other');
  expect(isOpen).toEqual([true]);
  expect(await askOwner(listen)).toBe('own');
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  expect(await askOwner(listen, ownerOf)).toBe('unknown');
});
