import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { granted } from '../../support/granted.ts';
import { openTunnel } from '../../support/raw-client.ts';

test.each(['sidekey.yaml', 'providers/x.yaml'])('a FIFO that replaces %s blocks no request', async (name) => {
  const { sidekey, upstream } = await granted((_request, response) => response.end('ok'));
  const client = await openTunnel(sidekey, upstream.authority);
  const ask = async () => {
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    return (await client.response()).status;
  };
  expect(await ask()).toBe(200);
  const path = join(sidekey.folder, name);
  mkdirSync(join(sidekey.folder, 'providers'), { recursive: true });
  rmSync(path, { force: true });
  execFileSync('mkfifo', [path]);
  expect(await ask()).toBe(200);
  expect(await sidekey.audited(({ event }) => event === 'config.rejected')).toMatchObject({
    code: 'config_invalid',
  });
});
