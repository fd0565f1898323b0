/** Attacks on `sidekey run` itself, each with bubblewrap and with Landlock alone. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { systemProgram } from '../../src/clients/confine/bubblewrap.ts';
import { curlMissing } from '../support/curl.ts';
import { modes } from '../support/confinement/world.ts';
import { checkout, program } from '../support/command-line.ts';
import { hasPseudoTerminal, runInTerminal } from '../support/pseudo-terminal.ts';
import { deskToken, runHome } from '../support/run-command.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** The mode by the PATH: without bubblewrap in it, Landlock confines alone. */
const paths = [
  ['bubblewrap', '/usr/local/bin:/usr/bin:/bin', modes.bubblewrap === null],
  ['only Landlock', '/nowhere', modes.landlock === null],
] as const;

const sh = '/bin/sh';
const inNode = (script: string) => [process.execPath, '--no-warnings', '-e', script];

describe.each(paths)('a command confined by %s', (_name, PATH, isMissing) => {
  test.skipIf(isMissing)('cannot change the config that the running proxy follows', async () => {
    const place = await runHome();
    const before = await place.at.everything();
    const file = place.at.configFile;
    const script = `
      const fs = require('node:fs'), path = require('node:path');
      const file = ${JSON.stringify(file)}, hostile = 'version: 1\\nproxy: { unmatched: tunnel }\\napprovals: { webhook: { secret: "command:touch /tmp/x" } }\\n';
      const tries = [
        () => fs.appendFileSync(file, hostile), () => fs.writeFileSync(file, hostile), () => fs.readFileSync(file),
        () => { fs.writeFileSync(file + '.new', hostile); fs.renameSync(file + '.new', file); },
        () => fs.renameSync(path.dirname(file), path.dirname(file) + '.old'),
        () => fs.rmSync(file), () => fs.mkdirSync(path.dirname(file) + '/providers'),
      ];
      console.log('passed=' + tries.map((each) => { try { each(); return 1; } catch { return 0; } }).join(''));`;
    const { stdout } = await place.run(['--quiet', '--isolate', '--', ...inNode(script)], { env: { PATH } });
    expect(stdout).toBe('passed=0000000\n');
    expect((await place.at.everything()).get('config/sidekey.yaml')).toBe(before.get('config/sidekey.yaml'));
  });

  test.skipIf(isMissing)('reads no file that a grant or the config names, by any of its names', async () => {
    const place = await runHome(undefined, () => ({
      providers: {
        lamp: {
          token_endpoint: 'https://id.lamp.test/token',
          audience: ['lamp.test'],
          client_id: 'x',
          client_secret: 'file:../work/of-config',
        },
      },
    }));
    const { at } = place;
    const work = at.at('work');
    mkdirSync(work);
    mkdirSync(at.at('links'));
    const names = ['absolute', 'relative', 'linked', 'chained', 'of-config', 'late', 'free'];
    for (const name of names) writeFileSync(join(work, name), `secret-of-${name}`, { mode: 0o600 });
    for (const [link, target] of [
      ['linked', '../work/linked'],
      ['chained', 'next'],
      ['next', at.at('work', 'chained')],
    ] as const)
      symlinkSync(target, at.at('links', link));
    const connect = async (name: string, path: string) => {
      const words = ['connect', 'lamp', '--name', name, '--from', `file:${path}`, '--no-verify'];
      expect(await at.run(words)).toMatchObject({ exit: 0 });
    };
    await connect('absolute', at.at('work', 'absolute'));
    await connect('relative', 'work/relative');
    await connect('linked', at.at('links', 'linked'));
    await connect('chained', 'links/chained');
    const paths = [
      ...names.map((name) => join(work, name)),
      ...['linked', 'chained', 'next'].map((name) => at.at('links', name)),
    ];
    const script = `
      const fs = require('node:fs');
      const readable = () => ${JSON.stringify(paths)}.filter((path) => {
        try { return fs.readFileSync(path, 'utf8').startsWith('secret-of-'); } catch { return false; }
      }).map((path) => path.slice(${at.folder.length + 1}));
      console.log('before=' + readable());
      process.stdin.once('data', () => { console.log('after=' + readable()); process.exit(); });`;
    const command = place.start(['--quiet', '--isolate', '--', ...inNode(script)], {
      env: { PATH },
      cwd: work,
    });
    expect(await command.told('before')).toBe('work/late,work/free');
    await connect('late', at.at('work', 'late'));
    command.write('again');
    // A known limit of docs/confinement.md: the next run hides the file of a grant that is new.
    expect(await command.told('after')).toBe('work/late,work/free');
    const next = place.start(['--quiet', '--isolate', '--', ...inNode(script)], { env: { PATH }, cwd: work });
    expect(await next.told('before')).toBe('work/free');
  });

  test.skipIf(isMissing || curlMissing !== false)(
    'cannot use the lease of another run through the port of that run',
    async () => {
      const place = await runHome(undefined, () => ({
        proxy: { listen: '127.0.0.1:0', unmatched: 'tunnel', authentication: 'optional' },
      }));
      const { upstream } = place;
      await place.at.grant('lamp', { type: 'api_key', value: 'token-of-the-lamp-012345' }, [
        '--provider',
        'acme',
      ]);
      const script = `console.log('ready=' + new URL(process.env.HTTPS_PROXY).port); process.stdin.resume()`;
      const first = place.start(['--quiet', '--grant', 'desk', '--', ...inNode(script)], { env: { PATH } });
      const port = await first.told('ready');
      const curl = ['/usr/bin/curl', '-sk', '--noproxy', '', '-x', `http://127.0.0.1:${port}`, upstream.url];
      const second = (option: string) =>
        place.run(['--quiet', option, '--grant', 'lamp', '--', ...curl], { env: { PATH } });
      await second('--isolate');
      expect(place.seen).toEqual([]);
      // In a network namespace, nobody else reaches the port.
      await second('--no-isolate');
      expect(place.seen).toEqual(PATH === '/nowhere' ? [`Bearer ${deskToken}`] : []);
      first.signal('SIGTERM');
      await first.ended;
    },
  );

  test.skipIf(isMissing)('cannot reach the sockets of tmux and of an SSH agent below /tmp', async () => {
    const place = await runHome();
    const temp = await tempFolder();
    const sockets = ['tmux-1000/default', 'ssh-XXabc/agent.7'].map((name) => join(temp, name));
    let connections = 0;
    for (const path of sockets) {
      mkdirSync(dirname(path), { mode: 0o700 });
      const server = createServer((socket) => {
        connections += 1;
        socket.destroy();
      }).listen(path);
      onTestFinished(() => void server.close());
      await once(server, 'listening');
    }
    const script = `
      const { connect } = require('node:net');
      const tried = ${JSON.stringify(sockets)}.map((path) => new Promise((resolve) =>
        connect(path).once('connect', () => resolve('open')).once('error', () => resolve('closed'))));
      Promise.all(tried).then((all) => console.log(all.join(), process.env.TMUX, process.env.SSH_AUTH_SOCK));`;
    const env = { PATH, TMUX: `${sockets[0]},1,0`, SSH_AUTH_SOCK: sockets[1]! };
    const { stdout } = await place.run(['--quiet', '--isolate', '--', ...inNode(script)], { env });
    expect([stdout, connections]).toEqual(['closed,closed undefined undefined\n', 0]);
  });

  test.skipIf(isMissing)('does not start with a folder as standard input', async () => {
    const { at } = await runHome();
    const words = [process.execPath, program, 'run', '--config', at.configFile, '--isolate', '--'];
    const { stdout, stderr } = spawnSync(
      '/bin/sh',
      ['-c', '"$@" < /', sh, ...words, ...inNode('console.log("started")')],
      { cwd: at.folder, env: { PATH, HOME: at.folder }, encoding: 'utf8' },
    );
    expect(stderr).toContain('The input or output of the command is a folder.');
    expect(stdout).toBe('');
  });

  test.skipIf(isMissing)('cannot read a key that is rotated during the run', async () => {
    const place = await runHome();
    const data = place.at.at('data');
    const script = `
      const { readdirSync, readFileSync } = require('node:fs');
      console.log('ready=1');
      process.stdin.once('data', () => {
        const names = (() => { try { return readdirSync(${JSON.stringify(data)}); } catch { return []; } })();
        const read = [...names, 'master.key', 'master.key.new'].map((name) => {
          try { return readFileSync(${JSON.stringify(data)} + '/' + name, 'base64'); } catch { return ''; }
        });
        console.log('read=' + read.join(''));
        process.exit();
      });`;
    const run = place.start(['--quiet', '--isolate', '--', ...inNode(script)], { env: { PATH } });
    await run.told('ready');
    const before = readFileSync(join(data, 'master.key'));
    expect(await place.at.run(['key', 'rotate'])).toMatchObject({ exit: 0 });
    expect(readFileSync(join(data, 'master.key')).equals(before)).toBe(false);
    run.write('go\n');
    expect((await run.ended).stdout).toBe('ready=1\nread=\n');
  });

  test.skipIf(isMissing || !hasPseudoTerminal)(
    'cannot type into the shell that started it (TIOCSTI)',
    async () => {
      const { at } = await runHome();
      const system = fileURLToPath(new URL('../support/confinement/system.ts', import.meta.url));
      const script = `import(${JSON.stringify(system)}).then(({ call }) => { try { for (const key of 'evil\\n') call('ioctl', 0, 0x5412, Buffer.from(key)); } catch (error) { console.log('errno=' + error.errno); } })`;
      const command = [
        process.execPath,
        program,
        'run',
        '--config',
        at.configFile,
        '--isolate',
        '--quiet',
        '--show',
        checkout,
        '--',
      ];
      const inside = runInTerminal(
        [sh, '-c', '"$@"; echo now-type; read line; echo "typed=$line"', sh, ...command, ...inNode(script)],
        { cwd: at.folder, env: { PATH: `${PATH}:/bin` } },
      );
      await inside.until((screen) => screen.includes('now-type'));
      inside.type('mine\n');
      await inside.ended;
      expect(inside.screen()).toContain('errno=1\r\n');
      expect(inside.screen()).toContain('typed=mine\r\n');
    },
  );
});

