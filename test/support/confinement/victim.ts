/**
 * A program of the same user beside a run. Arguments: the path of a datagram socket, a secret. Works in the
 * project.
 */
import { createServer } from 'node:net';
import { call, unixAddress } from './system.ts';

const address = unixAddress(process.argv[2] ?? '');
call('bind', call('socket', 1, 2, 0), address, address.length);
createServer((socket) => socket.destroy()).listen('relative.sock', () => process.send?.('ready'));
// A queue of messages outlives its process.
const queue = call('msgget', process.pid, 0o1600);
process.on('disconnect', () => {
  call('msgctl', queue, 0, 0);
  process.exit();
});
