import { expect, it } from 'vitest';
import { parseConfig } from '../../../src/config/load.ts';

const read = async (audit: string) =>
  (await parseConfig(`version: 1\naudit: ${audit}\n`, '/etc/sidekey/sidekey.yaml', { env: {} })).audit;
const problem = (audit: string) =>
  read(audit).then(
    () => 'none',
    (error: Error) => error.message.replace(/^\S+ /, ''),
  );

it('the default retention is 400 days and 2 GiB, without sinks', async () => {
  expect(await read('{ file: a.jsonl }')).toEqual({
    file: '/etc/sidekey/a.jsonl',
    maxBytes: 104_857_600,
    maxAgeMs: null,
    keepMs: 400 * 86_400_000,
    keepFiles: null,
    keepBytes: 2_147_483_648,
    warnFreeBytes: 536_870_912,
    compress: true,
    fsync: 'interval',
    anchor: null,
    sinks: [],
  });
});

it('a configured retention limit removes the default limits', async () => {
  const none = { keepMs: null, keepFiles: null, keepBytes: null };
  expect(await read('{ keep: forever }')).toMatchObject({ ...none, maxAgeMs: null });
  expect(await read('{ keep_files: 5 }')).toMatchObject({ ...none, keepFiles: 5 });
  expect(await read('{ keep_size: 1GiB }')).toMatchObject({ ...none, keepBytes: 1_073_741_824 });
  expect(await read('{ keep: 90d }')).toMatchObject({ ...none, keepMs: 90 * 86_400_000 });
});

it('a new file starts each day when lines are kept for days', async () => {
  const day = 86_400_000;
  expect(await read('{ keep: 30d }')).toMatchObject({ keepMs: 30 * day, maxAgeMs: day });
  expect(await read('{ keep: 6h }')).toMatchObject({ keepMs: day / 4, maxAgeMs: day / 4 });
  expect(await read('{ keep: 1y, max_age: 1w, keep_files: 60 }')).toMatchObject({
    keepMs: 365 * day,
    maxAgeMs: 7 * day,
    keepFiles: 60,
  });
});

it('sinks of every kind are read, with references instead of secrets', async () => {
  const { sinks, anchor } = await read(`
  anchor: { file: ../anchors.jsonl, webhook: 'https://x.example/a', secret: 'env:S', every: 5m }
  sinks:
    - { type: stdout }
    - { type: syslog, address: 'udp://Logs.Example.com:514' }
    - { type: syslog, name: local, address: 'unix:/run/log.sock', facility: 16, framing: newline }
    - { type: syslog, name: six, address: 'tls://[2001:db8::1]:6514' }
    - { type: webhook, url: 'https://siem.example/in', secret: 'file:siem.secret', batch: 10 }
    - { type: otlp, url: 'http://127.0.0.1:4318/v1/logs', headers: { Authorization: 'env:OTLP' } }`);
  expect(anchor).toEqual({
    everyMs: 300_000,
    file: '/etc/anchors.jsonl',
    webhook: { url: 'https://x.example/a', secret: { kind: 'env', name: 'S' } },
  });
  expect(sinks).toEqual([
    { type: 'stdout', name: 'stdout' },
    {
      type: 'syslog',
      name: 'syslog',
      address: { transport: 'udp', host: 'logs.example.com', port: 514 },
      facility: 13,
      framing: 'octet-counting',
    },
    {
      type: 'syslog',
      name: 'local',
      address: { transport: 'unix', path: '/run/log.sock' },
      facility: 16,
      framing: 'newline',
    },
    {
      type: 'syslog',
      name: 'six',
      address: { transport: 'tls', host: '[2001:db8::1]', port: 6514 },
      facility: 13,
      framing: 'octet-counting',
    },
    {
      type: 'webhook',
      name: 'webhook',
      url: 'https://siem.example/in',
      secret: { kind: 'file', path: 'siem.secret' },
      batch: 10,
    },
    {
      type: 'otlp',
      name: 'otlp',
      url: 'http://127.0.0.1:4318/v1/logs',
      headers: { Authorization: { kind: 'env', name: 'OTLP' } },
      batch: 500,
    },
  ]);
});

it.each([
  ['{ keep: 30 }', 'audit.keep: must be a time, such as 30d'],
  ['{ keep: 30m }', 'audit.keep: is not a time such as 12h, 30d, 8w or 1y'],
  ['{ keep_files: 0 }', 'audit.keep_files: '],
  ['{ fsync: never }', 'audit.fsync: '],
  ['{ anchor: { every: 5m } }', 'audit.anchor: needs a file or a webhook'],
  ['{ anchor: { file: a, every: 5s } }', 'audit.anchor.every: is less than 1m'],
  ['{ sinks: [{ type: kafka }] }', 'must be stdout, syslog, webhook or otlp'],
  ['{ sinks: [{ type: stdout }, { type: stdout }] }', 'audit.sinks[1]: has the name of a sink before it'],
  [
    '{ sinks: [{ type: webhook, url: "http://siem.example/" }] }',
    'url: is not https, and not on this machine',
  ],
  ['{ sinks: [{ type: webhook, url: "https://u:p@siem.example/" }] }', 'url: has user information'],
  [
    '{ sinks: [{ type: webhook, url: "https://siem.example/", secret: abc }] }',
    'secret: is not a reference to a secret',
  ],
  ['{ sinks: [{ type: otlp, url: "https://c/", headers: { "a b": "env:X" } }] }', 'headers'],
  ['{ sinks: [{ type: syslog, address: "udp://host" }] }', 'address: must be udp://HOST:514'],
  [
    '{ sinks: [{ type: syslog, address: "unix:log.sock" }] }',
    'address: must have an absolute path after unix:',
  ],
  ['{ sinks: [{ type: syslog, address: "udp://h:99999" }] }', 'address: must be udp://HOST:514'],
])('%s is refused', async (audit, message) => {
  expect(await problem(audit)).toContain(message);
});
