/**
 * A stand-in for nginx where there is none: `node upstream.ts FOLDER PORT`. It answers 403 to what comes
 * without the token, so that each 200 proves that it came.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';

const [folder = '.', port = '0'] = process.argv.slice(2);
const read = (name: string) => readFileSync(join(folder, name));
const cold = createSecureContext({ key: read('cold.key'), cert: read('cold.pem') });
const wanted = `Bearer ${read('token').toString()}`;
const bodies = new Map(['/1k', '/10m'].map((path) => [path, read(`www${path}`)]));
const options = {
  key: read('leaf.key'),
  cert: read('leaf.pem'),
  SNICallback: (name: string, done: (error: null, context?: typeof cold) => void) =>
    name.endsWith('.bench.test') ? done(null, cold) : done(null),
  keepAliveTimeout: 600_000,
  maxRequestsPerSocket: 0,
};
createServer(options, (request, response) => {
  const isRight = request.headers.authorization === wanted;
  const body = request.url === '/upload' ? Buffer.from('ok') : bodies.get(request.url ?? '');
  request.resume().once('end', () => {
    response.writeHead(isRight && body !== undefined ? 200 : 403, {
      'content-type': 'application/json',
      'content-length': isRight ? (body?.length ?? 0) : 0,
    });
    response.end(isRight ? body : '');
  });
}).listen(Number(port), '127.0.0.1', 4_096);
