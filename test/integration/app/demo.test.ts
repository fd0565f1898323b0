import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { fetchAgent, findAgent, type Agent } from '../../../examples/demo/agent.ts';
import { createScreen } from '../../../examples/demo/screen.ts';
import { openStage, type Stage } from '../../../examples/demo/stage.ts';
import { tellStory } from '../../../examples/demo/story.ts';
import { send } from '../../../examples/helpdesk/connection.ts';
import type { Log } from '../../../src/lib/log.ts';
import { compileCache } from '../../support/built-program.ts';
import { curlMissing } from '../../support/curl.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const checkout = fileURLToPath(new URL('../../..', import.meta.url));
const demoFile = join(checkout, 'examples/demo.ts');

interface Demo {
  readonly child: ChildProcess;
  /** Parent of its folder. */
  readonly temporary: string;
  /** Resolves once stdout has this. */
  readonly says: (words: string) => Promise<void>;
  /** Standard output so far. */
  readonly said: () => string;
  readonly ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
}

/** Runs the demo as `npm run demo` does. Its streams end with it and with whatever it left running. */
async function runDemo(...args: readonly string[]): Promise<Demo> {
  const temporary = await tempFolder();
  const env = { ...compileCache, PATH: process.env['PATH'], TMPDIR: temporary, npm_command: 'run-script' };
  const child = spawn(process.execPath, [demoFile, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  let stdout = '';
  const heard = new Set<() => void>();
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
    for (const hear of heard) hear();
  });
  const stderr = text(child.stderr);
  const closed = once(child, 'close');
  return {
    child,
    temporary,
    said: () => stdout,
    says: (words) =>
      new Promise((resolve, reject) => {
        const hear = (): void => {
          if (!stdout.includes(words)) return;
          heard.delete(hear);
          resolve();
        };
        heard.add(hear);
        void closed.then(() => reject(new Error(`The demo ended without saying "${words}".`)));
        hear();
      }),
    ended: closed.then(async () => ({ code: child.exitCode, stdout, stderr: await stderr })),
  };
}

function portIn(stdout: string, before: string): number {
  return Number(new RegExp(`${before}:(\\d+)`).exec(stdout)?.[1]);
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    return await once(socket, 'connect').then(
      () => true,
      () => false,
    );
  } finally {
    socket.destroy();
  }
}

/** The five promises of the README, without what stands behind the first sentence of each. */
const promises = Array.from(
  readFileSync(join(checkout, 'README.md'), 'utf8').matchAll(/^(\d)\. \*\*(.*?)\.\*\*/gm),
  ([, number, promise]) => `${number}  ${promise}`,
);

/** The lines of a story, without spaces at their ends. */
const expected = [
  /\$ HTTPS_PROXY=http:\/\/127\.0\.0\.1:\d+ .*\\$/m,
  /the agent sent +the API received/,
  /^ {3}\(no Authorization\) +Authorization: Bearer [\w-]{6}…$/m,
  /came back +200, 4 tickets/,
  /another host +403 policy_violation/,
  /access +grant acme, credential [0-9a-f]{16}$/m,
  /outcome +200, \d+ bytes, \d+ ms/,
  /audit chain of \d+ lines intact/,
  /expired after 6 s, 1 refresh: Bearer [\w-]{6}… instead of [\w-]{6}…$/m,
  /200 under a lease; once it is revoked, 403 lease_expired/,
  /\d+ files, no token in clear/,
];

