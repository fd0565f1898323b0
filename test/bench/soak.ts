/**
 * `npm run bench -- --section soak --gigabytes 10`: one body down and one up, through an intercepted tunnel,
 * and what the proxy keeps of them in memory. It fails where that grows with the body.
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDisplay, table } from '../../src/cli/display.ts';
import { openSocket } from './connection.ts';
import { startNodeUpstream } from './node-ground.ts';
import type { Running } from './process.ts';
import { prepareInstance, type Stand, startInstance } from './stand.ts';
import { sidekey } from './subjects/sidekey.ts';

const gigabyte = 1_073_741_824;

const piece = Buffer.alloc(1_048_576, 'x');

/** Bytes between two looks at the memory. */
const step = 64 * piece.length;

/** Megabytes that may be added by what comes after the first gigabyte: garbage that is not collected yet. */
const mayGrow = 64;

/** Totals of one direction. */
interface Passage {
  readonly seconds: number;
  /** Megabytes before it. */
  readonly before: number;
  /** The most that were seen: up to the mark, and in all. */
  readonly atMark: number;
  readonly atEnd: number;
}

export async function benchSoak({ gigabytes }: { readonly gigabytes: number }): Promise<void> {
  const bytes = Math.floor((gigabytes * gigabyte) / piece.length) * piece.length;
  const mark = Math.min(gigabyte, bytes / 2);
  const folder = await mkdtemp(join(tmpdir(), 'sidekey-soak-'));
  const running: Running[] = [];
  try {
    const { ground, upstream } = await startNodeUpstream(folder, 'soak-upstream.ts');
    running.push(upstream);
    const subject = sidekey(ground);
    const stand = await startInstance(ground, subject, await prepareInstance(ground, subject, 'soak'));
    if (stand.program !== null) running.push(stand.program);
    const down = await pass(stand, mark, downloadOf(bytes));
    const up = await pass(stand, mark, uploadOf(bytes));
    report(bytes, mark, { down, up });
  } finally {
    await Promise.all(running.map((program) => program.stop()));
    await rm(folder, { recursive: true, force: true });
  }
}

/** Has one body pass, and looks at the proxy's memory on the way. */
async function pass({ program, target }: Stand, mark: number, run: Run): Promise<Passage> {
  const socket = await openSocket(target);
  const before = program?.residentMb() ?? 0;
  let [atMark, atEnd, next] = [before, before, 0];
  const begin = performance.now();
  await run(socket, `${target.host}:${target.port}`, (bytes) => {
    if (bytes < next) return;
    next += step;
    atEnd = Math.max(atEnd, program?.residentMb() ?? 0);
    if (bytes <= mark) atMark = atEnd;
  });
  socket.destroy();
  return { seconds: (performance.now() - begin) / 1_000, before, atMark, atEnd };
}

type Run = (socket: Socket, authority: string, watch: (bytes: number) => void) => Promise<void>;

const downloadOf =
  (bytes: number): Run =>
  async (socket, authority, watch) => {
    socket.write(`GET /user/${bytes} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    const [first] = (await once(socket, 'data')) as [Buffer];
    let got = first.length - bodyAt(first);
    await new Promise<void>((resolve, reject) => {
      socket.on('data', (chunk: Buffer) => {
        got += chunk.length;
        watch(got);
        if (got >= bytes) resolve();
      });
      socket.once('close', () => reject(new Error(`the download ended at ${got} of ${bytes} bytes`)));
    });
  };

const uploadOf =
  (bytes: number): Run =>
  async (socket, authority, watch) => {
    socket.write(`POST /upload HTTP/1.1\r\nHost: ${authority}\r\nContent-Length: ${bytes}\r\n\r\n`);
    const answered = once(socket, 'data') as Promise<[Buffer]>;
    // A connection that is cut has no `drain` any more.
    const cut = new AbortController();
    socket.once('close', () => cut.abort(new Error('the upload was cut')));
    for (let sent = 0; sent < bytes; sent += piece.length) {
      watch(sent);
      if (!socket.write(piece)) await once(socket, 'drain', { signal: cut.signal });
    }
    const [answer] = await answered;
    const counted = answer.toString('latin1', bodyAt(answer));
    if (counted !== String(bytes)) throw new Error(`the upstream counted ${counted} of ${bytes} bytes`);
  };

/** Returns the start of the body in the first bytes of a response. */
function bodyAt(answer: Buffer): number {
  const end = answer.indexOf('\r\n\r\n');
  if (end < 0 || !answer.toString('latin1', 0, 12).endsWith(' 200'))
    throw new Error(`not the answer: ${answer.toString('latin1', 0, 200)}`);
  return end + 4;
}

const size = (count: number) => `${(count / gigabyte).toFixed(count < gigabyte ? 2 : 0)} GB`;

function report(bytes: number, mark: number, passages: Readonly<Record<string, Passage>>): void {
  console.log(
    `A body of ${size(bytes)} each way through an intercepted tunnel; resident memory of the proxy.\n`,
  );
  const rows = Object.entries(passages).map(([way, { seconds, before, atMark, atEnd }]) => [
    way,
    (bytes / seconds / 1e6).toFixed(0),
    before.toFixed(0),
    atMark.toFixed(0),
    atEnd.toFixed(0),
  ]);
  console.log(
    table(
      createDisplay({}, {}),
      ['way', 'MB/s', 'MB before', `most MB, first ${size(mark)}`, 'most MB, in all'],
      rows,
    ),
  );
  for (const [way, { atMark, atEnd }] of Object.entries(passages)) {
    if (atEnd > atMark + mayGrow)
      throw new Error(
        `${way}: memory grew by ${(atEnd - atMark).toFixed(0)} MB behind the first ${size(mark)}`,
      );
  }
}
