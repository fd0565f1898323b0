import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { goBuildVariables } from '../support/go-build.ts';
import { greeting, missing, programs, stage } from './support/stage.ts';

// The system's own, which has the packages of the system.
const python = '/usr/bin/python3';

const clients = [
  { name: 'curl', absent: missing('curl', '--version'), command: ['curl', '-sS', '--fail'] },
  { name: 'wget', absent: missing('wget', '--version'), command: ['wget', '-nv', '-O', '-'] },
  ...['requests', 'httpx', 'aiohttp', 'urllib'].map((library) => ({
    name: `Python with ${library}`,
    absent: missing(python, '-c', `import ${library}`),
    command: [python, `${programs}with-${library}.py`],
  })),
  {
    name: 'Ruby with net/http',
    absent: missing('ruby', '-e', 'require "net/http"'),
    command: ['ruby', `${programs}get.rb`],
  },
  {
    name: 'PHP with its curl extension',
    absent: missing('php', '-r', 'exit(function_exists("curl_init") ? 0 : 1);'),
    command: ['php', `${programs}get.php`],
  },
  {
    name: 'Perl with LWP',
    absent: missing('perl', '-MLWP::Protocol::https', '-e', '1'),
    command: ['perl', `${programs}with-lwp.pl`],
  },
  {
    name: 'Perl with HTTP::Tiny',
    absent: missing('perl', '-MHTTP::Tiny', '-MIO::Socket::SSL', '-e', '1'),
    command: ['perl', `${programs}with-http-tiny.pl`],
  },
  {
    name: 'Perl with Mojolicious',
    absent: missing('perl', '-MMojo::UserAgent', '-MIO::Socket::SSL', '-e', '1'),
    command: ['perl', `${programs}with-mojo.pl`],
  },
  {
    name: "Java's HttpClient",
    absent: missing('java', '-version'),
    command: ['java', `${programs}Get.java`],
  },
];

for (const { name, absent, command } of clients) {
  test.skipIf(absent)(`${name} gets a response without seeing the token`, async () => {
    const { perform, upstream, seen } = await stage(greeting);
    const ran = await perform([...command, `${upstream.url}/me`]);
    expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining('hello from upstream') });
    expect(seen).toMatchObject([{ method: 'GET', path: '/me' }]);
  });
}

test.skipIf(missing('go', 'version'))(
  "Go's net/http gets a response without seeing the token",
  async () => {
    const { perform, upstream, room, seen } = await stage(greeting);
    const program = join(room, 'get');
    await promisify(execFile)('go', ['build', '-C', join(programs, 'go'), '-o', program, '.'], {
      env: { ...process.env, ...goBuildVariables() },
    });
    const ran = await perform([program, `${upstream.url}/me`]);
    expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining('hello from upstream') });
    expect(seen).toMatchObject([{ method: 'GET', path: '/me' }]);
  },
  300_000,
);
