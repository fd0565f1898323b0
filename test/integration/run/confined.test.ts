/** A confined command as a program that a person uses: its network, its end, its terminal. */
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openConfinement } from '../../../src/operations/run-confinement.ts';
import { lookAtRuns } from '../../../src/operations/look-at-runs.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { home, program } from '../../support/command-line.ts';
import { modes } from '../../support/confinement/world.ts';
import { curlMissing } from '../../support/curl.ts';
import { hasPseudoTerminal, runInTerminal } from '../../support/pseudo-terminal.ts';
import { deskToken, runHome } from '../../support/run-command.ts';
import { tempFolder } from '../../support/temp-folder.ts';

/** The mode by the PATH: without bubblewrap in it, Landlock confines alone. */
const paths = [
  ['bubblewrap', '/usr/local/bin:/usr/bin:/bin', modes.bubblewrap === null],
  ['only Landlock', '/nowhere', modes.landlock === null],
] as const;

const sh = '/bin/sh';

describe.each(paths)('a command confined by %s', (_name, PATH, isMissing) => {
  const env = { PATH };

  test.skipIf(isMissing || curlMissing !== false)(
    'reaches the proxy, and uses a credential without holding it',
    async () => {
      const place = await runHome();
      const words = ['--isolate', '--', '/usr/bin/curl', '-sS', place.upstream.url];
      const { exit, stdout, stderr } = await place.run(words, { env });
      expect([exit, stdout]).toEqual([0, 'hello']);
      expect(stderr).toContain('sidekey: confined: network only through Sidekey');
      expect(stderr).toContain('1 request with a credential');
      expect(place.seen).toEqual([`Bearer ${deskToken}`]);
    },
  );

  test.skipIf(isMissing).each([
    ['a source', ['--from']],
    ['a client secret', ['--client-id', 'x', '--client-secret']],
  ])('does not read the file of %s in its folder', async (_what, option) => {
    const { at, run } = await runHome(undefined, () => ({
      providers: { own: { audience: ['own.acme.test'], token_endpoint: 'https://own.acme.test/token' } },
    }));
    await mkdir(at.at('work'));
    const file = at.at('work', 'kept.secret');
    await writeFile(file, 'kept-0123456789', { mode: 0o600 });
    const flow = option.length === 1 ? [] : ['--client-credentials'];
    await at.run(['connect', 'own', ...flow, ...option, `file:${file}`, '--no-verify']);
    const sources = await at.run(['grant', 'source', 'own']);
    expect(sources.stdout + (await readFile(at.configFile, 'utf8'))).toContain(`file:${file}`);
    const script = '/bin/cat kept.secret; echo changed > old';
    await writeFile(at.at('work', 'old'), '');
    const words = ['--quiet', '--isolate', '--', sh, '-c', script];
    expect(await run(words, { env, cwd: at.at('work') })).toMatchObject({
      stdout: '',
      stderr: expect.stringContaining('kept.secret'),
    });
    expect(await readFile(at.at('work', 'old'), 'utf8')).toBe('changed\n');
    const { stderr } = await run(words.slice(1), { env, cwd: at.at('work') });
    expect(stderr).toMatch(/[1-9]\d* credential files? hidden \(--show FILE shows one\)/);
    expect(await readFile(file, 'utf8')).toBe('kept-0123456789');
  });

  test.skipIf(isMissing)('has no other network: no DNS, no address, no port of this machine', async () => {
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
      const net = require('node:net'), dns = require('node:dns/promises');
      const tried = (host, port) => new Promise((resolve) =>
        net.connect(port, host).once('connect', () => resolve('open')).once('error', () => resolve('closed')));
      (async () => console.log([
        await tried('127.0.0.1', ${port}), await tried('192.0.2.1', 443), await tried('2001:db8::1', 443),
        await dns.resolve('example.com').then(() => 'open', () => 'closed'),
      ].join()) || process.exit())();`;
    const { stdout } = await place.run(['--quiet', '--isolate', '--', process.execPath, '-e', script], {
      env,
    });
    expect([stdout, connections]).toEqual(['closed,closed,closed,closed\n', 0]);
  });

  test.skipIf(isMissing).each([
    ['exits with its code', 'exit 7', { exit: 7, signal: null }],
    ['exits with 126 by itself', 'exit 126', { exit: 126, signal: null }],
    ['is ended by a signal', 'kill -TERM $$', { exit: null, signal: 'SIGTERM' }],
    ['is ended by a signal that dumps core', 'ulimit -c 0; kill -ABRT $$', { exit: 134, signal: null }],
  ] as const)('%s, and so does sidekey run', async (_what, script, end) => {
    const { run } = await runHome();
    expect(await run(['--quiet', '--isolate', '--', sh, '-c', script], { env })).toMatchObject(end);
  });

  test.skipIf(isMissing).each([
    ['does not exist', '/no/such/program', 127],
    ['is in no folder of the PATH', 'no-such-program', 127],
    ['may not be executed', 'plain-file', 126],
  ])('that %s returns the exit code that shells use', async (_what, name, exit) => {
    const { at, run } = await runHome();
    await writeFile(at.at('plain-file'), 'text', { mode: 0o600 });
    const word = name === 'plain-file' ? at.at(name) : name;
    expect(await run(['--quiet', '--isolate', '--', word], { env })).toMatchObject({ exit });
  });

  test.skipIf(isMissing)('receives SIGTERM from sidekey run, and exits as the command decides', async () => {
    const { start } = await runHome();
    const script = `process.on('SIGTERM', () => { console.log('got'); process.exit(5); }); setInterval(() => {}, 1000); console.log('ready=1')`;
    const run = start(['--quiet', '--isolate', '--', process.execPath, '-e', script], { env });
    await run.told('ready');
    run.signal('SIGTERM');
    expect(await run.ended).toMatchObject({ exit: 5, stdout: 'ready=1\ngot\n' });
  });

  test.skipIf(isMissing || !hasPseudoTerminal)(
    'handles Ctrl-C, Ctrl-Z and the terminal size as without confinement',
    async () => {
      const { at } = await runHome();
      const stty = ['/bin/stty', 'size'].join(' ');
      const script = `trap 'echo caught; exit 9' INT; ${stty}; echo now-stop; while :; do read line && echo "line=$line"; done`;
      const command = [process.execPath, program, 'run', '--config', at.configFile, '--isolate', '--quiet'];
      // A shell with job control, as a person has it.
      const shell = `set -m; "$@"; echo stopped=$?; fg >/dev/null; echo ended=$?`;
      const inside = runInTerminal(['/bin/bash', '-c', shell, sh, ...command, '--', sh, '-c', script], {
        cwd: at.folder,
        env: { PATH: `${PATH}:/bin` },
      });
      await inside.until((screen) => screen.includes('now-stop'));
      inside.type('\u001a');
      await inside.until((screen) => screen.includes('stopped=148'));
      inside.type('again\n');
      await inside.until((screen) => screen.includes('line=again'));
      inside.type('\u0003');
      await inside.ended;
      expect(inside.screen()).toContain('30 100');
      expect(inside.screen()).toContain('caught');
      expect(inside.screen()).toContain('ended=9');
    },
  );
});

describe.each([
  ['darwin', ['a container (docs/containers.md)', 'another sandbox (docs/sandboxes.md)']],
  ['win32', ['WSL 2']],
] as const)('on %s, where no confinement is available', (platform, waysOut) => {
  const machine = async (isolate: 'auto' | 'off') => {
    const { configFile } = await home({ run: { isolate } });
    return { config: await loadConfig(configFile, { env: {} }), env: {}, platform };
  };
  const reason = 'Commands are confined on Linux only';

  test('a command runs, and the line before it names the reason and the next step', async () => {
    const line = await openConfinement('sh', {}, await machine('auto'));
    expect(line).toContain(`not confined: ${reason} → `);
    for (const way of [...waysOut, '--no-isolate']) expect(line).toContain(way);
  });

  test('--isolate fails with confinement_missing and the next step', async () => {
    const refused = openConfinement('sh', { isolate: true }, await machine('off'));
    const failure: unknown = await refused.catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'confinement_missing', message: `${reason}.` });
    for (const way of [...waysOut, '--no-isolate'])
      expect(failure).toHaveProperty('hint', expect.stringContaining(way));
  });

  test('--no-isolate and run.isolate: off run the command without a hint', async () => {
    const line = 'not confined: it reads the files of your user and reaches every network';
    expect(await openConfinement('sh', { isolate: false }, await machine('auto'))).toBe(line);
    expect(await openConfinement('sh', {}, await machine('off'))).toBe(line);
  });

  test('status and doctor report that runs are not confined, and the next step', async () => {
    const { config, env } = await machine('auto');
    const report = await lookAtRuns(config, env, platform);
    expect(report).toMatchObject({ name: 'runs', facts: { confined: false } });
    for (const way of [reason, ...waysOut]) expect(JSON.stringify(report)).toContain(way);
  });
});

// Only a bubblewrap of root counts.
test.skipIf(modes.landlock === null || process.getuid?.() !== 0)(
  'a bubblewrap that cannot create namespaces prints nothing, and only Landlock confines',
  async () => {
    const { run } = await runHome();
    // Outside of the project, whose programs do not count.
    const programs = await tempFolder();
    const script = '#!/bin/sh\necho "bwrap: setting up uid map: Permission denied" >&2\nexit 1\n';
    await writeFile(join(programs, 'bwrap'), script, { mode: 0o755 });
    const { exit, stdout, stderr } = await run(['--isolate', '--', sh, '-c', 'echo out; echo err >&2'], {
      env: { PATH: programs },
    });
    expect([exit, stdout]).toEqual([0, 'out\n']);
    expect(stderr).toContain('Landlock alone');
    expect(stderr).toContain('err\n');
    expect(stderr).not.toContain('uid map');
  },
);

test.skipIf(modes.landlock !== null)(
  'if the machine supports no confinement, --isolate prints the next step',
  async () => {
    const at = await home();
    const programs = at.at('programs');
    await mkdir(programs);
    await writeFile(join(programs, 'bwrap'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    const { exit, stderr } = await at.program(['run', '--isolate', '--', process.execPath, '-e', '1'], {
      env: { PATH: programs },
    });
    expect([exit, stderr.includes('bubblewrap')]).toEqual([2, true]);
  },
);
