/** Programs that reach the proxy by TLS, as `HTTPS_PROXY=https://…` says. */
import { execFile, execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { makeTestAuthority } from '../../support/certificates.ts';
import { goBuildVariables } from '../../support/go-build.ts';
import { addAgent } from '../../support/rights.ts';
import { bearerToken, startSidekey } from '../../support/sidekey.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { startUpstream } from '../../support/upstream.ts';

const python = '/usr/bin/python3';
const goProgram = fileURLToPath(new URL('../../clients/programs/go/main.go', import.meta.url));
const undici = `
const { EnvHttpProxyAgent, fetch } = require('undici');
void fetch(process.argv[1], { dispatcher: new EnvHttpProxyAgent() });`;

/** Each with its command, and the command that tells whether it is there. */
const programs: Readonly<Record<string, readonly [readonly string[], readonly string[]]>> = {
  curl: [
    // No variable names the CAs of its proxy.
    ['sh', '-c', 'curl -sS --proxy-cacert "$CURL_CA_BUNDLE" "$0"'],
    ['curl', '--version'],
  ],
  // The answer is none of a repository.
  git: [
    ['sh', '-c', 'git ls-remote "$0" || true'],
    ['git', '--version'],
  ],
  'requests of Python': [
    [python, '-c', 'import requests, sys; requests.get(sys.argv[1])'],
    [python, '-c', 'import requests'],
  ],
  'fetch of Node.js': [
    [process.execPath, '--use-env-proxy', '-e', 'void fetch(process.argv[1])'],
    [process.execPath, '--version'],
  ],
  undici: [
    [process.execPath, '-e', undici],
    [process.execPath, '--version'],
  ],
  Go: [
    ['go', 'run', goProgram],
    ['go', 'version'],
  ],
};

function isMissing([program = '', ...args]: readonly string[]): boolean {
  try {
    execFileSync(program, args, { stdio: 'ignore' });
    return false;
  } catch {
    return true;
  }
}

for (const [name, [command, probe]] of Object.entries(programs)) {
  test.skipIf(isMissing(probe))(`${name} reaches the proxy over TLS`, { timeout: 120_000 }, async () => {
    const seen: (string | undefined)[] = [];
    const upstream = await startUpstream((request, response) => {
      seen.push(request.headers.authorization);
      response.end('ok');
    });
    const authority = makeTestAuthority('servers');
    const folder = await tempFolder();
    const write = async (called: string, text: string) => {
      await writeFile(join(folder, called), text);
      return join(folder, called);
    };
    const { cert, key } = authority.issue(['localhost']);
    const tls = { cert: await write('proxy.pem', cert), key: await write('proxy.key', key) };
    const sidekey = await startSidekey({
      domains: { [upstream.authority]: { grant: 'acme' } },
      config: { proxy: { listen: '127.0.0.1:0', authentication: 'required', tls } },
    });
    const grant = await sidekey.grant([upstream.authority]);
    const bindings = [{ kind: 'grant', value: grant.id }] as const;
    await addAgent(sidekey.proxy.state.store, 'ci', 'secret', { bindings: [...bindings] });
    const bundle = await write('bundle.pem', `${authority.cert}\n${sidekey.caPem}`);
    const proxy = `https://ci:secret@localhost:${sidekey.port}`;
    const trusting = [
      'SSL_CERT_FILE',
      'CURL_CA_BUNDLE',
      'REQUESTS_CA_BUNDLE',
      'NODE_EXTRA_CA_CERTS',
      'GIT_SSL_CAINFO',
      'GIT_PROXY_SSL_CAINFO',
    ];
    const [program = '', ...args] = command;
    await promisify(execFile)(program, [...args, `${upstream.url}/a`], {
      cwd: fileURLToPath(new URL('../../..', import.meta.url)),
      env: {
        PATH: process.env['PATH'],
        HOME: folder,
        HTTPS_PROXY: proxy,
        https_proxy: proxy,
        ...(name === 'Go' ? goBuildVariables() : {}),
        ...Object.fromEntries(trusting.map((variable) => [variable, bundle])),
      },
    });
    expect(seen).toContain(`Bearer ${bearerToken}`);
    expect(await sidekey.audited(({ event }) => event === 'access')).toMatchObject({ agent: 'ci' });
  });
}
