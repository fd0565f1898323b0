import type { Duplex } from 'node:stream';
import type { RequestHead } from './http/head.ts';
import type { Client } from './http/message.ts';
import { socksVersion } from './http/server/h1-connection.ts';
import { lingerOn } from './http/problem.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { FailureCode } from '../lib/failures.ts';
import { hostOfIpv6 } from './policy/authority.ts';
import { nextChunk } from './client-hello.ts';
import { connectHead, type Opening } from './connect.ts';

/** Methods of authentication (RFC 1928 §3). */
const method = { nothing: 0, password: 2, unacceptable: 0xff };
/** Version of the exchange of user name and password (RFC 1929 §2). */
const passwordVersion = 1;
const connectCommand = 1;
/** Types of addresses, with their number of bytes. A name has its length before it (RFC 1928 §5). */
const addressTypes = { ipv4: 1, name: 3, ipv6: 4 };

/** Replies (RFC 1928 §6). */
const reply = {
  succeeded: 0,
  failure: 1,
  notAllowed: 2,
  hostUnreachable: 4,
  unknownCommand: 7,
  unknownAddress: 8,
};

const unreachable: ReadonlySet<FailureCode> = new Set(['upstream_unreachable', 'upstream_timeout']);

/**
 * Reads the request of a SOCKS5 client (RFC 1928) as an equivalent CONNECT. The user name and password (RFC
 * 1929) are the name and the token of an agent, and are checked like those of a CONNECT. A SidekeyError
 * `bad_request`: the request is not supported, and was answered. Null: the client disconnected.
 */
export async function readSocks(socket: Duplex, client: Client): Promise<Opening | SidekeyError | null> {
  const taken = new Taken(socket);
  try {
    const head = await readRequest(taken, socket);
    if (head instanceof SidekeyError) return head;
    return {
      head,
      socket,
      client,
      established: () => answer(socket, reply.succeeded),
      refused(error) {
        answer(socket, replyFor(error));
        end(socket);
      },
    };
  } catch (error) {
    if (error !== left) throw error;
    socket.destroy();
    return null;
  }
}

async function readRequest(taken: Taken, socket: Duplex): Promise<RequestHead | SidekeyError> {
  await taken.bytes(1);
  const methods = await taken.vector();
  let authorization: string | null = null;
  if (methods.includes(method.password)) {
    socket.write(Buffer.of(socksVersion, method.password));
    await taken.bytes(1);
    const login = Buffer.concat([await taken.vector(), Buffer.from(':'), await taken.vector()]);
    authorization = `Basic ${login.toString('base64')}`;
    socket.write(Buffer.of(passwordVersion, 0));
  } else if (methods.includes(method.nothing)) socket.write(Buffer.of(socksVersion, method.nothing));
  else {
    socket.write(Buffer.of(socksVersion, method.unacceptable));
    end(socket);
    const sentence = 'The SOCKS client offers neither a user name nor no authentication.';
    return new SidekeyError('bad_request', sentence);
  }
  const [, command, , type] = await taken.bytes(4);
  const host = await readHost(taken, type!);
  const port = (await taken.bytes(2)).readUInt16BE();
  if (command === connectCommand && host !== null) return connectHead(`${host}:${port}`, authorization);
  answer(socket, host === null ? reply.unknownAddress : reply.unknownCommand);
  end(socket);
  return new SidekeyError('bad_request', 'The SOCKS client asks for something other than CONNECT.');
}

/** Returns a host in the form of a CONNECT; null: its type is unknown. */
async function readHost(taken: Taken, type: number): Promise<string | null> {
  if (type === addressTypes.name) return (await taken.vector()).toString('latin1');
  if (type === addressTypes.ipv4) return (await taken.bytes(4)).join('.');
  if (type === addressTypes.ipv6) return hostOfIpv6(await taken.bytes(16));
  return null;
}

/** Ends a connection after its last reply, also of a client that does not close. */
function end(socket: Duplex): void {
  socket.on('error', () => socket.destroy()).end();
  lingerOn(socket);
}

function replyFor(error: unknown): number {
  if (!(error instanceof SidekeyError)) return reply.failure;
  if (unreachable.has(error.code)) return reply.hostUnreachable;
  return error.status < 500 ? reply.notAllowed : reply.failure;
}

/** @param code of a reply. Its address is empty, because no client uses it */
function answer(socket: Duplex, code: number): void {
  socket.write(Buffer.of(socksVersion, code, 0, addressTypes.ipv4, 0, 0, 0, 0, 0, 0));
}

const left = new Error('the client left');

/** Reads given numbers of bytes from a client. Bytes beyond them stay in its stream. */
class Taken {
  readonly #from: Duplex;

  constructor(from: Duplex) {
    this.#from = from;
  }

  /** Rejects with `left`. */
  async bytes(count: number): Promise<Buffer> {
    let read = Buffer.alloc(0);
    while (read.length < count) {
      const chunk = await nextChunk(this.#from);
      if (chunk === null) throw left;
      read = Buffer.concat([read, chunk]);
    }
    if (read.length > count) this.#from.unshift(read.subarray(count));
    return read.subarray(0, count);
  }

  /** Reads bytes whose number is in the byte before them. */
  async vector(): Promise<Buffer> {
    const [length] = await this.bytes(1);
    return this.bytes(length!);
  }
}
