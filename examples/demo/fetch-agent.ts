/**
 * A client for machines without curl: Node's own fetch, which takes the proxy from the environment. Like
 * `curl -v` it tells on stderr what it sent and received, and writes the body to stdout.
 *
 *     HTTPS_PROXY=… NODE_EXTRA_CA_CERTS=… NODE_USE_ENV_PROXY=1 node examples/demo/fetch-agent.ts URL
 */
import { subscribe } from 'node:diagnostics_channel';

// Told by fetch itself, of the very bytes: https://undici.nodejs.org/#/docs/api/DiagnosticsChannel
subscribe('undici:client:sendHeaders', (message) => {
  if (typeof message !== 'object' || message === null || !('headers' in message)) return;
  tell('>', String(message.headers).trimEnd().split('\r\n'));
});

void show();

// Without an await of the module, which the main of the executable cannot have.
async function show(): Promise<void> {
  const response = await fetch(process.argv[2] ?? '');
  tell('<', [
    `HTTP/1.1 ${response.status} ${response.statusText}`,
    ...[...response.headers].map(([name, value]) => `${name}: ${value}`),
  ]);
  process.stdout.write(await response.text());
}

function tell(mark: '>' | '<', head: readonly string[]): void {
  process.stderr.write([...head, ''].map((line) => `${mark} ${line}\n`).join(''));
}
