import { createHmac } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import type { IncomingMessage, RequestListener } from 'node:http';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startAuditUpkeep } from '../../../src/app/audit-upkeep.ts';
import { anchoredLines, parseAnchors } from '../../../src/audit/sealed-heads.ts';
import { joinExchanges } from '../../../src/audit/join.ts';
import { formatLine } from '../../../src/audit/line.ts';
import type { AuditLine } from '../../../src/domain/event.ts';
import type { OpenAuditLog } from '../../../src/audit/log.ts';
import { readSinkState } from '../../../src/audit/export/sink.ts';
import { verifyAudit } from '../../../src/audit/verify.ts';
import { keptText } from '../../../src/operations/look-at-audit.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { openUpstreamClient } from '../../../src/app/upstream.ts';
import { home } from '../../support/command-line.ts';
import { requestBody } from '../../support/request-body.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';
import { access, headsWritten, openLog, paths, write } from '../../unit/audit/log-for-test.ts';
import { manualTimers } from '../../unit/audit/export/manual-timers.ts';
import { vaultForTest } from '../../unit/audit/vault-for-test.ts';

const secret = 'secret-of-the-receiver-0123456789';

/** A log that is looked after as the config says, with ways out that reach 127.0.0.1 and nothing else. */
async function lookedAfter(audit: (folder: string) => object, privateAddresses = ['127.0.0.1/32']) {
  const folder = await tempFolder();
  writeFileSync(join(folder, 'ca.pem'), upstreamCa);
  const config = await parseConfig(
    JSON.stringify({
      version: 1,
      audit: { file: 'audit.jsonl', ...audit(folder) },
      upstream: {
        ca: ['ca.pem'],
        resolve: { [upstreamHost]: '127.0.0.1' },
        private_addresses: privateAddresses,
      },
    }),
    join(folder, 'sidekey.yaml'),
    { env: {} },
  );
  const log = await openLog(config.audit.file, { now: Date.now });
  const upstream = await openUpstreamClient(config, { env: {}, ownPorts: () => [] });
  const time = manualTimers();
  const said: string[] = [];
  const tell = (fields: object, text: string) => said.push(`${text} ${JSON.stringify(fields)}`);
  const upkeep = startAuditUpkeep({
    config: config.audit,
    configFile: config.file,
    vault: vaultForTest(),
    audit: log,
    upstream: () => upstream,
    log: { error: tell, warn: tell, info: tell, debug: tell },
    now: Date.now,
    timers: time.timers,
    env: { SINK_SECRET: secret },
  });
  onTestFinished(async () => {
    const closed = upkeep.close();
    void time.fire((ms) => ms === 3_000);
    await closed;
    await upstream.close();
  });
  const look = () => time.fire((ms) => ms <= 1_000);
  const state = (name: string) => readSinkState(config.audit.file, name);
  return { ...time, file: config.audit.file, folder, log, upkeep, said, look, state };
}

/** An HTTPS server that keeps what is POSTed, and says when. */
async function receiver(
  answer: (count: number) => { status: number; body?: string; retryAfter?: string } = () => ({ status: 204 }),
) {
  const got: { headers: IncomingMessage['headers']; path: string; body: string }[] = [];
  let arrived = Promise.withResolvers<void>();
  const listener: RequestListener = (request, response) => {
    void requestBody(request).then((body) => {
      got.push({ headers: request.headers, path: request.url ?? '', body });
      const { status, body: text = '', retryAfter } = answer(got.length);
      response.writeHead(status, retryAfter === undefined ? {} : { 'retry-after': retryAfter }).end(text);
      arrived.resolve();
      arrived = Promise.withResolvers();
    });
  };
  const upstream = await startUpstream(listener);
  const next = async (count: number) => {
    while (got.length < count) await arrived.promise;
    return got;
  };
  return { upstream, got, next };
}

/** The lines of a log with all their fields. */
function textOf(file: string): string {
  const join = joinExchanges();
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  return lines.map((line) => `${formatLine(join(JSON.parse(line) as AuditLine))}\n`).join('');
}