describe('bubblewrap is taken from the system', () => {
  test('instead of a checkout, with a relative or absolute PATH entry', async () => {
    const checkout = await tempFolder();
    const folder = join(checkout, 'node_modules/.bin');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'sidekey-sandbox'), '#!/bin/sh\n', { mode: 0o755 });
    const search = (...words: readonly string[]) =>
      systemProgram('sidekey-sandbox', words.join(':'), [checkout]);
    expect(search('node_modules/.bin', '', '.', folder)).toBe(null);
    // As root, a folder that is no checkout would do: what makes the difference is the folder.
    const isRoot = process.getuid?.() === 0;
    const elsewhere = systemProgram('sidekey-sandbox', folder, []);
    expect(elsewhere === null).toBe(!isRoot);
    chmodSync(folder, 0o777);
    expect(systemProgram('sidekey-sandbox', folder, [])).toBe(null);
    chmodSync(folder, 0o755);
    chmodSync(join(folder, 'sidekey-sandbox'), 0o775);
    expect(systemProgram('sidekey-sandbox', folder, [])).toBe(null);
  });

  test('and a program of that name in the checkout is not started by a run', async () => {
    const place = await runHome();
    const folder = place.at.at('node_modules/.bin');
    mkdirSync(folder, { recursive: true });
    execFileSync('git', ['init', '--quiet', place.at.folder]);
    writeFileSync(join(folder, 'bwrap'), `#!/bin/sh\ntouch ${place.at.at('was-run')}\n`, { mode: 0o755 });
    symlinkSync('node_modules/.bin', place.at.at('bin'));
    const PATH = `node_modules/.bin:${folder}:${place.at.at('bin')}:${process.env['PATH']}`;
    const { exit } = await place.run(['--quiet', '--', sh, '-c', 'exit 7'], {
      env: { PATH, HOME: '/nowhere' },
    });
    expect(exit).toBe(7);
    expect(await place.at.everything()).not.toContain('was-run');
  });
});
