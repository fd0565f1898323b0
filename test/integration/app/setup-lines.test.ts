import { execFile } from 'node:child_process';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { freePort } from '../../support/free-port.ts';
import { type Caller, setUps } from '../../../src/pages/setup.ts';
import { home, program } from '../../support/command-line.ts';
import { curlMissing } from '../../support/curl.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

const example: Caller = {
  proxyUrl: 'http://ci:sidekey_agent_x@127.0.0.1:8377',
  certificate: "/home/o'hara/ca.crt",
  url: 'https://api.example.com/',
};

/** Returns the texts of a program by their place. */
function textsOf(title: string, caller: Caller = example): Readonly<Record<string, string>> {
  const { texts } = setUps(caller).find((each) => each.title === title)!;
  return Object.fromEntries(texts);
}

const envFile = 'sidekey.env, which only you can read';

/** Runs lines as a person who pastes them. */
async function pasted(text: string, cwd: string, env: Readonly<Record<string, string>> = {}) {
  const options = { cwd, env: { PATH: process.env['PATH'], HOME: cwd, ...env } };
  return promisify(execFile)('/bin/sh', ['-ec', text], options);
}

describe('the ready lines for an agent', () => {
  test('have the token in no argument of a program', () => {
    for (const { title, texts } of setUps(example))
      for (const [place, text] of texts) {
        const lines = text.split('\n').filter((line) => line.includes('sidekey_agent_x'));
        const isFile = place === envFile || place.includes('settings.json');
        for (const line of lines) if (!isFile) expect(line, title).toMatch(/^export [A-Z_]+='[^']*'$/);
      }
  });

  test('are valid files of Compose, Kubernetes and Cursor', () => {
    expect(parse(textsOf('Compose')['compose.yaml']!)).toEqual({
      services: {
        agent: {
          image: 'IMAGE',
          network_mode: 'host',
          env_file: 'sidekey.env',
          volumes: ['./trust:/trust:ro'],
        },
      },
    });
    expect(parse(textsOf('Kubernetes')['The pod']!)).toMatchObject({
      spec: {
        containers: [{ envFrom: [{ secretRef: { name: 'sidekey-agent' } }] }],
        volumes: [{ name: 'trust', configMap: { name: 'sidekey-trust' } }],
      },
    });
    expect(JSON.parse(textsOf('Cursor')['Or in settings.json of the editor']!)).toMatchObject({
      'http.proxy': example.proxyUrl,
    });
  });

  test('use the network of the host only for a proxy at a loopback address', () => {
    const far = { ...example, proxyUrl: 'http://ci:x@proxy.example.com:8377' };
    expect(textsOf('Docker')['In a terminal']).toContain(' --network host ');
    expect(textsOf('Docker', far)['In a terminal']).not.toContain('--network');
    expect(textsOf('Compose', far)['compose.yaml']).not.toContain('network_mode');
    const notes = [example, far].map((caller) => setUps(caller).at(-1)?.note);
    expect(notes).toEqual([expect.stringContaining('127.0.0.1:8377'), undefined]);
  });
});

/** A running proxy, an agent, and a folder with `sidekey` and `claude` on its PATH. */
async function running() {
  const seen: (string | undefined)[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(request.headers.authorization);
    response.end('hello');
  });
  const at = await home({
    proxy: { listen: `127.0.0.1:${await freePort()}` },
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { [upstream.authority]: { grant: 'desk' } },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  await at.grant('desk', { type: 'api_key', value: 'token-1' }, [
    '--provider',
    'acme',
    '--audience',
    upstream.authority,
  ]);
  const { caFile } = await at.start();
  const { proxy_url } = (await at.json(['agent', 'create', 'ci', '--grant', 'desk'])) as {
    proxy_url: string;
  };
  const caller = { proxyUrl: proxy_url, certificate: caFile, url: `${upstream.url}/` };
  const folder = await tempFolder();
  const script = async (name: string, text: string) => {
    await writeFile(join(folder, name), `#!/bin/sh\n${text}\n`);
    await chmod(join(folder, name), 0o700);
  };
  await script('sidekey', `SIDEKEY_CONFIG='${at.configFile}' exec '${process.execPath}' '${program}' "$@"`);
  // As a program that reads the variables: the proxy, and the roots.
  await script('claude', `exec curl --silent --show-error '${caller.url}'`);
  const env = { PATH: `${folder}:${process.env['PATH']}` };
  return { caller, folder, env, seen };
}

describe.skipIf(curlMissing !== false)(`the ready lines, pasted into a shell${curlMissing || ''}`, () => {
  test('for curl and in the file of containers get an answer with the credential', async () => {
    const { caller, folder, env, seen } = await running();
    const { stdout } = await pasted(textsOf('curl', caller)['In a terminal']!, folder, env);
    expect([stdout, seen]).toEqual(['hello', ['Bearer token-1']]);

    const compose = textsOf('Compose', caller);
    await pasted(compose['In a terminal']!, folder, env);
    const lines = compose[envFile]!.replaceAll('/trust/', `${folder}/trust/`).split('\n');
    const variables = Object.fromEntries(lines.map((line) => line.split(/=(.*)/)));
    for (const name of ['bundle.pem', 'extra.pem'])
      expect(await readFile(join(folder, 'trust', name), 'utf8')).toContain('BEGIN CERTIFICATE');
    const inside = await pasted(`curl --silent '${caller.url}'`, folder, variables);
    expect([inside.stdout, seen.length]).toEqual(['hello', 2]);
  });

  test('for Claude Code run it with the token of the agent', async () => {
    const { caller, folder, env, seen } = await running();
    const lines = textsOf('Claude Code', caller)['In a terminal']!;
    const { stdout } = await pasted(lines, folder, env);
    expect([stdout, seen]).toEqual(['hello', ['Bearer token-1']]);
  });
});
