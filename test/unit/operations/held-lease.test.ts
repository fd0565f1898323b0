import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { AuditEvent } from '../../../src/domain/event.ts';
import { holdLease } from '../../../src/operations/held-lease.ts';
import type { Config } from '../../../src/config/config.ts';
import { leaseStanding } from '../../../src/domain/lease.ts';
import { openSqliteStore } from '../../../src/store/sqlite.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { addAgent } from '../../support/rights.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { manualTime } from '../lib/manual-time.ts';

const start = Date.UTC(2027, 0, 1);
const minute = 60_000;

async function holding({
  endsAt = null,
  maxTtlMs = 86_400_000,
}: { endsAt?: number | null; maxTtlMs?: number } = {}) {
  const time = manualTime(start);
  const store = await openSqliteStore(join(await tempFolder(), 'sidekey.db'), { now: time.now });
  onTestFinished(() => store.close());
  await addAgent(store, 'run', 'unused');
  await store.grants.insert(grantRecord({ name: 'work' }));
  const events: AuditEvent[] = [];
  let unavailable = false;
  const audit = {
    append: async (event: AuditEvent) => {
      if (unavailable) throw new Error('the disk is full');
      events.push(event);
    },
    note: (event: AuditEvent) => void events.push(event),
  };
  const config = {
    leases: { defaultTtlMs: 15 * minute, maxTtlMs },
    providers: { get: () => undefined },
  } as unknown as Config;
  const warnings: string[] = [];
  const tell = (_fields: object, message: string) => warnings.push(message);
  const held = await holdLease(
    {
      state: {
        store,
        audit: audit as never,
        vault: { mac: () => '00'.repeat(32) } as never,
        grants: {} as never,
      },
      config: () => config,
      log: { error: tell, warn: tell, info() {}, debug() {} },
      now: time.now,
      timers: time.timers,
    },
    { agent: 'run', grants: null, purpose: 'run: sh', secret: 'secret' },
    endsAt,
  );
  const standing = async () => {
    const lease = await store.leases.get(held.id);
    if (lease === null) throw new Error('it is gone');
    return leaseStanding(lease, time.now()).state;
  };
  const names = () => events.map(({ event }) => event);
  return { held, store, time, standing, names, warnings, fail: (is: boolean) => (unavailable = is) };
}

describe('the lease of a running command', () => {
  it('is renewed while the command runs, and revoked when the command ends', async () => {
    const { held, time, standing, names } = await holding();
    for (let passed = 0; passed < 30; passed += 1) {
      await time.advance(minute);
      expect(await standing()).toBe('active');
    }
    await held.end();
    expect(await standing()).toBe('revoked');
    expect(time.waiting()).toBe(0);
    expect(names().at(0)).toBe('lease.created');
    expect(names().at(-1)).toBe('lease.revoked');
    // Each renewal writes an audit line: there must be few.
    expect(names().filter((name) => name === 'lease.renewed')).toHaveLength(18);
  });

  it('ends within five minutes when the process has died', async () => {
    const { held, store } = await holding();
    const lease = await store.leases.get(held.id);
    expect(lease?.expiresAt).toBe(start + 5 * minute);
    expect(lease?.grants).toBeNull();
  });

  it('has a fixed end when an end is given, with as few renewals as possible', async () => {
    const { time, standing, names } = await holding({ endsAt: start + 8 * minute });
    await time.advance(8 * minute - 1);
    expect(await standing()).toBe('active');
    await time.advance(1);
    expect(await standing()).toBe('expired');
    await time.advance(10 * minute);
    expect(await standing()).toBe('expired');
    expect(names().filter((name) => name === 'lease.renewed')).toHaveLength(2);
    expect(time.waiting()).toBe(0);
  });

  it('is renewed at once after the machine has slept', async () => {
    const { time, standing } = await holding();
    time.set(start + 60 * minute);
    expect(await standing()).toBe('expired');
    await time.advance(1_000);
    expect(await standing()).toBe('active');
  });

  it('does not lapse when the maximum lifetime is one second', async () => {
    const { time, standing } = await holding({ maxTtlMs: 1_000 });
    for (let passed = 0; passed < 20; passed += 1) {
      await time.advance(400);
      expect(await standing()).toBe('active');
    }
  });

  it('stays revoked after a person has revoked it', async () => {
    const { held, store, time, standing, names } = await holding();
    await store.leases.revoke({ id: held.id }, time.now());
    await time.advance(30 * minute);
    expect(await standing()).toBe('revoked');
    expect(names()).toEqual(['lease.created']);
    expect(time.waiting()).toBe(0);
  });

  it('is renewed again after a failed renewal', async () => {
    const { time, standing, warnings, fail } = await holding();
    fail(true);
    await time.advance(3 * minute);
    expect(warnings).not.toEqual([]);
    fail(false);
    await time.advance(4 * minute);
    expect(await standing()).toBe('active');
  });
});
