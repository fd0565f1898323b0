/** deploy/github-action: its steps as the runner would run them, with tokens of an issuer. */
import { spawn } from 'node:child_process';
import { hash } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { packageRoot } from '../../../src/lib/package-files.ts';
import { program } from '../../support/command-line.ts';
import { curlMissing } from '../../support/curl.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { gitHubClaims, issuerKey, startIssuer } from '../../support/token-issuer.ts';
import {
  startPlainUpstream,
  startUpstream,
  upstreamCa,
  upstreamHost,
  type Upstream,
} from '../../support/upstream.ts';

const actionFolder = join(packageRoot, 'deploy/github-action');
const audience = 'sidekey.acme.test';
const requestToken = 'request-token-of-the-job';
const apiKey = 'key-of-the-api-0123456789';

const local = ({ url }: Upstream) => `http://127.0.0.1:${new URL(url).port}`;

interface ActionFile {
  readonly inputs: Readonly<Record<string, { readonly default?: string }>>;
  readonly runs: {
    readonly steps: readonly { readonly run: string; readonly env: Readonly<Record<string, string>> }[];
  };
}

/** A job with an API, an issuer, and the service of the runner that gives tokens. */
async function job(claims: object = {}, authentication = 'required') {
  const folder = await tempFolder();
  const at = (name: string) => join(folder, name);
  const key = await issuerKey('one');
  const issuer = await startIssuer([key]);
  const seen: (string | undefined)[] = [];
  const api = await startUpstream((request, response) => {
    seen.push(request.headers.authorization);
    response.end('ok');
  });
  const asked: (string | undefined)[] = [];
  const tokens = await startPlainUpstream((request, response) => {
    asked.push(request.url, request.headers.authorization);
    const seconds = Math.floor(Date.now() / 1_000);
    void key
      .sign({ ...gitHubClaims(issuer.url, audience, seconds), ...claims })
      .then((value) => response.end(JSON.stringify({ count: value.length, value })));
  });
  const config = {
    version: 1,
    workers: 1,
    proxy: { listen: '127.0.0.1:0', authentication },
    admin: 'off',
    upstream: {
      ca: [at('upstream-ca.pem')],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    providers: { acme: { audience: [api.authority] } },
    domains: { [api.authority]: { grant: 'desk' } },
    agent_issuers: {
      github: {
        issuer: issuer.url,
        audience,
        agents: { 'ci-bot': { subject: 'repo:acme/app:ref:refs/heads/main', claims: { repository_id: 74 } } },
      },
    },
  };
  await writeFile(at('sidekey.yaml'), stringify(config), { mode: 0o600 });
  await writeFile(at('upstream-ca.pem'), upstreamCa);
  // A release whose executable is the program of the checkout.
  const executable = `#!/bin/sh\nexec ${process.execPath} ${program} "$@"\n`;
  await writeFile(at('sidekey'), executable, { mode: 0o700 });
  for (const file of ['env', 'output', 'path']) await writeFile(at(file), '');
  const inputs = {
    config: at('sidekey.yaml'),
    audience,
    setup: `printf %s "$API_KEY" | sidekey connect acme --token --no-verify --name desk
            sidekey agent create ci-bot --no-token --grant desk`,
  };
  const action = parse(await readFile(join(actionFolder, 'action.yml'), 'utf8')) as ActionFile;

  async function bash(script: string, variables: Readonly<Record<string, string>>) {
    const child = spawn('bash', ['-e', '-o', 'pipefail', '-c', script], {
      env: { PATH: `${folder}:${process.env['PATH']}`, HOME: folder, ...variables },
      stdio: ['ignore', 'pipe', 'pipe'],
      // Its own group, because Sidekey goes on after the step.
      detached: true,
    });
    const group = child.pid ?? 0;
    onTestFinished(() => {
      try {
        process.kill(-group, 'SIGKILL');
      } catch {
        // All of it has ended.
      }
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    const [exit] = (await once(child, 'close')) as [number];
    return { exit, output };
  }

  /** Variables of the following steps. */
  const variables = async () => {
    const lines = (await readFile(at('env'), 'utf8')).split('\n').filter((line) => line !== '');
    return Object.fromEntries(
      lines.map((line) => [line.split('=', 1)[0], line.slice(line.indexOf('=') + 1)]),
    );
  };
  return {
    api,
    seen,
    asked,
    tokens,
    at,
    variables,
    /** Runs the action. */
    action: async (
      change: Readonly<Record<string, string>> = {},
      given: Readonly<Record<string, string>> = {},
    ) => {
      const values: Readonly<Record<string, string>> = { ...inputs, ...change };
      const filled = (text: string) =>
        text.replace(
          /\$\{\{ inputs\.(\w+) \}\}/g,
          (_all, name: string) => values[name] ?? action.inputs[name]?.default ?? '',
        );
      const [step] = action.runs.steps;
      if (step === undefined) throw new Error('The action has no step.');
      return bash(step.run, {
        GITHUB_ACTION_PATH: actionFolder,
        GITHUB_ENV: at('env'),
        GITHUB_OUTPUT: at('output'),
        GITHUB_PATH: at('path'),
        RUNNER_TEMP: at('temp'),
        ACTIONS_ID_TOKEN_REQUEST_URL: `${local(tokens)}/token?api-version=2.0`,
        ACTIONS_ID_TOKEN_REQUEST_TOKEN: requestToken,
        API_KEY: apiKey,
        ...Object.fromEntries(Object.entries(step.env).map(([name, text]) => [name, filled(text)])),
        ...given,
      });
    },
    /** Runs a step after the action. */
    step: async (script: string) => bash(script, await variables()),
  };
}

describe.skipIf(curlMissing)('the GitHub Action', () => {
  test('gives later steps the rights of the agent that the token identifies', async () => {
    const { action, step, api, seen, asked, variables, at } = await job();
    const { exit, output } = await action();
    expect([exit, output]).toEqual([0, expect.stringMatching(/^::add-mask::eyJ/m)]);
    expect(asked).toEqual([`/token?api-version=2.0&audience=${audience}`, `bearer ${requestToken}`]);
    expect(await step(`curl -sS ${api.url}/`)).toEqual({ exit: 0, output: 'ok' });
    expect(seen).toEqual([`Bearer ${apiKey}`]);
    expect(await readFile(at('output'), 'utf8')).toBe(`agent=ci-bot\nhome=${at('temp')}/sidekey\n`);

    // Sidekey stays, and later steps run as its user.
    const look = `for each in /proc/[0-9]*/environ; do tr '\\0' '\\n' <"$each" | grep -e ${apiKey} -e ${requestToken} || true; done`;
    expect((await step(`{ ${look}; } 2>/dev/null`)).output).toBe('');

    const { HTTPS_PROXY = '' } = await variables();
    const { username, password, host } = new URL(HTTPS_PROXY);
    expect([username, output.split('\n')]).toEqual([
      'ci-bot',
      expect.arrayContaining([`::add-mask::${password}`]),
    ]);
    expect(
      await step(`curl -s -o /dev/null -w '%{http_connect}' -x http://${host} ${api.url}/ || true`),
    ).toEqual({
      exit: 0,
      output: '407',
    });
    const files = [await readFile(at('env'), 'utf8'), output.replaceAll(/^::add-mask::.*$/gm, '')];
    for (const text of files) {
      expect(text).not.toContain(apiKey);
      expect(text).not.toContain('eyJ');
    }
    expect(files[1]).not.toContain(password);
  });

  test('installs the executable of a release after verifying its checksum', async () => {
    const { action, at, step, api } = await job();
    const name = `sidekey-${process.platform}-${process.arch}`;
    const executable = await readFile(at('sidekey'), 'utf8');
    const files: Readonly<Record<string, string>> = {
      [`/${name}`]: executable,
      '/SHA256SUMS': `${hash('sha256', executable)}  ${name}\n`,
    };
    const release = await startPlainUpstream(
      (request, response) => void response.end(files[request.url ?? '']),
    );
    await writeFile(at('sidekey'), '#!/bin/sh\nexit 9\n');
    const { exit, output } = await action({ release: local(release) });
    expect([exit, output]).toEqual([0, expect.stringContaining('Installed')]);
    expect(await readFile(at('path'), 'utf8')).toBe(`${at('temp')}/sidekey-program/bin\n`);
    expect(await step(`curl -sS ${api.url}/`)).toEqual({ exit: 0, output: 'ok' });
  });

  test.each<[string, object]>([
    ['a pull request', { sub: 'repo:acme/app:pull_request' }],
    ['another repository', { repository_id: '75' }],
  ])('gives a token of %s no rights', async (_name, claims) => {
    const { action, variables } = await job(claims);
    const { exit, output } = await action();
    expect([exit, output]).toEqual([3, expect.stringContaining('agent check')]);
    expect(await variables()).toEqual({});
  });

  test.each<[string, string, Parameters<Awaited<ReturnType<typeof job>>['action']>]>([
    ['without id-token: write', 'id-token: write', [{}, { ACTIONS_ID_TOKEN_REQUEST_URL: '' }]],
    ['whose setup fails', 'no such account', [{ setup: 'echo no such account; false; true' }]],
    ['without a config', 'no-such.yaml', [{ config: '/no-such.yaml' }]],
  ])('fails for a job %s, and sets no variable', async (_name, said, args) => {
    const { action, variables, asked } = await job();
    const { exit, output } = await action(...args);
    expect([exit, output]).toEqual([1, expect.stringContaining(said)]);
    expect([await variables(), asked]).toEqual([{}, []]);
  });

  test('refuses a config that accepts callers without a token', async () => {
    const { action, variables } = await job({}, 'optional');
    const { exit, output } = await action();
    expect([exit, output]).toEqual([1, expect.stringContaining('authentication: required')]);
    expect(await variables()).toEqual({});
  });

  test('prints the reason if Sidekey does not start', async () => {
    const { action, at } = await job();
    await writeFile(at('sidekey.yaml'), 'version: 1\nunknown: 1\n', { mode: 0o600 });
    const { exit, output } = await action();
    expect([exit, output]).toEqual([1, expect.stringMatching(/::error.*unknown/)]);
  });
});
