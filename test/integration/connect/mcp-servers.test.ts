/** `connect https://…/mcp` at the servers of the SDKs of MCP, with their own authorization. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { consentAs } from '../../../examples/helpdesk/consent.ts';
import { alice, begin } from '../../support/connect-home.ts';
import { home } from '../../support/command-line.ts';
import { startApiWithLogin } from '../../support/mcp/login-server.ts';
import { pythonMcpMissing, startPythonMcp } from '../../support/mcp/python-server.ts';
import { startTypescriptMcp } from '../../support/mcp/typescript-server.ts';
import { type Upstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

interface Envelope {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

async function machine({ url }: Upstream) {
  const at = await home({
    workers: 1,
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
  });
  await writeFile(join(at.folder, 'config', 'upstream-ca.pem'), upstreamCa);
  /** Runs `connect`, and opens the address of the consent. */
  const connect = async (...args: readonly string[]) => {
    const command = begin(['connect', ...args, '--paste', '--config', at.configFile], at.folder);
    const [consent = ''] = /https:\/\/\S+\/auth\w*\?\S+/.exec(await command.said(/\/auth\w*\?\S+\s/)) ?? [];
    command.stdin.write(`${(await consented(consent)).href}\n`);
    return { ...(await command.done), asked: new URL(consent).searchParams };
  };
  const call = async (tool: string) => {
    const message = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: tool, arguments: {} } };
    const fields = [
      '-H',
      'Accept: application/json, text/event-stream',
      '-H',
      'Content-Type: application/json',
    ];
    return (await at.json(['fetch', `${url}/mcp`, ...fields, '-d', JSON.stringify(message)])) as Envelope;
  };
  return { at, connect, call };
}

/** Opens the page as a person's browser does, and returns the last address. */
function consented(text: string): Promise<URL> {
  const url = new URL(text);
  const connectTo = { host: '127.0.0.1', port: Number(url.port) };
  return consentAs(url, alice, { issuer: url.origin, ca: upstreamCa, connectTo });
}

const servers = [
  { sdk: 'TypeScript', missing: false as const, start: startTypescriptMcp },
  { sdk: 'Python', missing: pythonMcpMissing, start: startPythonMcp },
];

describe.each(servers)('an MCP server of the $sdk SDK', ({ missing, start }) => {
  test(`is connected by its address, called and renewed${missing ? ` (${missing})` : ''}`, async (context) => {
    context.skip(missing !== false, missing || '');
    const { upstream } = await start();
    const { at, connect, call } = await machine(upstream);
    const { exit, stdout, stderr, asked } = await connect(`${upstream.url}/mcp`);
    expect(exit, stderr).toBe(0);
    expect(stdout).toContain(`Connected ${upstreamHost}.`);
    expect(Object.fromEntries(asked)).toMatchObject({
      code_challenge_method: 'S256',
      resource: `${upstream.url}/mcp`,
    });
    expect(await call('look')).toMatchObject({ status: 200 });
    expect(await at.json(['grant', 'refresh', upstreamHost, '--force'])).toMatchObject({ renewed: true });
    expect(JSON.stringify(await call('look'))).toContain('look: done');
  });
});

describe('an MCP server', () => {
  test('gets its resource in every authorization and token request', async () => {
    const { upstream, asked } = await startTypescriptMcp();
    const { at, connect } = await machine(upstream);
    expect((await connect(`${upstream.url}/mcp`)).exit).toBe(0);
    await at.json(['grant', 'refresh', upstreamHost, '--force']);
    expect(await at.run(['connect', `${upstream.url}/other`])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining(`already, which is not for ${upstream.url}/other.`),
    });
    expect(asked).toEqual(Array(3).fill(`${upstream.url}/mcp`));
  });

  test('that refuses a call with insufficient_scope is called after the consent that the hint names', async () => {
    const { upstream } = await startTypescriptMcp();
    const { connect, call } = await machine(upstream);
    const { asked } = await connect(`${upstream.url}/mcp`);
    expect(asked.get('scope')).toBe('read');
    const refused = await call('change');
    expect(refused.status).toBe(403);
    const [, ...words] =
      /^sidekey connect (\S+) --scope (\S+) /.exec(refused.headers['sidekey-hint'] ?? '') ?? [];
    expect(words).toEqual([upstreamHost, 'write']);
    const again = await connect(upstreamHost, '--scope', 'write');
    expect(again.exit, again.stderr).toBe(0);
    expect(again.asked.get('scope')).toBe('write read');
    expect(JSON.stringify(await call('change'))).toContain('change: done');
  });

  test('that gives no refresh token is connected, with the command that asks for one', async () => {
    const { upstream } = await startTypescriptMcp({ givesRefreshTokens: false });
    const { connect } = await machine(upstream);
    const { exit, stderr } = await connect(`${upstream.url}/mcp`);
    expect(exit, stderr).toBe(0);
    expect(stderr).toContain('There is no refresh token: the token ends in 60 min');
    expect(stderr).toContain(`sidekey connect ${upstreamHost} --scope 'read offline_access'`);
  });
});

test('an API with a login server of its company gets a token that renews itself', async () => {
  const { api, login, tokens } = await startApiWithLogin();
  const { at, connect, call } = await machine(api);
  const { exit, stderr, asked } = await connect(`${api.url}/mcp`, '--name', 'desk');
  expect(exit, stderr).toBe(0);
  expect(stderr).toContain(`Found at ${login.url}`);
  expect(Object.fromEntries(asked)).toMatchObject({
    scope: 'read offline_access',
    prompt: 'consent',
    resource: `${api.url}/mcp`,
  });
  expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({ renewed: true });
  expect(await call('look')).toMatchObject({ status: 200 });
  expect(tokens.at(-1)).toMatch(/^Bearer \S+$/);
});
