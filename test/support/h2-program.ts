/** A program that sends HTTP/2 through a proxy, and runs until it is killed. */
import { connect as connectH2 } from 'node:http2';
import { request } from 'node:http';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

const [proxyPort, authority, servername, kind] = process.argv.slice(2) as [string, string, string, string];
const tunnel = request({ port: Number(proxyPort), method: 'CONNECT', path: authority });
tunnel.on('connect', (_answer, socket: Socket) => {
  const inner = connectTls({ socket, servername, ALPNProtocols: ['h2'] });
  const session = connectH2(`https://${authority}`, { createConnection: () => inner });
  session.once('remoteSettings', () => {
    const fields =
      kind === 'webSocket'
        ? { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/', 'sec-websocket-version': '13' }
        : { ':method': kind === 'upload' ? 'POST' : 'GET' };
    const stream = session.request(fields, { endStream: kind === 'request' || kind === 'stream' });
    if (kind === 'upload') stream.write('some');
    stream.resume();
  });
});
tunnel.end();
