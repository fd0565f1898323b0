/**
 * Supervisor that starts a worker and then acknowledges nothing: `node blocked-supervisor.ts PROGRAM CONFIG`.
 * It prints the port and the process id of the worker as JSON.
 */
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { openListeningSocket, type ToWorker } from '../../src/app/worker-ipc.ts';
import { ticketMaterialBytes } from '../../src/ca/leaf-cache.ts';

const [program = '', file = ''] = process.argv.slice(2);
const socket = await openListeningSocket('127.0.0.1', 0);
const worker = fork(program, ['start', '--worker'], {
  stdio: ['pipe', 'inherit', 'inherit', 'ipc'],
  serialization: 'advanced',
});
const serve: ToWorker = {
  kind: 'serve',
  file,
  text: readFileSync(file, 'utf8'),
  pages: { url: null, port: null },
  ticketMaterial: randomBytes(ticketMaterialBytes),
  transparent: false,
};
worker.send(serve, socket.handle as never);
// Node writes this message when the worker has acknowledged the first one.
worker.send({ kind: 'reload' } satisfies ToWorker, () => {
  console.log(JSON.stringify({ port: socket.address.port, pid: worker.pid }));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
