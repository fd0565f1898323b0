import { once } from 'node:events';
import { chmod, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { tempFolder } from './temp-folder.ts';

/** Arguments and environment of a program. */
export interface Recorded {
  readonly words: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** A program in the place of a browser, which opens nothing. Resolves with what it was started with. */
export async function recordingBrowser() {
  const { promise: started, resolve } = Promise.withResolvers<Recorded>();
  const server = createServer((request, response) => {
    let text = '';
    request.setEncoding('utf8').on('data', (part: string) => (text += part));
    request.on('end', () => {
      response.end();
      resolve(JSON.parse(text) as Recorded);
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const program = join(await tempFolder(), 'browser.mjs');
  const script = `const body = JSON.stringify({ words: process.argv.slice(2), env: process.env });
await fetch('http://127.0.0.1:${port}', { method: 'POST', body });`;
  await writeFile(program, `#!${process.execPath}\n${script}\n`);
  await chmod(program, 0o700);
  return { program, started };
}
