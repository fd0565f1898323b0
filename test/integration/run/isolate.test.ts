/** `sidekey run --isolate`: no way out but the proxy. */
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { landlockVersion } from '../../../src/confine/landlock.ts';
import { findClient } from '../../support/client-program.ts';
import { home } from '../../support/command-line.ts';
import { curlMissing } from '../../support/curl.ts';
import { deskToken, runHome } from '../../support/run-command.ts';

// It needs user namespaces, which some machines do not permit.
const bwrap = await findClient('bwrap', ['--dev-bind', '/', '/', '--unshare-net', '--', 'true']);

describe.skipIf(bwrap.missing)(`an isolated program${bwrap.missing ? ` (${bwrap.missing})` : ''}`, () => {
  test.skipIf(curlMissing)('reaches the proxy, and gets a credential that it does not hold', async () => {
    const place = await runHome();
    const { exit, stdout, stderr } = await place.run(['--isolate', '--', 'curl', '-sS', place.upstream.url]);
    expect([exit, stdout, stderr]).toEqual([
      0,
      'hello',
      expect.stringContaining('1 request with a credential'),
    ]);
    expect(place.seen).toEqual([`Bearer ${deskToken}`]);
  });

  test('has no other network: no name, no address, no port of this machine', async () => {
    const place = await runHome();
    let connections = 0;
    const server = createServer((socket) => {
      connections += 1;
      socket.destroy();
    }).listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const script = `
      const net = require('node:net'), dns = require('node:dns/promises'), dgram = require('node:dgram');
      const tried = (host, port) => new Promise((resolve) =>
        net.connect(port, host).once('connect', () => resolve('open')).once('error', (e) => resolve(e.code)));
      const udp = new Promise((resolve) => dgram.createSocket('udp4').send('x', 53, '1.1.1.1', (e) => resolve(e?.code)));
      (async () => console.log(JSON.stringify([
        await tried('127.0.0.1', ${port}), await tried('192.0.2.1', 443), await tried('2001:db8::1', 443), await udp,
        await dns.resolve('example.com').catch((e) => e.code),
      ])) || process.exit())();`;
    const { stdout } = await place.run(['--quiet', '--isolate', '--', process.execPath, '-e', script]);
    expect(JSON.parse(stdout)).toEqual([
      'ECONNREFUSED',
      'ENETUNREACH',
      'ENETUNREACH',
      'ENETUNREACH',
      'ECONNREFUSED',
    ]);
    expect(connections).toBe(0);
  });

  test('sees no key, no store, no process and no socket of other programs', async () => {
    const place = await runHome();
    const files = ['master.key', 'sidekey.db', 'sidekey.db-wal'].map((name) =>
      join(place.at.folder, 'data', name),
    );
    const script = `for f in ${files.join(' ')}; do cat $f >/dev/null 2>&1 && echo read || echo hidden; done; ls /run; ls -d /proc/[0-9]* | wc -l; kill -0 ${process.pid} || echo gone`;
    const { stdout } = await place.run(['--quiet', '--isolate', '--', 'sh', '-c', script]);
    const [key, store, log, ...rest] = stdout.split('\n');
    expect([key, store, log]).toEqual(['hidden', 'hidden', 'hidden']);
    expect(rest.join(' ')).toMatch(/^(media )?user [0-9] gone $/);
    expect((await readFile(files[0] ?? '')).length).toBeGreaterThan(0);
  });

  test.each([
    ['exits with its code', 'exit 7', 7],
    ['that is not there', null, 127],
  ])('%s', async (_what, script, code) => {
    const place = await runHome();
    const command = script === null ? ['no-such-program'] : ['sh', '-c', script];
    expect(await place.run(['--quiet', '--isolate', '--', ...command])).toMatchObject({ exit: code });
  });
});

/** Whether Landlock confines without namespaces. */
const isSufficient = (await landlockVersion()) >= 6;

// A program of another user is not taken for bubblewrap.
test.skipIf(process.getuid?.() !== 0)(
  'without namespaces Landlock alone confines, or nothing runs',
  async () => {
    const at = await home();
    const programs = at.at('programs');
    await mkdir(programs);
    const refusing = '#!/bin/sh\necho "bwrap: No permissions to create new namespace" >&2\nexit 1\n';
    await writeFile(join(programs, 'bwrap'), refusing, { mode: 0o755 });
    const env = { PATH: `${programs}:${process.env['PATH']}` };
    const { exit, stdout, stderr } = await at.program(['run', '--isolate', '--', '/bin/echo', 'ran'], {
      env,
    });
    if (isSufficient) {
      expect([exit, stdout]).toEqual([0, expect.stringMatching(/^ran/)]);
      expect(stderr).toContain('Landlock alone');
      return;
    }
    expect([exit, stdout]).toEqual([2, '']);
    expect(stderr).toContain('(bwrap: No permissions to create new namespace)');
    expect(stderr).toContain('sysctl kernel.unprivileged_userns_clone=1');
  },
);

test('without bubblewrap Landlock alone confines, or nothing runs', async () => {
  const at = await home();
  const { exit, stdout, stderr } = await at.program(['run', '--isolate', '--', '/bin/echo', 'ran'], {
    env: { PATH: '/nowhere' },
  });
  if (isSufficient) {
    expect([exit, stdout]).toEqual([0, expect.stringMatching(/^ran/)]);
    expect(stderr).toContain('Landlock alone');
    return;
  }
  expect([exit, stdout]).toEqual([2, '']);
  expect(stderr).toContain('install the package bubblewrap');
});
