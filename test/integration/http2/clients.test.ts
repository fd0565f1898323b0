import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { curl, curlMissing } from '../../support/curl.ts';
import { goBuildVariables } from '../../support/go-build.ts';
import { grantedH2 } from '../../support/h2-client.ts';
import { openClient } from '../../support/raw-client.ts';
import { bearerToken, type TestSidekey } from '../../support/sidekey.ts';

const missing = (command: string, args: readonly string[]): boolean => {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
    return false;
  } catch {
    return true;
  }
};
/** Debian's own, whose packages they are. */
const python = '/usr/bin/python3';
const httpxMissing = missing(python, ['-c', 'import httpx, h2']);
const nghttpMissing = missing('nghttp', ['--version']);
const goMissing = missing('go', ['version']);
const h2loadMissing = missing('h2load', ['--version']);

function run(
  command: string,
  args: readonly string[],
  more: Readonly<Record<string, string>> = {},
): Promise<{ readonly code: number; readonly out: string }> {
  return new Promise((resolve) => {
    const options = {
      encoding: 'utf8',
      timeout: 15_000,
      env: { PATH: process.env['PATH'], ...more },
    } as const;
    execFile(command, args, options, (error, out, err) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, out: `${out}${err}` });
    });
  });
}

const place = () =>
  grantedH2((asked, response) => {
    let bytes = 0;
    asked.on('data', (piece: Buffer) => (bytes += piece.length));
    asked.on('end', () => {
      const seen = asked.headers['authorization'] === `Bearer ${bearerToken}`;
      response.end(`${asked.method} ${asked.url} ${bytes} ${seen}\n`);
    });
  });

/** A port behind which each connection is a CONNECT through the proxy: for clients that know no proxies. */
async function throughConnect(sidekey: TestSidekey, authority: string): Promise<number> {
  const server = createServer((near) => {
    const tunnel = async () => {
      const client = await openClient(sidekey);
      near.on('close', () => client.socket.destroy());
      client.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
      await client.response('CONNECT');
      client.socket.removeAllListeners('data');
      near.pipe(client.socket).pipe(near);
    };
    near.on('error', () => near.destroy());
    // The program may leave before its tunnel is open.
    tunnel().catch(() => near.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

describe('a real HTTP/2 client', () => {
  test.skipIf(curlMissing)('curl: gets and posts', async () => {
    const { upstream, sidekey } = await place();
    const base = ['-x', sidekey.url, '--cacert', sidekey.caFile, '--http2'];
    const got = await curl(...base, `${upstream.url}/one`);
    expect(got.head).toContain('HTTP/2 200');
    expect(got).toMatchObject({ status: 200, body: 'GET /one 0 true\n' });
    const file = join(sidekey.folder, 'large');
    await writeFile(file, Buffer.alloc(10_000_000));
    const put = await curl(...base, '-T', file, `${upstream.url}/up`);
    expect(put.head).toContain('HTTP/2 200');
    expect(put.body).toBe('PUT /up 10000000 true\n');
    const refused = await curl(...base, '-H', 'Sidekey-Grant: none', `${upstream.url}/`);
    expect(refused).toMatchObject({ status: 403 });
    expect(refused.body).toContain('"code":"grant_missing"');
  });

  test.skipIf(httpxMissing)('httpx of Python (python3-httpx, python3-h2): 50 requests at once', async () => {
    const { upstream, sidekey } = await place();
    const script = `
import asyncio, sys, httpx
async def main():
    async with httpx.AsyncClient(http2=True, proxies=sys.argv[1], verify=sys.argv[2], timeout=15) as client:
        answers = await asyncio.gather(*[client.post(sys.argv[3] + '/' + str(i), content=b'x' * i) for i in range(50)])
        for i, answer in enumerate(answers):
            assert answer.http_version == 'HTTP/2', answer.http_version
            assert answer.text == f'POST /{i} {i} true\\n', answer.text
        print('all right')
asyncio.run(main())
`;
    const { out } = await run(python, ['-c', script, sidekey.url, sidekey.caFile, upstream.url]);
    expect(out).toBe('all right\n');
  });

  test.skipIf(nghttpMissing)('nghttp (nghttp2-client): several at once', async () => {
    const { upstream, sidekey } = await place();
    const port = await throughConnect(sidekey, upstream.authority);
    const header = [`-H:authority: ${upstream.authority}`];
    const { out } = await run('nghttp', [...header, '-m', '5', `https://127.0.0.1:${port}/n`]);
    expect(out.match(/GET \/n 0 true/g)).toHaveLength(5);
  });

  test.skipIf(h2loadMissing)(
    'h2load (nghttp2-client): 2,000 requests, 50 at once on each of 4 connections',
    async () => {
      const { upstream, sidekey } = await place();
      const port = await throughConnect(sidekey, upstream.authority);
      const load = ['-n', '2000', '-c', '4', '-m', '50', '-H', `:authority: ${upstream.authority}`];
      const { out } = await run('h2load', [...load, `https://127.0.0.1:${port}/`]);
      expect(out).toContain('2000 succeeded, 0 failed, 0 errored');
      expect(out).toContain('2000 2xx');
    },
  );

  test.skipIf(goMissing)(
    'Go: gets, over the protocol that Go chooses',
    async () => {
      const { upstream, sidekey } = await place();
      const [source, program] = [
        join(import.meta.dirname, '../../clients/programs/go'),
        join(sidekey.folder, 'get'),
      ];
      execFileSync('go', ['build', '-C', source, '-o', program, '.'], {
        env: { ...process.env, ...goBuildVariables() },
      });
      const env = { HTTPS_PROXY: sidekey.url, SSL_CERT_FILE: sidekey.caFile };
      expect(await run(program, [`${upstream.url}/one`], env)).toMatchObject({
        code: 0,
        out: expect.stringContaining('HTTP/2.0 GET /one 0 true'),
      });
    },
    300_000,
  );
});
