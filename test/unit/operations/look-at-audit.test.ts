import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { lookAtAudit } from '../../../src/operations/look-at-audit.ts';
import type { Config } from '../../../src/config/config.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const now = Date.parse('2026-03-04T12:00:00Z');

function line(hour: string, agent: string, event: string): string {
  const time = `2026-03-0${hour}:00:00.000Z`;
  const chain = { seq: 1, node: 'node', prev: '0'.repeat(64), hash: '0'.repeat(64) };
  return `${JSON.stringify({ v: 1, ...chain, event, time, agent, host: 'api.acme.test' })}\n`;
}

test('status lists an agent once when it was refused several times within a day for too many leaks', async () => {
  const file = join(await tempFolder(), 'audit.jsonl');
  await writeFile(
    file,
    [
      line('2T12', 'earlier', 'leak.limited'),
      line('4T10', 'robot', 'leak.limited'),
      line('4T11', 'robot', 'leak.limited'),
      line('4T11', 'other', 'outcome'),
    ].join(''),
  );
  const { ok, needs } = await lookAtAudit(
    { audit: { file, sinks: [], warnFreeBytes: 0 } } as unknown as Config,
    null,
    now,
  );
  expect(ok).toBe(false);
  expect(needs.map(({ sentence }) => sentence)).toEqual([
    expect.stringMatching(/^Responses of api\.acme\.test showed the credential to robot too often/),
  ]);
});
