import fs from 'node:fs';
import { expect, it } from 'vitest';
import type { AuditEvent } from '../../src/domain/event.ts';
import { allLines, newLogFile, openLog, verify } from '../unit/audit/log-for-test.ts';

async function written(event: AuditEvent): Promise<string> {
  const file = await newLogFile();
  const log = await openLog(file);
  await log.append(event);
  expect(await verify(file)).toMatchObject({ ok: true, lines: 1 });
  expect(await allLines(file)).toHaveLength(1);
  return fs.readFileSync(file, 'utf8');
}

it('a caller that sends newlines and whole lines as text adds no audit line', async () => {
  const forged = '"}\n{"v":1,"seq":2,"time":"2026-01-02T03:04:05.000Z","node":"host/1","event":"access"}\n';
  const text = await written({
    event: 'access',
    agent: forged,
    reason: forged,
    path: `/${forged}`,
    method: forged,
  });
  expect(text.match(/\n/g)).toHaveLength(1);
});

it('a caller that sends terminal controls as text cannot reach a terminal', async () => {
  const text = await written({
    event: 'access',
    reason: '\u001b[2J \u009b31m \u007f \u202etxt.exe\u2066 \r \u0007',
  });
  // eslint-disable-next-line no-control-regex
  expect(text.trimEnd()).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
});

it('a query that is still in the path of a record is not logged', async () => {
  expect(await written({ event: 'access', path: '/a?api_key=hunter2#hunter2' })).not.toContain('hunter2');
});

it('a field outside the contract is not written', async () => {
  const event = { event: 'access', authorization: 'Bearer hunter2' } as AuditEvent;
  expect(await written(event)).not.toContain('hunter2');
});
