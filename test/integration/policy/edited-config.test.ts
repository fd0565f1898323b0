import {
  writeFileSync,
  renameSync,
  mkdirSync,
  symlinkSync,
  rmSync,
  openSync,
  writeSync,
  closeSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import type { AuditLine } from '../../../src/domain/event.ts';
import { home } from '../../support/command-line.ts';
import { granted } from '../../support/granted.ts';
import { openClient, openTunnel, type RawClient } from '../../support/raw-client.ts';
import { startPlainUpstream, upstreamHost } from '../../support/upstream.ts';

/** Enough edits that a proxy that waits for file events fails: it collects events for 30 ms. */
const edits = 200;

/**
 * An edit applies to all requests that are sent this long after it, in milliseconds (docs/configuration.md).
 */
const appliesAfterMs = 10;

/**
 * Asks until the answer is `wanted`, or until a request that was sent after `appliesAfterMs` has its answer.
 */
async function askAfterEdit<Answer>(ask: () => Promise<Answer>, wanted: Answer): Promise<Answer> {
  const editedAt = performance.now();
  for (;;) {
    const mustApply = performance.now() - editedAt >= appliesAfterMs;
    const answer = await ask();
    if (answer === wanted || mustApply) return answer;
  }
}

/** The config of callers without a token: two texts of equal length. */
type Mode = 'required' | 'optional';

/** A proxy as a program of its own, whose config lets its caller through or not. */
async function program() {
  const upstream = await startPlainUpstream((_request, response) => response.end('ok'));
  const config = (authentication: Mode) =>
    stringify({
      version: 1,
      proxy: { listen: '127.0.0.1:0', authentication },
      upstream: { resolve: { [upstreamHost]: '127.0.0.1' }, private_addresses: ['127.0.0.1/32'] },
      domains: { [upstream.authority]: { grant: 'desk', allow_plain_http: true } },
    });
  const at = await home();
  await at.grant('desk', { type: 'api_key', value: 'token-1' }, [
    '--provider',
    'acme',
    '--audience',
    upstream.authority,
  ]);
  writeFileSync(at.configFile, config('optional'));
  const audit = async () =>
    (await readFile(at.at('data', 'audit.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as AuditLine);
  const start = async () => {
    const { url, stop } = await at.start();
    const client = await openClient({ port: Number(new URL(url).port) });
    const ask = async () => {
      client.send(`GET ${upstream.url}/ HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      return (await client.response()).status;
    };
    return { ask, stop };
  };
  return { at, config, audit, start };
}

/** Alternates the mode, asks after each edit, and returns the wrong answers. */
async function alternate(edit: (mode: Mode) => void, ask: () => Promise<number>) {
  const wrong: string[] = [];
  for (let i = 0; i < edits; i += 1) {
    const mode = i % 2 === 0 ? 'required' : 'optional';
    edit(mode);
    const wanted = mode === 'required' ? 407 : 200;
    const status = await askAfterEdit(ask, wanted);
    if (status !== wanted) wrong.push(`edit ${i}: ${mode}, but ${status}`);
  }
  return wrong;
}

describe('a config edit applies to all requests after 10 ms', () => {
  test('if the file is written in place', { timeout: 60_000 }, async () => {
    const { at, config, start } = await program();
    const { ask } = await start();
    expect(await ask()).toBe(200);
    expect(await alternate((mode) => writeFileSync(at.configFile, config(mode)), ask)).toEqual([]);
  });

  test('if a file is renamed onto it', { timeout: 60_000 }, async () => {
    const { at, config, start } = await program();
    const { ask } = await start();
    const edit = (mode: Mode) => {
      writeFileSync(`${at.configFile}~`, config(mode));
      renameSync(`${at.configFile}~`, at.configFile);
    };
    expect(await alternate(edit, ask)).toEqual([]);
  });

  test('if a mounted ConfigMap swaps its folder', { timeout: 60_000 }, async () => {
    const { at, config, start } = await program();
    const folder = dirname(at.configFile);
    for (const mode of ['optional', 'required'] as const) {
      mkdirSync(join(folder, `..${mode}`));
      writeFileSync(join(folder, `..${mode}`, 'sidekey.yaml'), config(mode));
    }
    const swap = (mode: Mode) => {
      symlinkSync(`..${mode}`, join(folder, '..data_tmp'));
      renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
    };
    swap('optional');
    rmSync(at.configFile);
    symlinkSync('..data/sidekey.yaml', at.configFile);
    const { ask } = await start();
    expect(await ask()).toBe(200);
    expect(await alternate(swap, ask)).toEqual([]);
  });

  test('inside an open tunnel, for a CONNECT and for a WebSocket', { timeout: 60_000 }, async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const open = await readFile(sidekey.configFile, 'utf8');
    const shut = open.replace('grant: acme', 'grant: acme\n    rules: [{ outcome: deny }]');
    const closed = stringify({ ...(parse(open) as object), domains: { [upstream.authority]: 'deny' } });
    const inside = await openTunnel(sidekey, upstream.authority);
    const request = `GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n`;
    const ask = async (client: RawClient, more = '') => {
      client.send(request, more, '\r\n');
      return (await client.response()).status;
    };
    for (let i = 0; i < 20; i += 1) {
      writeFileSync(sidekey.configFile, shut);
      expect(await askAfterEdit(() => ask(inside), 403)).toBe(403);
      writeFileSync(sidekey.configFile, open);
      expect(await askAfterEdit(() => ask(inside), 200)).toBe(200);
    }
    const connect = async () => {
      const client = await openClient(sidekey);
      client.send(`CONNECT ${upstream.authority} HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      return (await client.response('CONNECT')).status;
    };
    writeFileSync(sidekey.configFile, closed);
    expect(await askAfterEdit(connect, 403)).toBe(403);
    writeFileSync(sidekey.configFile, open);
    expect(await askAfterEdit(connect, 200)).toBe(200);
    const socket = await openTunnel(sidekey, upstream.authority);
    writeFileSync(sidekey.configFile, shut);
    const handshake =
      'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
    // A handshake cannot be repeated on a connection that an upgrade has taken.
    await setTimeout(appliesAfterMs);
    expect(await ask(socket, handshake)).toBe(403);
  });
});

describe('an incomplete or invalid edit', () => {
  test('that is half-written changes nothing, and applies once complete', async () => {
    const { at, config, audit, start } = await program();
    const { ask, stop } = await start();
    const whole = config('required');
    const cut = whole.indexOf('domains') + 4;
    const file = openSync(at.configFile, 'w');
    writeSync(file, whole.slice(0, cut));
    expect(await askAfterEdit(ask, 407)).toBe(200);
    writeSync(file, whole.slice(cut));
    expect(await askAfterEdit(ask, 407)).toBe(407);
    closeSync(file);
    await stop();
    const said = (await audit()).filter(({ event }) => event.startsWith('config.'));
    expect(said.map(({ event, code }) => [event, code])).toEqual([
      ['config.rejected', 'config_invalid'],
      ['config.reloaded', undefined],
    ]);
  });

  test('is read once for any number of requests, like a valid edit', async () => {
    const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
    const ask = async () => {
      const client = await openTunnel(sidekey, upstream.authority);
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      return (await client.response()).status;
    };
    const good = await readFile(sidekey.configFile, 'utf8');
    writeFileSync(sidekey.configFile, `${good}\nunknown_key: 1\n`);
    expect(await Promise.all(Array.from({ length: 20 }, ask))).toEqual(Array(20).fill(200));
    writeFileSync(sidekey.configFile, `${good}\nlog: { level: warn }\n`);
    expect(await Promise.all(Array.from({ length: 20 }, ask))).toEqual(Array(20).fill(200));
    expect(sidekey.proxy.config().log.level).toBe('warn');
    await sidekey.audited(({ event }) => event === 'config.reloaded');
    const said = (await sidekey.audit()).filter(({ event }) => event.startsWith('config.'));
    expect(said.map(({ event }) => event)).toEqual(['config.rejected', 'config.reloaded']);
  });
});

test('an edited provider definition beside the config applies after 10 ms', async () => {
  const seen: (string | undefined)[] = [];
  const { upstream, sidekey } = await granted((request, response) => {
    seen.push(request.headers['x-key'] as string | undefined);
    response.end('ok');
  });
  const own = join(sidekey.folder, 'providers');
  const define = (header: string) =>
    writeFileSync(
      join(own, 'acme.yaml'),
      stringify({
        title: 'Acme',
        category: 'sample',
        docs: ['https://acme.test/docs'],
        audience: [upstreamHost],
        inject: { header },
        token: { label: 'API key', url: 'https://acme.test/keys', steps: ['Make a key.'] },
      }),
    );
  const client = await openTunnel(sidekey, upstream.authority);
  const ask = async () => {
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    await client.response();
    return seen.at(-1) !== undefined;
  };
  expect(await ask()).toBe(false);
  mkdirSync(own, { mode: 0o700 });
  define('X-Key');
  const first = await askAfterEdit(ask, true);
  expect(sidekey.logged()).not.toContain('the config stays');
  expect(first).toBe(true);
  define('X-Other');
  expect(await askAfterEdit(ask, false)).toBe(false);
});
