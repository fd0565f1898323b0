// http-mitm-proxy as a proxy that sets a header: `node http-mitm-proxy.mjs PORT FOLDER`.
import './names.mjs';
import { Agent } from 'node:https';
import { Proxy } from 'http-mitm-proxy';

const [port, folder] = process.argv.slice(2);
const proxy = new Proxy();
// It reports every client that goes away.
proxy.onError(() => {});
proxy.onRequest((context, next) => {
  context.proxyToServerRequestOptions.headers.authorization = `Bearer ${process.env.BENCH_TOKEN}`;
  next();
});
proxy.listen({
  host: '127.0.0.1',
  port: Number(port),
  keepAlive: true,
  sslCaDir: folder,
  httpsAgent: new Agent({ keepAlive: true }),
});