async function writeBoth(log: OpenAuditLog): Promise<void> {
  await log.append({ ...access('/ä'), grant: 'g-1', bytes_in: 5, duration_ms: 1.5 });
  await log.append({ ...access('/2'), event: 'denied', outcome: 'deny', code: 'rule_denied', status: 403 });
}

describe('a webhook', () => {
  test('gets signed lines over verified TLS', async () => {
    const { upstream, next } = await receiver();
    const { log, file, look } = await lookedAfter(() => ({
      sinks: [{ type: 'webhook', url: `${upstream.url}/in?x=1`, secret: 'env:SINK_SECRET' }],
    }));
    await writeBoth(log);
    await look();
    const [first] = await next(1);
    expect(first).toMatchObject({ path: '/in?x=1', body: textOf(file) });
    expect(first?.headers['content-type']).toBe('application/x-ndjson');
    expect(first?.headers['idempotency-key']).toBe('"1-0"');
    const [, seconds, mac] =
      /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(first?.headers['sidekey-signature'])) ?? [];
    expect(createHmac('sha256', secret).update(`${seconds}.${first?.body}`).digest('hex')).toBe(mac);
  });

  test('that fails gets the same lines with the same idempotency key again, after its Retry-After', async () => {
    const { upstream, next } = await receiver((count) =>
      count === 1 ? { status: 503, retryAfter: '120' } : { status: 200 },
    );
    const { log, file, look, fire, state, said } = await lookedAfter(() => ({
      sinks: [{ type: 'webhook', name: 'siem', url: upstream.url, batch: 1 }],
    }));
    await writeBoth(log);
    await look();
    expect(await fire((ms) => ms > 1_000 && ms !== 30_000 && ms !== 60_000)).toBe(120_000);
    const got = await next(3);
    expect(got.map(({ headers }) => headers['idempotency-key'])).toEqual([
      '"1-0"',
      '"1-0"',
      expect.any(String),
    ]);
    expect(
      got
        .slice(1)
        .map(({ body }) => body)
        .join(''),
    ).toBe(textOf(file));
    expect(got[0]?.headers['sidekey-signature']).toBeUndefined();
    expect(said.join('\n')).toContain(`answered 503`);
    expect(said.join('\n')).not.toContain(secret);
    expect(state('siem')).toMatchObject({ skips: 0 });
  });

  test('at a blocked address is not dialed', async () => {
    const { upstream, got } = await receiver();
    const { log, look, next, state } = await lookedAfter(
      () => ({ sinks: [{ type: 'webhook', url: upstream.url }] }),
      [],
    );
    await log.append(access('/1'));
    await look();
    await next((ms) => ms < 1_000);
    expect(state('webhook')).toMatchObject({
      failing: { reason: expect.stringContaining('address_blocked') as string },
    });
    expect([got, upstream.connections()]).toEqual([[], 0]);
  });
});

const attributes = (value: Record<string, object>) =>
  expect.arrayContaining(Object.entries(value).map(([key, each]) => ({ key, value: each }))) as unknown[];

describe('an OpenTelemetry collector', () => {
  test('gets an OTLP/HTTP export request', async () => {
    const { upstream, next } = await receiver(() => ({
      status: 200,
      body: '{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}',
    }));
    const {
      log,
      file,
      look,
      next: timer,
      state,
    } = await lookedAfter(() => ({
      sinks: [{ type: 'otlp', url: `${upstream.url}/v1/logs`, headers: { 'X-Api-Key': 'env:SINK_SECRET' } }],
    }));
    await writeBoth(log);
    await look();
    const [first] = await next(1);
    expect(first?.headers).toMatchObject({ 'content-type': 'application/json', 'x-api-key': secret });
    const lines = textOf(file).trim().split('\n');
    const [line] = lines.map((text) => JSON.parse(text) as AuditLine);
    expect(JSON.parse(first?.body ?? '')).toEqual({
      resourceLogs: [
        {
          resource: {
            attributes: attributes({
              'service.name': { stringValue: 'sidekey' },
              'service.instance.id': { stringValue: 'host/1' },
              'host.name': { stringValue: 'host' },
            }),
          },
          scopeLogs: [
            {
              scope: { name: 'sidekey.audit' },
              logRecords: [
                {
                  timeUnixNano: `${Date.parse(line?.time ?? '')}000000`,
                  observedTimeUnixNano: expect.stringMatching(/^\d{19}$/) as string,
                  severityNumber: 9,
                  severityText: 'INFO',
                  eventName: 'sidekey.access',
                  body: { stringValue: lines[0] },
                  attributes: attributes({
                    'http.request.method': { stringValue: 'GET' },
                    'url.path': { stringValue: '/ä' },
                    'server.port': { intValue: '443' },
                    'sidekey.duration_ms': { doubleValue: 1.5 },
                    'sidekey.grant': { stringValue: 'g-1' },
                  }),
                },
                expect.objectContaining({
                  severityNumber: 13,
                  eventName: 'sidekey.denied',
                  attributes: attributes({
                    'error.type': { stringValue: 'rule_denied' },
                    'http.response.status_code': { intValue: '403' },
                  }),
                }),
              ],
            },
          ],
        },
      ],
    });
    await timer((ms) => ms === 1_000);
    expect(state('otlp')).toMatchObject({ delivered: 2, rejected: 1, failing: null });
  });
});

