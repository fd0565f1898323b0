/** `sidekey mcp` below `sidekey run`: the Model Context Protocol on standard input and output. */
import { Readable } from 'node:stream';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Context } from '../../../src/cli/context.ts';
import { serveMcp } from '../../../src/cli/mcp/mcp.ts';
import { tools } from '../../../src/cli/mcp/tools.ts';
import { program } from '../../support/command-line.ts';
import { deskToken, runHome, type RunHome } from '../../support/run-command.ts';
import { startSidekey } from '../../support/sidekey.ts';

interface Answer {
  readonly id: number | null;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly code: number };
}

const line = (each: object | string) =>
  typeof each === 'string' ? each : JSON.stringify({ jsonrpc: '2.0', ...each });

/** Sends messages, each of them one line; returns the answers by their ids, and the program's end. */
async function speak(place: RunHome, ...messages: readonly (object | string)[]) {
  const input = `${messages.map(line).join('\n')}\n`;
  const { exit, stdout } = await place.run(['--quiet', '--', process.execPath, program, 'mcp'], { input });
  const lines = stdout.split('\n').filter((each) => each !== '');
  const answers = new Map(lines.map((each) => JSON.parse(each) as Answer).map((each) => [each.id, each]));
  const text = (id: number) => {
    const [first] = (answers.get(id)?.result?.['content'] ?? []) as readonly { readonly text: string }[];
    return first?.text ?? '';
  };
  return { exit, stdout, answers, text };
}

const call = (id: number, name: string, given: object = {}) => ({
  id,
  method: 'tools/call',
  params: { name, arguments: given },
});

describe('the MCP protocol', () => {
  test.each([
    ['2025-06-18', '2025-06-18'],
    ['2024-11-05', '2024-11-05'],
    ['1999-01-01', '2025-11-25'],
  ])('of a client with revision %s is answered with revision %s', async (asked, spoken) => {
    const { answers, exit } = await speak(
      await runHome(),
      { id: 1, method: 'initialize', params: { protocolVersion: asked, capabilities: {} } },
      { method: 'notifications/initialized' },
      { id: 2, method: 'ping' },
    );
    expect(exit).toBe(0);
    expect(answers.get(1)?.result).toMatchObject({
      protocolVersion: spoken,
      capabilities: { tools: {} },
      serverInfo: { name: 'sidekey' },
    });
    expect([...answers.keys()]).toEqual([1, 2]);
  });

  test('answers an unknown method with an error', async () => {
    const { answers } = await speak(
      await runHome(),
      'not JSON',
      { id: 1, method: 'resources/list' },
      call(2, 'approve'),
      { method: 'unknown/notification' },
    );
    expect(answers.get(null)?.error?.code).toBe(-32_700);
    expect(answers.get(1)?.error?.code).toBe(-32_601);
    expect(answers.get(2)?.error).toEqual({
      code: -32_602,
      message: 'There is no such tool; tools/list has their names.',
    });
    expect(answers.size).toBe(3);
  });

  test('refuses parameters and arguments that are no object', async () => {
    const given = [null, [], ...[null, ['x'], 'x'].map((each) => ({ name: 'list', arguments: each }))];
    const messages = given.map((params, id) => ({ id, method: 'tools/call', params }));
    const { answers } = await speak(await runHome(), ...messages);
    expect(given.map((_each, id) => answers.get(id)?.error?.code)).toEqual(given.map(() => -32_602));
  });

  test('lists tools with schemas, and offers no tool that approves', async () => {
    const { answers } = await speak(await runHome(), { id: 1, method: 'tools/list' });
    const tools = answers.get(1)?.result?.['tools'] as { name: string; inputSchema: { type: string } }[];
    expect(tools.map(({ name }) => name)).toEqual(['list', 'explain', 'propose', 'proposal', 'request']);
    expect(tools.every(({ inputSchema }) => inputSchema.type === 'object')).toBe(true);
  });
});

