/** The settings of the audit file act without a restart, all but where it is. */
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { AuditLine } from '../../../src/domain/event.ts';
import { requestBody } from '../../support/request-body.ts';
import { startSidekey, type TestSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

/** A receiver of lines, which says when it has one that fits. */
async function receiver() {
  const lines: AuditLine[] = [];
  const upstream = await startUpstream((request, response) => {
    void requestBody(request).then((body) => {
      lines.push(
        ...body
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line) as AuditLine),
      );
      response.writeHead(204).end();
      upstream.server.emit('lines');
    });
  });
  const got = async (fits: (line: AuditLine) => boolean) => {
    while (!lines.some(fits)) await once(upstream.server, 'lines');
    return lines.map(({ seq }) => seq);
  };
  return { url: `${upstream.url}/lines`, got };
}

const siem = (url: string) => ({ type: 'webhook', name: 'siem', url });

/** Takes over other settings of the audit; answers what of them waits for the next start, as the log says. */
async function audit(sidekey: TestSidekey, settings: object) {
  await sidekey.configure({ audit: { file: 'data/audit.jsonl', ...settings } });
  return /"later":(\[.*?\])/.exec(
    sidekey
      .logged()
      .split('\n')
      .findLast((line) => line.includes('later')) ?? '',
  )?.[1];
}

const event = (sidekey: TestSidekey, reason: string) =>
  sidekey.proxy.state.audit.append({ event: 'policy.reported', reason });

test('a reload sends new lines to an added sink, and a moved sink continues at its position', async () => {
  const [first, second] = [await receiver(), await receiver()];
  const sidekey = await startSidekey();
  await event(sidekey, 'before');
  expect(await audit(sidekey, { sinks: [siem(first.url)] })).toBe('[]');
  await event(sidekey, 'to the first');
  const before = await first.got(({ reason }) => reason === 'to the first');
  await audit(sidekey, { sinks: [siem(second.url)] });
  await event(sidekey, 'to the second');
  const after = await second.got(({ reason }) => reason === 'to the second');
  // Not a line is missing between the two, and none of before the sink was there is sent.
  const all = [...new Set([...(await first.got(() => true)), ...after])];
  const [from = 0] = before;
  expect(all).toEqual(Array.from({ length: all.length }, (_, index) => from + index));
  expect((await sidekey.audit()).find(({ reason }) => reason === 'before')?.seq).toBeLessThan(from);
}, 30_000);

test('a reload starts writing anchors if the config adds them', async () => {
  const sidekey = await startSidekey();
  const file = join(sidekey.folder, 'anchors.jsonl');
  await writeFile(file, '');
  await audit(sidekey, { anchor: { every: '1m', file: 'anchors.jsonl' } });
  await expect.poll(() => readFileSync(file, 'utf8')).toContain('"sidekey-audit"');
});

test('a reload changes the rotation size from the next event', async () => {
  const sidekey = await startSidekey();
  const rotated = join(sidekey.folder, 'data', 'audit.jsonl.000001');
  for (let n = 0; n < 20; n += 1) await event(sidekey, 'x'.repeat(400));
  expect(existsSync(rotated)).toBe(false);
  await audit(sidekey, { max_size: '4KiB' });
  await event(sidekey, 'one more');
  expect(existsSync(rotated)).toBe(true);
});

test('a reload keeps the path of the log until the next start, and logs the ignored key', async () => {
  const sidekey = await startSidekey();
  expect(await audit(sidekey, { file: 'data/other.jsonl' })).toBe('["audit.file"]');
  await event(sidekey, 'after');
  expect((await sidekey.audit()).some(({ reason }) => reason === 'after')).toBe(true);
  expect(existsSync(join(sidekey.folder, 'data', 'other.jsonl'))).toBe(false);
});

test('a reload records the hashes of the old and the new config', async () => {
  const sidekey = await startSidekey();
  const started = await sidekey.audited((line) => line.event === 'proxy.started');
  const [, first = ''] = /^config ([0-9a-f]{12})$/.exec(started.reason ?? '') ?? [];
  await audit(sidekey, { fsync: 'always' });
  const reloaded = await sidekey.audited((line) => line.event === 'config.reloaded');
  const now = sidekey.proxy.config().digest.slice(0, 12);
  expect(first).not.toBe('');
  expect(reloaded.reason).toBe(`config ${first} → ${now}`);
});
