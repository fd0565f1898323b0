/**
 * Programs in a container beside Sidekey: what they trust comes from a folder that an init step has written.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { home } from '../support/command-line.ts';
import { goBuildVariables } from '../support/go-build.ts';
import { bearerToken, startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';
import { missing, packageMissing, programs } from './support/stage.ts';

const python = '/usr/bin/python3';
const clients: readonly (readonly [name: string, command: string, absent: false | string])[] = [
  ['curl', 'curl -sS', missing('curl', '--version')],
  ['wget', 'wget -q -O -', missing('wget', '--version')],
  ['requests of Python', `${python} ${programs}with-requests.py`, missing(python, '-c', 'import requests')],
  ['urllib of Python', `${python} ${programs}with-urllib.py`, missing(python, '--version')],
  ['Node.js', `${process.execPath} ${programs}node-fetch-builtin.mjs`, false],
  // They send requests to the proxy by http, which Node.js would send through the proxy.
  ...['axios-1-13', 'needle'].map(
    (name) =>
      [
        `${name} of Node.js`,
        `${process.execPath} ${programs}version.mjs ${name}`,
        packageMissing(name),
      ] as const,
  ),
  ['Go', `go run ${programs}go/main.go`, missing('go', 'version')],
  [
    'Java',
    `java -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=$PORT ${programs}Get.java`,
    missing('java', '-version'),
  ],
  ['Ruby', `ruby ${programs}get.rb`, missing('ruby', '--version')],
  ['PHP', `php ${programs}get.php`, missing('php', '-r', 'exit(function_exists("curl_init") ? 0 : 1);')],
  ['Perl', `perl ${programs}with-lwp.pl`, missing('perl', '-MLWP::Protocol::https', '-e', '1')],
  // The answer is none of a repository.
  ['git', `sh -c 'git ls-remote "$0" || true'`, missing('git', '--version')],
];

for (const [name, command, absent] of clients) {
  test.skipIf(absent)(
    `${name} trusts the CA through the files of the folder only`,
    { timeout: 120_000 },
    async () => {
      const seen: (string | undefined)[] = [];
      const upstream = await startUpstream((request, response) => {
        seen.push(request.headers.authorization);
        response.end('hello');
      });
      const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme' } } });
      await sidekey.grant([upstream.authority]);
      const init = await home();
      const folder = init.at('trust');
      const args = ['--format', 'folder', '--output', folder, '--ca', sidekey.caFile];
      expect(await init.run(['ca', 'export', ...args])).toMatchObject({ exit: 0 });
      const env = {
        PATH: process.env['PATH'],
        HOME: init.folder,
        PORT: String(sidekey.port),
        HTTPS_PROXY: sidekey.url,
        https_proxy: sidekey.url,
        // Ruby has one for both.
        http_proxy: sidekey.url,
        ...(name === 'Go' ? goBuildVariables() : {}),
      };
      await promisify(execFile)('sh', ['-ec', `. ${folder}/env.sh; ${command} ${upstream.url}/a`], { env });
      expect(new Set(seen)).toEqual(new Set([`Bearer ${bearerToken}`]));
    },
  );
}
