import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { expect, onTestFinished, test } from 'vitest';
import { openEntry } from '../../../src/proxy/entry.ts';
import { makeTestAuthority } from '../../support/certificates.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const authority = makeTestAuthority('servers');

/** An entry on a port, with a certificate of this name, and a timer that the test runs. */
async function listening(name: string) {
  const folder = await tempFolder();
  const files = { cert: join(folder, 'proxy.pem'), key: join(folder, 'proxy.key') };
  const write = async (of: string) => {
    const { cert, key } = authority.issue([of]);
    await Promise.all([writeFile(files.cert, cert), writeFile(files.key, key)]);
  };
  await write(name);
  const timer: { run: (() => void) | null } = { run: null };
  const timers = {
    after(_ms: number, run: () => void) {
      timer.run = run;
      return () => void (timer.run = null);
    },
  };
  const log = { error() {}, warn() {}, info() {}, debug() {} };
  const tls = {
    files: { ...files, clientCa: null, setting: 'proxy.tls' as const },
    agents: new Map<string, string>(),
  };
  const entry = await openEntry({ tls, balancers: [] }, { log, timers });
  const direct = { address: '127.0.0.1:1', loopback: true, owner: () => 'own' as const, tunnel: null };
  const server = createServer((socket) => {
    // Tickets come before the first byte. The client may leave before either.
    entry.enter(socket, direct).then(
      (entered) => entered?.stream.on('error', () => {}).write('.'),
      () => socket.destroy(),
    );
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  onTestFinished(() => {
    entry.close();
    server.close();
  });
  return {
    write,
    /** Reads the files, and resolves when that is done. */
    look: async () => {
      const run = timer.run!;
      timer.run = null;
      run();
      while (timer.run === null) await new Promise((resolve) => setImmediate(resolve));
    },
    shake: async (options: { readonly session?: Buffer } = {}): Promise<TLSSocket> => {
      const client = connect({
        port,
        host: '127.0.0.1',
        ca: authority.cert,
        checkServerIdentity: () => undefined,
        ...options,
      });
      client.on('error', () => {});
      onTestFinished(() => void client.destroy());
      await once(client, 'secureConnect');
      return client;
    },
  };
}

test('a renewed certificate is shown to the next client, without a restart', async () => {
  const { write, look, shake } = await listening('before.acme.test');
  expect((await shake()).getPeerX509Certificate()?.subjectAltName).toBe('DNS:before.acme.test');
  await write('after.acme.test');
  await look();
  expect((await shake()).getPeerX509Certificate()?.subjectAltName).toBe('DNS:after.acme.test');
});

test('no session is resumed, even after a renewal', async () => {
  const { write, look, shake } = await listening('proxy.acme.test');
  const isResumed = async () => {
    const first = await shake();
    const byte = once(first, 'data');
    let session: Buffer | undefined;
    first.on('session', (ticket: Buffer) => (session = ticket));
    await byte;
    return (await shake(session === undefined ? {} : { session })).isSessionReused();
  };
  expect(await isResumed()).toBe(false);
  await write('proxy.acme.test');
  await look();
  expect(await isResumed()).toBe(false);
});
