import { describe, expect, it } from 'vitest';
import type { AuditEvent, AuditLog } from '../../../src/domain/event.ts';
import { recordChange, recordChanges, isRecorded } from '../../../src/audit/log.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';

function log(append: () => Promise<void> = async () => {}) {
  const events: (AuditEvent | string)[] = [];
  const audit: AuditLog = {
    async append(event) {
      await append();
      events.push(event);
    },
    write: () => undefined,
    note: (event) => void events.push(event),
    close: async () => {},
  };
  return { audit, events };
}

const event = { event: 'grant.revoked', grant: 'id' } as const;

describe('an audited change', () => {
  it('is recorded before it is made', async () => {
    const { audit, events } = log();
    expect(await recordChange(audit, event, async () => events.push('changed'))).toBe(2);
    expect(events).toEqual([{ ...event, outcome: 'allow' }, 'changed']);
  });

  it('is not made if it cannot be recorded', async () => {
    const full = new SidekeyError('audit_unavailable', 'The disk is full.');
    const { audit, events } = log(() => Promise.reject(full));
    await expect(recordChange(audit, event, async () => events.push('changed'))).rejects.toBe(full);
    expect(events).toEqual([]);
  });

  it('with several events is not made if one cannot be recorded, and the others are recorded as failed', async () => {
    const full = new SidekeyError('audit_unavailable', 'The disk is full.');
    let left = 1;
    const { audit, events } = log(() => ((left -= 1) < 0 ? Promise.reject(full) : Promise.resolve()));
    const both = [event, { ...event, grant: 'other' }];
    await expect(recordChanges(audit, both, async () => events.push('changed'))).rejects.toBe(full);
    expect(events).toEqual([
      { ...event, outcome: 'allow' },
      { ...event, outcome: 'failed', code: 'audit_unavailable' },
    ]);
  });

  it('that fails is recorded as failed', async () => {
    const { audit, events } = log();
    const gone = new SidekeyError('grant_missing', 'It is gone.');
    await expect(recordChange(audit, event, () => Promise.reject(gone))).rejects.toBe(gone);
    expect(events).toEqual([
      { ...event, outcome: 'allow' },
      { ...event, outcome: 'failed', code: 'grant_missing' },
    ]);
    expect(isRecorded(gone)).toBe(true);
    expect(isRecorded(new SidekeyError('grant_missing', 'It is gone.'))).toBe(false);
  });
});