const message = (text: string, priority: number, event: string) => {
  const { time } = JSON.parse(text) as AuditLine;
  return `<${priority}>1 ${time} host sidekey 1 ${event} - ${text}`;
};
const messages = (file: string) => {
  const [one = '', two = ''] = textOf(file).trim().split('\n');
  return [message(one, 110, 'access'), message(two, 108, 'denied')];
};

describe('syslog', () => {
  test('over UDP gets one RFC 5424 message in each datagram', async () => {
    const socket = createSocket('udp4').bind(0, '127.0.0.1');
    onTestFinished(() => void socket.close());
    await once(socket, 'listening');
    const got: string[] = [];
    const both = new Promise<void>((resolve) => {
      socket.on('message', (bytes) => {
        got.push(bytes.toString());
        if (got.length === 2) resolve();
      });
    });
    const { log, file, look } = await lookedAfter(() => ({
      sinks: [{ type: 'syslog', address: `udp://127.0.0.1:${socket.address().port}` }],
    }));
    await writeBoth(log);
    await look();
    await both;
    expect(got).toEqual(messages(file));
  });

  test.each([
    ['TCP, framed by counted octets', 'octet-counting', false],
    ['TCP, a newline each', 'newline', false],
    ['a unix socket', 'octet-counting', true],
  ])(
    'over %s gets all lines, and gets later lines on a new connection if the old connection broke',
    async (_, framing, local) => {
      const sockets: Socket[] = [];
      let text = '';
      let grown = Promise.withResolvers<void>();
      const server = createServer((socket) => {
        sockets.push(socket);
        socket
          .setEncoding('utf8')
          .on('error', () => {})
          .on('data', (piece: string) => {
            text += piece;
            grown.resolve();
            grown = Promise.withResolvers();
          });
      });
      onTestFinished(() => {
        for (const socket of sockets) socket.destroy();
        server.close();
      });
      const folder = await tempFolder();
      const path = join(folder, 'log.sock');
      await new Promise<void>((resolve) => {
        if (local) server.listen(path, resolve);
        else server.listen(0, '127.0.0.1', resolve);
      });
      const address = local ? `unix:${path}` : `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const { log, file, look, next } = await lookedAfter(() => ({
        sinks: [{ type: 'syslog', address, framing }],
      }));
      await writeBoth(log);
      await look();
      const frame = (each: string) =>
        framing === 'newline' ? `${each}\n` : `${Buffer.byteLength(each)} ${each}`;
      const expected = messages(file).map(frame).join('');
      while (text.length < expected.length) await grown.promise;
      expect(text).toBe(expected);
      await next((ms) => ms === 1_000);
      sockets[0]?.destroy();
      text = '';
      // Lines that are written before the end of the connection arrives are lost: syslog acknowledges
      // nothing.
      let line = 3;
      do {
        await write(log, 1, (line += 1));
        await Promise.race([grown.promise, look()]);
        await setImmediate();
      } while (!text.includes('"path"'));
      expect(text).toMatch(/"path":"\/\d+"/);
      expect(sockets.length).toBe(2);
    },
  );
});

/** The time between anchors. */
const every = (ms: number) => ms === 600_000;

describe('anchors', () => {
  test('are written to a file and POSTed after each change of the log', async () => {
    const { upstream, next } = await receiver();
    const at = await lookedAfter(() => ({
      anchor: { every: '10m', file: 'anchors.jsonl', webhook: upstream.url, secret: 'env:SINK_SECRET' },
    }));
    await at.next(every);
    await write(at.log, 2);
    await headsWritten();
    await at.fire(every);
    await at.next(every);
    await at.fire(every);
    await at.next(every);
    await write(at.log, 1, 3);
    await headsWritten();
    await at.fire(every);
    await at.next(every);
    const kept = textOf(join(at.folder, 'anchors.jsonl'));
    expect(
      kept
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { chains: unknown }).chains),
    ).toEqual([
      [],
      [expect.objectContaining({ node: 'host/1', seq: 2 })],
      [expect.objectContaining({ node: 'host/1', seq: 3 })],
    ]);
    expect((await next(3)).map(({ body }) => body).join('')).toBe(kept);
    expect(statSync(join(at.folder, 'anchors.jsonl')).mode & 0o777).toBe(0o600);
    const vault = vaultForTest();
    expect(
      (await verifyAudit({ file: at.file, vault, anchored: anchoredLines(parseAnchors(kept, vault)) })).ok,
    ).toBe(true);
  });
});

describe('the proxy', () => {
  test('writes the lines to stdout besides the file, from start to stop', async () => {
    const at = await home({ audit: { sinks: [{ type: 'stdout' }] } });
    const running = await at.start();
    const { stdout } = await running.stop();
    const lines = stdout.trim().split('\n').slice(1);
    const file = readFileSync(at.at('data', 'audit.jsonl'), 'utf8').trim().split('\n');
    expect(lines).toEqual(file.slice(file.length - lines.length));
    const events = lines.map((line) => (JSON.parse(line) as AuditLine).event);
    expect(events).toEqual(expect.arrayContaining(['proxy.started', 'proxy.stopped']));
    expect(await at.json(['status'])).toMatchObject({
      audit: { sinks: { stdout: { behind_bytes: 0, delivered_lines: lines.length, failing_since: null } } },
    });
  });

  test('serves requests and writes its log while every sink fails', async () => {
    const { log, file, look, next, state } = await lookedAfter(() => ({
      sinks: [
        { type: 'webhook', url: 'https://localhost:1/' },
        { type: 'syslog', address: 'tcp://127.0.0.1:1' },
      ],
    }));
    await write(log, 500);
    await look();
    await look();
    await next((ms) => ms < 1_000);
    expect(await paths(file)).toHaveLength(500);
    expect([state('webhook'), state('syslog')]).toContainEqual(
      expect.objectContaining({ delivered: 0, failing: expect.any(Object) as object }),
    );
  });
});

describe('retention of the audit log', () => {
  test.each([
    [{}, 'keeps 400d or 2GiB'],
    [{ keep: 'forever' }, 'keeps all'],
    [{ keep: '90d', keep_files: 7 }, 'keeps 90d or 7 files'],
  ])('is described for the settings %j as: %s', async (audit, text) => {
    const settings = JSON.stringify({ version: 1, audit });
    expect(keptText((await parseConfig(settings, '/etc/sidekey.yaml', { env: {} })).audit)).toBe(text);
  });

  test('warns once while the disk has less free space than min_free_space', async () => {
    const scarce = await lookedAfter(() => ({ min_free_space: 2 ** 52 }));
    await scarce.next((ms) => ms === 60_000);
    await scarce.next((ms) => ms === 60_000);
    expect(scarce.said.filter((line) => line.includes('little space is left'))).toHaveLength(1);
    const ample = await lookedAfter(() => ({ min_free_space: 0 }));
    expect(ample.said.filter((line) => line.includes('space'))).toEqual([]);

    const at = await home({ audit: { min_free_space: 2 ** 52 } });
    await at.run(['domain', 'tunnel', 'example.org']);
    const { stdout } = await at.run(['status']);
    expect(stdout).toMatch(/Only \d+ \w+ are free on the disk of data\/audit\.jsonl\./);
  });
});
