/**
 * Upstream of streams.ts: `node upstream.ts FOLDER PORT`. Over HTTP/2, `GET /1k` returns 1 KB, and a POST
 * returns each message that it receives. Over HTTP/1.1, it sends an event with its time each second.
 */
import { readFileSync } from 'node:fs';
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import { join } from 'node:path';
import { kilobyteLength } from '../load.ts';

const [folder = '.', port = '0'] = process.argv.slice(2);
const read = (name: string) => readFileSync(join(folder, name));
const wanted = `Bearer ${read('token').toString()}`;
const kilobyte = Buffer.alloc(kilobyteLength, 'x');

/** Event streams in the order of their start, in ten groups that get their events at different times. */
const groups: Set<Http2ServerResponse>[] = Array.from({ length: 10 }, () => new Set());
let [next, turn] = [0, 0];
setInterval(() => {
  for (const response of groups[turn % groups.length]!)
    response.write(`data: ${performance.timeOrigin + performance.now()}\n\n`);
  turn += 1;
}, 100);

function answer(request: Http2ServerRequest, response: Http2ServerResponse): void {
  const { url, headers, stream } = request;
  response.on('error', () => {});
  if (headers.authorization !== wanted) response.writeHead(403).end();
  else if (url === '/1k') response.writeHead(200, { 'content-length': kilobyteLength }).end(kilobyte);
  else if (url === '/user/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(': the head\n\n');
    const group = groups[next++ % groups.length]!.add(response);
    response.once('close', () => group.delete(response));
  } else {
    response.writeHead(200, { 'content-type': 'application/grpc' });
    response.addTrailers({ 'grpc-status': '0' });
    request.pipe(response);
    stream.on('error', () => {});
  }
}

createSecureServer({ key: read('leaf.key'), cert: read('leaf.pem'), allowHTTP1: true }, answer).listen(
  Number(port),
  '127.0.0.1',
  4_096,
);