describe('the MCP tools', () => {
  test('list and explain what the caller can do', async () => {
    const place = await runHome();
    const url = `${place.upstream.url}/`;
    const { text } = await speak(
      place,
      call(1, 'list'),
      call(2, 'explain', { url }),
      call(3, 'explain', { url: 'https://other.example.com/' }),
    );
    expect(text(1)).toContain('api.acme.test');
    expect(JSON.parse(text(2))).toMatchObject([{ grants: [{ name: 'desk' }] }]);
    expect(text(3)).toContain('other.example.com is');
  });

  test('send a request with its reason and the credential, which the response omits', async () => {
    const place = await runHome();
    const given = { url: `${place.upstream.url}/items`, reason: 'ticket 7' };
    const { text, stdout } = await speak(place, call(1, 'request', given));
    expect(text(1)).toBe('HTTP 200\n\nhello');
    expect(place.seen).toEqual([`Bearer ${deskToken}`]);
    expect(stdout).not.toContain(deskToken);
    const [access] = await place.events('access');
    expect(access).toMatchObject({ agent: 'run', reason: 'ticket 7', path: '/items' });
  });

  test('explain why a request is refused, and what would allow the request', async () => {
    const place = await runHome(undefined, () => ({ proxy: { listen: '127.0.0.1:0', unmatched: 'deny' } }));
    const given = { url: 'https://other.example.com/', reason: 'ticket 7' };
    const { answers, text } = await speak(
      place,
      call(1, 'request', given),
      call(2, 'request', { url: given.url }),
      call(3, 'request', { ...given, method: 'CONNECT' }),
      call(4, 'proposal', { id: '../index.json' }),
    );
    expect(text(1)).toMatch(
      /\(domain_not_allowed\)\nWhat would allow it: .*sidekey domain.*; the tool propose /,
    );
    expect(text(2)).toContain('reason is missing');
    for (const id of [1, 2, 3, 4]) expect(answers.get(id)?.result).toMatchObject({ isError: true });
    expect(place.seen).toEqual([]);
  });

  test('report where a redirect leads, and what a missing scope needs, in words of the tools', async () => {
    const challenge = 'Bearer error="insufficient_scope", scope="write:tickets"';
    const place = await runHome(({ url }, response) => {
      if (url === '/moved') response.writeHead(302, { location: 'https://other.example.com/' });
      else response.writeHead(403, { 'www-authenticate': challenge, 'content-type': 'text/plain' });
      response.end();
    });
    const { text } = await speak(
      place,
      call(1, 'request', { url: `${place.upstream.url}/moved`, reason: 'x' }),
      call(2, 'request', { url: `${place.upstream.url}/items`, reason: 'x' }),
      call(3, 'request', { url: 'https://other.example.com/', grant: 'nope', reason: 'x' }),
    );
    expect(text(1)).toBe('HTTP 302, to https://other.example.com/\n\n');
    expect(text(2)).toMatch(/^HTTP 403, text\/plain\nWhat would allow it: sidekey .*write:tickets/);
    expect(text(2)).toContain('; the tool propose asks a person for it\n');
    expect(text(3)).not.toContain('sidekey.internal');
  });

  test('refuse other arguments than those of their schema, by name', async () => {
    const place = await runHome();
    const domain = { host: 'a.test', action: 'tunnel', port: 1 };
    const rows = [
      ['request', { body_base64: 'x' }, 'request has no argument body_base64; request takes method, url,'],
      ['list', { all: true }, 'list has no argument all; list takes none'],
      ['propose', { domain, reason: 'x' }, 'propose.domain has no argument port;'],
      ['request', { url: 1, reason: 'x' }, 'url is missing, or not valid'],
      [
        'request',
        { url: 'https://a.test', headers: { Accept: 1 } },
        'headers.Accept is missing, or not valid',
      ],
    ] as const;
    const { answers, text } = await speak(place, ...rows.map(([name, given], id) => call(id, name, given)));
    for (const [id, [, , problem]] of rows.entries()) {
      expect(answers.get(id)?.result).toMatchObject({ isError: true });
      expect(text(id)).toContain(problem);
    }
    expect(place.seen).toEqual([]);
  });

  test('take a user, and name arguments and tools instead of options in a refusal', async () => {
    const place = await runHome();
    const given = { url: 'https://a.test', reason: 'x' };
    const { text } = await speak(
      place,
      call(1, 'request', { ...given, user: 'a b' }),
      call(2, 'request', { ...given, method: 'CONNECT' }),
      call(3, 'request', { ...given, headers: { Host: 'b.test' } }),
      call(4, 'request', { ...given, grant: 'a b' }),
      call(5, 'request', { ...given, reason: ' ' }),
      call(6, 'request', { ...given, url: `${place.upstream.url}/items`, user: 'nobody' }),
    );
    expect(text(6)).toMatch(/\(grant_missing\)/);
    expect(text(1)).toContain('The name of the user is not valid. (input_invalid)');
    expect(text(2)).toContain('The method is not valid. (input_invalid)\nWhat would allow it: method PATCH');
    expect(text(3)).toContain('Host cannot be set with headers.');
    expect(text(4)).toContain('What would allow it: the tool list');
    for (const id of [1, 2, 3, 4, 5]) expect(text(id)).not.toMatch(/(?:^|\s)-{1,2}[a-zA-Z]/);
  });

  test('report an upstream that breaks off without an internal stack', async () => {
    const place = await runHome((_request, response) => {
      response.writeHead(200, { 'content-length': '9' }).write('half', () => response.destroy());
    });
    const { answers, text } = await speak(
      place,
      call(1, 'request', { url: `${place.upstream.url}/items`, reason: 'ticket 7' }),
    );
    expect(answers.get(1)?.result).toMatchObject({ isError: true });
    expect(text(1)).toContain('(upstream_protocol)');
  });

  test('stop a cancelled request, and send no response to it', async () => {
    const place = await runHome(() => {});
    const given = { url: `${place.upstream.url}/held`, reason: 'ticket 7' };
    const cancel = { method: 'notifications/cancelled', params: { requestId: 1 } };
    const { exit, answers } = await speak(place, call(1, 'request', given), cancel, {
      id: 2,
      method: 'ping',
    });
    expect([exit, [...answers.keys()]]).toEqual([0, [2]]);
  });

  test('propose a host, which a person must accept', async () => {
    const place = await runHome(undefined, () => ({ proxy: { listen: '127.0.0.1:0', unmatched: 'deny' } }));
    const domain = { host: 'other.example.com', action: 'tunnel' };
    const { text } = await speak(place, call(1, 'propose', { domain, reason: 'for the report' }));
    const [, id = ''] = /"id": ?"([0-9a-z]+)"/.exec(text(1)) ?? [];
    expect(text(1)).toContain('"status":"waiting"');
    const asked = await speak(place, call(1, 'proposal', { id }));
    expect(asked.text(1)).toContain('waiting');
  });
});

test('a mistake of Sidekey is answered without its stack, which is in standard error', async () => {
  const { url } = await startSidekey();
  vi.spyOn(tools[0]!, 'call').mockRejectedValue(new TypeError('a secret'));
  onTestFinished(() => void vi.restoreAllMocks());
  const written: string[] = [];
  const said: string[] = [];
  const output = {
    bytes: (content: Uint8Array) => written.push(String(content)),
    say: (each: string) => said.push(each),
  };
  const stdin = Readable.from([`${line(call(1, 'list'))}\n`]);
  await serveMcp({ stdin, output } as unknown as Context, { proxy: url });
  const message = 'Sidekey failed; standard error of sidekey mcp has the cause.';
  expect(written.map((each) => JSON.parse(each) as object)).toEqual([
    { jsonrpc: '2.0', id: 1, error: { code: -32_603, message } },
  ]);
  expect(said.join()).toMatch(/^A call failed: TypeError in .*mcp\.test\.ts/);
});
