import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { expect, it } from 'vitest';
import { startSidekey, type TestSidekey } from '../../support/sidekey.ts';

const host = 'api.test';

/** A tunnel with one exchange in it, which brings the ticket. */
async function come(sidekey: TestSidekey, session?: Buffer) {
  const tcp = connect(sidekey.port, '127.0.0.1');
  tcp.write(`CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}:443\r\n\r\n`);
  const [answer] = (await once(tcp, 'data')) as [Buffer];
  expect(answer.toString('latin1')).toMatch(/^HTTP\/1\.1 200 /);
  const socket = connectTls({ socket: tcp, servername: host, ca: sidekey.caPem, session });
  let ticket: Buffer | undefined;
  socket.on('session', (given) => (ticket = given));
  await once(socket, 'secureConnect');
  socket.write('TRACE / HTTP/1.1\r\nHost: api.test\r\n\r\n');
  await once(socket, 'data');
  const isResumed = socket.isSessionReused();
  socket.destroy();
  return { isResumed, ticket };
}

it('a session ticket is accepted only by processes with the same key material', async () => {
  const domains = { [host]: { grant: 'acme' } };
  const ticketMaterial = randomBytes(48);
  const first = await startSidekey({ domains, ticketMaterial });
  const worker = await startSidekey({ domains, ticketMaterial, folder: first.folder });
  const stranger = await startSidekey({ domains, folder: first.folder });
  const { isResumed, ticket } = await come(first);
  expect(isResumed).toBe(false);
  expect((await come(first, ticket)).isResumed).toBe(true);
  expect((await come(worker, ticket)).isResumed).toBe(true);
  expect((await come(stranger, ticket)).isResumed).toBe(false);
});
