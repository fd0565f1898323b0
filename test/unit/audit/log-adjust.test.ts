import { describe, expect, it } from 'vitest';
import { disk, type DiskCalls } from '../../../src/audit/log-files.ts';
import { access, newLogFile, openLog } from './log-for-test.ts';

describe('a log whose settings change', () => {
  it('waits for the disk after fsync becomes always, and stops waiting after it becomes interval', async () => {
    const held = Promise.withResolvers<void>();
    let syncs = 0;
    const calls: DiskCalls = {
      ...disk,
      async sync(fd) {
        syncs += 1;
        await held.promise;
        await disk.sync(fd);
      },
    };
    const log = await openLog(await newLogFile(), { disk: calls });
    await log.append(access('/1'));
    expect(syncs).toBe(0);
    const limits = { maxBytes: 1e9, maxAgeMs: null };
    log.adjust({ ...limits, fsync: 'always' });
    let isDurable = false;
    const second = log.append(access('/2')).then(() => (isDurable = true));
    await expect.poll(() => syncs).toBe(1);
    expect(isDurable).toBe(false);
    held.resolve();
    await second;
    log.adjust({ ...limits, fsync: 'interval' });
    await log.append(access('/3'));
    expect(syncs).toBe(1);
  });
});