describe('npm run demo', { timeout: 60_000 }, () => {
  it('shows every step once and leaves no files, even with its ports in use', async () => {
    const demos = await Promise.all([runDemo('--once'), runDemo('--once')]);
    const ends = await Promise.all(demos.map((demo) => demo.ended));
    for (const { code, stdout, stderr } of ends) {
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      for (const line of expected) expect(stdout).toMatch(line);
      expect(stdout.match(/^\d  .*$/gm)).toEqual(promises);
      expect(promises).toHaveLength(5);
      expect(stdout.split('\n').length).toBeLessThanOrEqual(24);
      // Tokens of the helpdesk have 43 characters, and nothing else on the page has as many without a break.
      expect(stdout).not.toMatch(/[\w-]{40,}/);
      expect(stdout).not.toContain('\u001b');
    }
    const ports = ends.flatMap(({ stdout }) => [
      portIn(stdout, 'proxy +http://127.0.0.1'),
      portIn(stdout, 'https://helpdesk.acme.test'),
    ]);
    expect(new Set(ports).size).toBe(4);
    for (const port of ports) expect(await answers(port)).toBe(false);
    for (const { temporary } of demos) expect(await readdir(temporary)).toEqual([]);
  });

  it.skipIf(curlMissing)('stays up, with working commands to paste, until Ctrl-C (curl)', async () => {
    const demo = await runDemo();
    await demo.says('Ctrl-C ends it');
    const [folder] = await readdir(demo.temporary);
    expect(folder).toMatch(/^sidekey-demo-/);
    const [, page = ''] = demo.said().split('It stays up.');
    const script = page
      .slice(page.indexOf('# be the agent'), page.indexOf('Ctrl-C'))
      .replaceAll('npx sidekey', `'${process.execPath}' src/sidekey.js`);
    const shell = spawn('/bin/sh', ['-e'], {
      cwd: checkout,
      env: { PATH: process.env['PATH'] },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    // A command that fails ends the shell before it has read the rest.
    shell.stdin.on('error', () => {}).end(script);
    const ended = once(shell, 'close');
    const output = await text(shell.stdout);
    await expect(ended).resolves.toEqual([0, null]);
    expect(output).toMatch(/"total":12\}.*"title":"No coffee".*grant\.refreshed.*\bacme +acme\b/s);
    // Twice, as npm and the terminal do together.
    demo.child.kill('SIGINT');
    demo.child.kill('SIGTERM');
    expect(await demo.ended).toMatchObject({ code: 0, stderr: '' });
    expect(demo.said()).toContain('Stopping.');
    expect(await readdir(demo.temporary)).toEqual([]);
  });

  it('ends when interrupted during a step, and leaves no files', async () => {
    const demo = await runDemo('--once');
    await demo.says('Access ends on time');
    demo.child.kill('SIGINT');
    expect(await demo.ended).toMatchObject({ code: 130, stderr: '' });
    expect(await readdir(demo.temporary)).toEqual([]);
  });

  it('prints its usage for unknown arguments', async () => {
    const { code, stdout, stderr } = await (await runDemo('--twice')).ended;
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('npm run demo -- --once');
  });
});

/** The demo's parts in this process, on a clock that a pause only turns on. Its tokens are known here. */
async function rehearse(change: { agent?: (stage: Stage) => Agent } = {}) {
  let ahead = 0;
  const clock = {
    now: () => Date.now() + ahead,
    pause: async (ms: number) => void (ahead += ms),
  };
  const complaints: string[] = [];
  const tell = (_fields: object, message: string): number => complaints.push(message);
  const log: Log = { error: tell, warn: tell, info: () => {}, debug: () => {} };
  const stage = await openStage({ ports: { proxy: 0, helpdesk: 0 }, accessTokenTtl: 300, clock, log });
  onTestFinished(() => stage.close());
  let page = '';
  const screen = createScreen({ write: (text) => (page += text) }, {});
  const place = { proxyUrl: stage.proxyUrl, caFile: stage.proxy.authority.certificateFile };
  const agent = change.agent?.(stage) ?? (await findAgent(place, process.env));
  const story = { stage, agent, screen, clock, signal: new AbortController().signal, laterTtl: 60 };
  return { stage, complaints, page: () => page, tell: () => tellStory(story) };
}

/** A client that goes to the API itself, and says that it went by the proxy. */
const past = (stage: Stage): Agent => ({
  environment: {},
  commandFor: () => 'past the proxy',
  run: async (url) => ({ ...(await send(stage.browser, new URL(url))), sent: [['CONNECT'], ['GET']] }),
});

describe('the script of the demo', () => {
  it('shows no token, fits the page width, and leaves no folder', async () => {
    const { stage, complaints, page, tell } = await rehearse();
    const tokens = new Set<string>();
    stage.helpdesk.requests.on('request', ({ headers }) => {
      const [, token] = headers.authorization?.split('Bearer ') ?? [];
      if (token !== undefined) tokens.add(token);
    });
    await tell();
    expect(tokens.size).toBe(2);
    for (const token of tokens) {
      expect(page()).toContain(`Bearer ${token.slice(0, 6)}…`);
      expect(page()).not.toContain(token.slice(0, 7));
    }
    const lines = page().split('\n');
    expect(lines.filter((line) => line.length > 100 && !line.includes(stage.folder))).toEqual([]);
    expect(lines.length).toBeLessThanOrEqual(24);
    expect(complaints).toEqual([]);
    await stage.close();
    expect(existsSync(stage.folder)).toBe(false);
  });

  it('works the same without curl', async () => {
    const { page, tell } = await rehearse({
      agent: ({ proxyUrl, proxy }) => fetchAgent({ proxyUrl, caFile: proxy.authority.certificateFile }),
    });
    await tell();
    expect(page()).toMatch(/^ {3}\(no Authorization\)/m);
    expect(page()).toContain('200, 4 tickets');
  });

  it('fails if consent is denied', async () => {
    const { stage, tell } = await rehearse();
    stage.helpdesk.failTokenEndpoint(() => ({ status: 400, body: { error: 'invalid_grant' } }));
    await expect(tell()).rejects.toThrow('The provider "acme" gave no token (invalid_grant).');
  });

  it('fails if no refresh happens', async () => {
    const { stage, page, tell } = await rehearse();
    stage.helpdesk.failTokenEndpoint(({ grantType }) =>
      grantType === 'refresh_token' ? { status: 400, body: { error: 'invalid_grant' } } : null,
    );
    await expect(tell()).rejects.toThrow(
      'The API was to receive one request; it received 0, and the agent got status 424.',
    );
    expect(page()).not.toContain('1 refresh');
  });

  it('fails if the API receives no bearer token', async () => {
    const { tell } = await rehearse({ agent: past });
    await expect(tell()).rejects.toThrow('The API received no bearer token.');
  });

  it.each(['Authorization: Bearer placeholder', 'proxy-authorization: Basic eDp5', 'Cookie: session=1'])(
    'fails if the agent sends its own credential (%s)',
    async (field) => {
      const holding = (): Agent => ({
        environment: {},
        commandFor: () => 'with a credential',
        run: async () => ({ sent: [['CONNECT'], ['GET', field]], status: 200, body: '' }),
      });
      const { tell } = await rehearse({ agent: holding });
      await expect(tell()).rejects.toThrow('The agent sent a credential, and it was to have none.');
    },
  );
});

const painted = (isTTY: boolean, env: NodeJS.ProcessEnv): string => {
  let page = '';
  const screen = createScreen({ isTTY, write: (text) => (page += text) }, env);
  screen.passing('soon');
  screen.step('Now');
  return page;
};

describe('the screen of the demo', () => {
  it('uses colours only on a terminal without NO_COLOR', () => {
    expect(painted(true, {})).toContain('\u001b[36m');
    expect(painted(true, { NO_COLOR: '' })).toContain('\u001b[36m');
    expect(painted(true, { NO_COLOR: '1' })).not.toContain('\u001b[36m');
    expect(painted(false, {})).toBe('1  Now\n');
  });
});
