/** `connect https://…/mcp` at the servers of the SDKs of MCP, with their own authorization. */
import { writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import type { LookupFunction } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { begin } from '../../support/connect-home.ts';
import { home } from '../../support/command-line.ts';
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
    const [consent = ''] =
      /https:\/\/\S+\/authorize\?\S+/.exec(await command.said(/\/authorize\?\S+\s/)) ?? [];
    command.stdin.write(`${await redirected(consent)}\n`);
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

/** Returns where a page redirects the browser. */
function redirected(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { ca: upstreamCa, lookup: loopback, agent: false } as const;
    get(url, options, (response) => {
      response.resume();
      resolve(response.headers.location ?? `HTTP ${response.statusCode}`);
    }).on('error', reject);
  });
}

const loopback: LookupFunction = (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]);

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
