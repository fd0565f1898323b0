/** Real users: a caller without a token must be the user that the proxy runs as, or root. */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { home } from '../support/command-line.ts';
import { granted } from '../support/granted.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../support/upstream.ts';
import { scaleMissing } from './network.ts';

/** The user of Sidekey can read the tree. */
const owner = statSync(import.meta.dirname).uid || 65_533;
const stranger = 65_532;

/** Sends a request for a base address as a user; returns what the proxy answers. */
function askAs(uid: number, url: string, ...options: readonly string[]): Promise<string> {
  const args = ['--disable', '--silent', '--max-time', '20', ...options, url];
  return new Promise((resolve) => {
    execFile('curl', args, { uid, cwd: '/', env: { PATH: process.env['PATH'] } }, (_error, stdout) =>
      resolve(stdout),
    );
  });
}

async function started(proxy: object, workers = 1) {
  const seen: (string | undefined)[] = [];
  const { authority } = await startUpstream((request, response) => {
    seen.push(request.headers.authorization);
    response.end('from the upstream');
  });
  const at = await home({
    proxy: { listen: '127.0.0.1:0', ...proxy },
    workers,
    upstream: {
      ca: ['upstream-ca.pem'],
      private_addresses: ['127.0.0.1/32'],
      resolve: { [upstreamHost]: '127.0.0.1' },
    },
    domains: { [authority]: { grant: 'acme' } },
    providers: { acme: { audience: [authority], inject: 'bearer' } },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  await at.grant('acme', { type: 'api_key', value: 'acme-secret-5f0c1a7e9b3d4c2a' });
  execFileSync('chown', ['-R', String(owner), at.folder]);
  const { url } = await at.start({
    within: ['setpriv', `--reuid=${owner}`, '--clear-groups'],
    options: [],
  });
  return { seen, url: `${url}/+/${authority}/items` };
}

describe.skipIf(scaleMissing)(`a caller without a token${scaleMissing ?? ''}`, () => {
  test.each([1, 2])(
    'is served as the user of the proxy and as root, and refused as any other user, with %i workers',
    async (workers) => {
      const { url, seen } = await started({}, workers);
      expect(await askAs(owner, url)).toBe('from the upstream');
      expect(await askAs(0, url)).toBe('from the upstream');
      expect(await askAs(stranger, url)).toContain('"code":"caller_not_same_user"');
      expect(seen).toHaveLength(2);
    },
  );

  test('is served as another user with local_callers: any', async () => {
    const { url } = await started({ local_callers: 'any' });
    expect(await askAs(stranger, url)).toBe('from the upstream');
  });

  test('of another user that exits before the proxy looks up its owner is not mistaken for root', async () => {
    const seen: string[] = [];
    const { upstream, sidekey } = await granted((request, response) => {
      seen.push(request.url ?? '');
      response.end('ok');
    });
    const send = `exec 3<>/dev/tcp/127.0.0.1/${sidekey.port}; printf 'GET /+/${upstream.authority}/a HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n\\r\\n' >&3`;
    // This process accepts the connection when the caller has ended.
    expect(spawnSync('bash', ['-c', send], { uid: stranger }).status).toBe(0);
    expect(await sidekey.audited(({ event }) => event === 'denied')).toMatchObject({
      code: 'caller_not_same_user',
    });
    expect(seen).toEqual([]);
  });

  test('of a user outside the user namespace of the proxy is not mistaken for nobody', () => {
    const os = new URL('../../src/lib/os.ts', import.meta.url).href;
    const script = `
      import { once } from 'node:events';
      import { connect, createServer } from 'node:net';
      import { peerOwner } from '${os}';
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      connect(server.address().port, '127.0.0.1');
      const [socket] = await once(server, 'connection');
      console.log(process.getuid(), await peerOwner(socket));
      process.exit();`;
    // Without a map, all users have the ID of nobody, also that of this process.
    const args = ['--user', process.execPath, '--input-type=module', '--eval', script];
    const asOwner = { uid: owner, cwd: '/', encoding: 'utf8' } as const;
    expect(execFileSync('unshare', args, asOwner)).toBe('65534 unknown\n');
  });
});
