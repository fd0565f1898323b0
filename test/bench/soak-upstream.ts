/**
 * Upstream of soak.ts: `node soak-upstream.ts FOLDER PORT`. `GET /user/N` returns N bytes; a POST returns the
 * number of received bytes.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';

const [folder = '.', port = '0'] = process.argv.slice(2);
const piece = Buffer.alloc(1_048_576, 'x');

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method === 'POST') {
    let bytes = 0;
    for await (const chunk of request) bytes += (chunk as Buffer).length;
    response.end(String(bytes));
    return;
  }
  const bytes = Number(request.url?.slice('/user/'.length));
  response.writeHead(200, { 'content-length': bytes });
  for (let left = bytes; left > 0; left -= piece.length) {
    if (!response.write(left < piece.length ? piece.subarray(0, left) : piece)) await once(response, 'drain');
  }
  response.end();
}

const identity = {
  key: readFileSync(join(folder, 'leaf.key')),
  cert: readFileSync(join(folder, 'leaf.pem')),
};
// An upload may last as long as it likes.
createServer({ ...identity, requestTimeout: 0 }, (request, response) => {
  answer(request, response).catch(() => response.destroy());
}).listen(Number(port), '127.0.0.1');
