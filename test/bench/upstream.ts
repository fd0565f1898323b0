/** A stand-in for nginx where there is none: `node upstream.ts FOLDER PORT BODY`. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';

const [folder = '.', port = '0', body = ''] = process.argv.slice(2);
const options = {
  key: readFileSync(join(folder, 'leaf.key')),
  cert: readFileSync(join(folder, 'leaf.pem')),
  keepAliveTimeout: 600_000,
};
createServer(options, (request, response) => {
  const isMissing = request.url === '/guarded' && request.headers.authorization === undefined;
  response.writeHead(isMissing ? 403 : 200, {
    'content-type': 'application/json',
    'content-length': body.length,
  });
  response.end(body);
}).listen(Number(port), '127.0.0.1');
