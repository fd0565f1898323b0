import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { disk, type DiskCalls } from '../../../src/audit/log-files.ts';
import { headFile } from '../../../src/audit/live-file.ts';
import {
  access,
  allLines,
  asKilled,
  headsWritten,
  newLogFile,
  openLog,
  paths,
  problems,
  rewriteLines,
  verify,
  write,
} from './log-for-test.ts';

/** A disk that can be made to fail: `room` is how many more bytes it takes. */
function limitedDisk() {
  const state = { room: Infinity, syncFails: false, headFails: false, writes: 0, heads: 0 };
  const calls: DiskCalls = {
    write(fd, text) {
      state.writes += 1;
      const bytes = Buffer.from(text);
      if (state.room <= 0) throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
      const part = bytes.subarray(0, state.room);
      state.room -= part.length;
      return fs.writeSync(fd, part);
    },
    writeAt(fd, bytes, position) {
      state.heads += 1;
      if (state.headFails) throw Object.assign(new Error('io'), { code: 'EIO' });
      return disk.writeAt(fd, bytes, position);
    },
    sync: (fd) =>
      state.syncFails ? Promise.reject(Object.assign(new Error('io'), { code: 'EIO' })) : disk.sync(fd),
  };
  return { state, calls };
}

const unavailable = { code: 'audit_unavailable', status: 503 };

describe('append', () => {
  it('resolves when the line is in the file, linked to its chain', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    await log.append(access('/a'));
    expect(await allLines(file)).toEqual([
      {
        v: 1,
        seq: 1,
        time: '2026-01-02T03:04:05.000Z',
        node: 'host/1',
        ...access('/a'),
        prev_end: '0:0',
        prev: '0'.repeat(8),
        hash: expect.any(String) as string,
      },
    ]);
    expect([log.node, log.file]).toEqual(['host/1', file]);
  });

  it('writes the events of one turn with one call, in order', async () => {
    const file = await newLogFile();
    const { state, calls } = limitedDisk();
    const log = await openLog(file, { disk: calls });
    const all = Array.from({ length: 50 }, (_, index) => `/${index}`);
    await Promise.all(all.map((path) => log.append(access(path))));
    expect(state.writes).toBe(1);
    expect(await paths(file)).toEqual(all);
  });

  it('with `write` happens at once after a turn with one event, together with earlier notes', async () => {
    // The turn counts for 5 ms, which a busy machine can need for two lines.
    vi.useFakeTimers({ toFake: ['performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const file = await newLogFile();
    const { state, calls } = limitedDisk();
    const log = await openLog(file, { disk: calls });
    await log.write(access('/1'));
    log.note(access('/2'));
    const turns = state.writes;
    expect(log.write(access('/3'))).toBeUndefined();
    expect(state.writes).toBe(turns + 1);
    expect(await paths(file)).toEqual(['/1', '/2', '/3']);
    // An event that waits for its turn stays before the next one.
    const waiting = log.append(access('/4'));
    const next = log.write(access('/5'));
    expect(next).toBeInstanceOf(Promise);
    await Promise.all([waiting, next]);
    // Two in one turn: others may follow.
    for (const path of ['/6', '/7', '/8']) expect(log.write(access(path))).toBeInstanceOf(Promise);
    await log.append(access('/9'));
    expect(await paths(file)).toEqual(Array.from({ length: 9 }, (_, index) => `/${index + 1}`));
    expect(await problems(file)).toEqual([]);
  });

  it('fails the same way through `write`: on a full disk, and after the close', async () => {
    const file = await newLogFile();
    const { state, calls } = limitedDisk();
    const log = await openLog(file, { disk: calls });
    await log.write(access('/1'));
    state.room = 0;
    await expect(log.write(access('/lost'))).rejects.toMatchObject(unavailable);
    state.room = Infinity;
    await log.write(access('/2'));
    expect(await paths(file)).toEqual(['/1', '/2']);
    await log.close();
    await expect(log.write(access('/x'))).rejects.toMatchObject(unavailable);
  });

  it('creates files that only their owner may read', async () => {
    const file = join(await newLogFile(), '..', 'made', 'audit.jsonl');
    const log = await openLog(file, { maxBytes: 100 });
    await write(log, 2);
    expect(fs.statSync(dirname(file)).mode & 0o777).toBe(0o700);
    const modes = fs
      .readdirSync(dirname(file))
      .map((name) => fs.statSync(join(dirname(file), name)).mode & 0o777);
    expect(new Set(modes)).toEqual(new Set([0o600]));
  });

  it('stamps an event with the time of the call', async () => {
    const file = await newLogFile();
    let time = 1_000;
    const log = await openLog(file, { now: () => time });
    const appended = log.append(access('/a'));
    time = 2_000;
    await appended;
    expect((await allLines(file))[0]?.time).toBe('1970-01-01T00:00:01.000Z');
  });

  it('continues the chain after a close, and refuses events on a closed log', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    const pending = log.append(access('/1'));
    log.note(access('/2'));
    const closed = log.close();
    expect(log.close()).toBe(closed);
    await Promise.all([pending, closed]);
    await expect(log.append(access('/x'))).rejects.toMatchObject({
      ...unavailable,
      message: expect.stringContaining('closed') as string,
    });
    const next = await openLog(file);
    await write(next, 1, 3);
    expect((await allLines(file)).map(({ seq, node, path }) => [seq, node, path])).toEqual([
      [1, 'host/1', '/1'],
      [2, 'host/1', '/2'],
      [3, 'host/1', '/3'],
    ]);
    expect(await problems(file)).toEqual([]);
  });
});

describe('a full disk', () => {
  it('refuses events, and accepts them again as soon as there is space', async () => {
    const file = await newLogFile();
    const { state, calls } = limitedDisk();
    const log = await openLog(file, { disk: calls });
    await write(log, 2);
    state.room = 0;
    await expect(log.append(access('/lost'))).rejects.toMatchObject(unavailable);
    await expect(log.append(access('/lost'))).rejects.toThrow(/ENOSPC/);
    state.room = Infinity;
    await write(log, 1, 3);
    expect(await paths(file)).toEqual(['/1', '/2', '/3']);
    expect(await verify(file)).toMatchObject({ ok: true, torn: 0 });
  });

  it('prevents a log with a torn end from being opened, and the error has a hint about space', async () => {
    const file = await newLogFile();
    fs.writeFileSync(file, '{"v":1,"se', { mode: 0o600 });
    const { state, calls } = limitedDisk();
    state.room = 0;
    await expect(openLog(file, { disk: calls })).rejects.toMatchObject({
      code: 'file_unwritable',
      message: expect.stringContaining('ENOSPC') as string,
      hint: expect.stringContaining('free space on its disk') as string,
    });
  });

  it('acknowledges exactly the complete lines, at whatever byte a write fails', async () => {
    const whole = await newLogFile();
    const log = await openLog(whole);
    await Promise.all(['/1', '/2', '/3'].map((path) => log.append(access(path))));
    const size = fs.statSync(whole).size;
    for (let room = 1; room < size; room += 7) {
      const file = await newLogFile();
      const { state, calls } = limitedDisk();
      const log = await openLog(file, { disk: calls });
      state.room = room;
      const results = await Promise.allSettled(['/1', '/2', '/3'].map((path) => log.append(access(path))));
      state.room = Infinity;
      await write(log, 1, 4);
      await log.close();
      const acknowledged = ['/1', '/2', '/3'].filter((_, index) => results[index]?.status === 'fulfilled');
      expect(await paths(file)).toEqual([...acknowledged, '/4']);
      expect(await problems(file)).toEqual([]);
    }
  });

  it('fails all events of one `write` call if the disk takes only part of them', async () => {
    const file = await newLogFile();
    const { state, calls } = limitedDisk();
    const log = await openLog(file, { disk: calls });
    await Promise.all([log.append(access('/0')), log.append(access('/1'))]);
    state.room = fs.statSync(file).size - 50;
    const results = await Promise.allSettled(['/2', '/3', '/4'].map(async (path) => log.write(access(path))));
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    state.room = Infinity;
    await write(log, 1, 5);
    expect(await paths(file)).toEqual(['/0', '/1', '/2', '/5']);
    expect(await verify(file)).toMatchObject({ ok: true, torn: 1 });
  });

  it('counts a line that lacks only its newline as written', async () => {
    const first = await newLogFile();
    const probe = await openLog(first);
    await write(probe, 1);
    const file = await newLogFile();
    const { state, calls } = limitedDisk();
    const log = await openLog(file, { disk: calls });
    state.room = fs.statSync(first).size - 1;
    await log.append(access('/1'));
    state.room = Infinity;
    await write(log, 1, 2);
    expect((await allLines(file)).map(({ seq, path }) => [seq, path])).toEqual([
      [1, '/1'],
      [2, '/2'],
    ]);
    expect(fs.readFileSync(file, 'utf8').match(/\n/g)).toHaveLength(2);
    expect(await verify(file)).toMatchObject({ ok: true, torn: 0 });
  });

  it('ends its torn line, and records the number of its bytes', async () => {
    const file = await newLogFile();
    const { state, calls } = limitedDisk();
    const log = await openLog(file, { disk: calls });
    state.room = 33;
    await expect(log.append(access('/1'))).rejects.toMatchObject(unavailable);
    state.room = Infinity;
    await write(log, 1, 2);
    const [repaired] = await allLines(file);
    expect(repaired).toMatchObject({
      event: 'audit.repaired',
      reason: expect.stringContaining(' 33 bytes ') as string,
    });
    expect(await verify(file)).toMatchObject({ ok: true, lines: 2, torn: 1 });
  });

  it('keeps events of note and writes them first; until then append fails', async () => {
    const file = await newLogFile();
    const { state, calls } = limitedDisk();
    const errors: string[] = [];
    const logger = { warn: () => undefined, error: (_: object, text: string) => errors.push(text) };
    const log = await openLog(file, { disk: calls, logger });
    state.room = 0;
    log.note(access('/noted'));
    await expect(log.append(access('/refused'))).rejects.toMatchObject(unavailable);
    await expect(log.append(access('/refused'))).rejects.toMatchObject(unavailable);
    expect(errors).toHaveLength(1);
    state.room = Infinity;
    await write(log, 1);
    expect(await paths(file)).toEqual(['/noted', '/1']);
  });

  it('reports at the close what could not be written', async () => {
    const { state, calls } = limitedDisk();
    const log = await openLog(await newLogFile(), { disk: calls });
    state.room = 0;
    log.note(access('/noted'));
    await expect(log.close()).rejects.toMatchObject({
      ...unavailable,
      message: expect.stringMatching(/^1 events/) as string,
    });
  });

  it('accepts no event while the last lines cannot be made durable', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const file = await newLogFile();
      const { state, calls } = limitedDisk();
      let synced = Promise.withResolvers<void>();
      const told = {
        ...calls,
        sync: (fd: number) => calls.sync(fd).finally(() => setImmediate(synced.resolve)),
      };
      const errors: string[] = [];
      const logger = { warn: () => undefined, error: (_: object, text: string) => errors.push(text) };
      const log = await openLog(file, { disk: told, logger });
      const syncAgain = async () => {
        synced = Promise.withResolvers();
        vi.advanceTimersByTime(1_000);
        await synced.promise;
      };
      await write(log, 1);
      state.syncFails = true;
      for (let time = 0; time < 3; time += 1) await syncAgain();
      // One line for all attempts.
      expect(errors).toEqual([expect.stringMatching(/ cannot be made durable\.$/)]);
      await expect(log.append(access('/2'))).rejects.toThrow(/EIO/);
      state.syncFails = false;
      await syncAgain();
      await write(log, 1, 3);
      expect(await paths(file)).toEqual(['/1', '/3']);
    } finally {
      vi.useRealTimers();
    }
  });
});

/** A disk whose syncs end when the test says so. */
function slowDisk() {
  const { state, calls } = limitedDisk();
  const syncs: PromiseWithResolvers<void>[] = [];
  const slow: DiskCalls = {
    ...calls,
    sync(fd) {
      const sync = Promise.withResolvers<void>();
      syncs.push(sync);
      return sync.promise.then(() => calls.sync(fd));
    },
  };
  const begun = async (count: number) => {
    while (syncs.length < count) await turn();
    return syncs[count - 1];
  };
  return { state, calls: slow, syncs, begun };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('with fsync: always', () => {
  it('acknowledges a line when it is durable, and events meanwhile share the next write and sync', async () => {
    const file = await newLogFile();
    const { state, calls, syncs, begun } = slowDisk();
    const log = await openLog(file, { disk: calls, fsync: 'always' });
    const done: string[] = [];
    const append = (path: string) => log.append(access(path)).then(() => done.push(path));
    const first = append('/1');
    const one = await begun(1);
    expect([await paths(file), done]).toEqual([['/1'], []]);
    const others = ['/2', '/3', '/4'].map(append);
    await turn();
    expect([state.writes, done]).toEqual([1, []]);
    one?.resolve();
    await first;
    (await begun(2))?.resolve();
    await Promise.all(others);
    expect([state.writes, syncs.length, done]).toEqual([2, 2, ['/1', '/2', '/3', '/4']]);
    expect(await problems(file)).toEqual([]);
    const closing = log.close();
    (await begun(3))?.resolve();
    await closing;
  });

  it('never acknowledges a line before the sync', async () => {
    const { calls, begun } = slowDisk();
    const log = await openLog(await newLogFile(), { disk: calls, fsync: 'always' });
    for (const path of ['/1', '/2', '/3']) {
      const acknowledged = vi.fn<() => void>();
      const written = log.write(access(path))?.then(acknowledged);
      const sync = await begun(Number(path.slice(1)));
      expect(acknowledged).not.toHaveBeenCalled();
      sync?.resolve();
      await written;
      expect(acknowledged).toHaveBeenCalledOnce();
    }
    const closing = log.close();
    (await begun(4))?.resolve();
    await closing;
  });

  it('refuses lines that are not durable, and recovers together with the disk', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const file = await newLogFile();
      const { state, calls } = limitedDisk();
      const log = await openLog(file, { disk: calls, fsync: 'always' });
      await write(log, 1);
      state.syncFails = true;
      await expect(log.append(access('/2'))).rejects.toMatchObject(unavailable);
      await expect(log.append(access('/x'))).rejects.toThrow(/EIO/);
      state.syncFails = false;
      // Until a sync has worked, nothing is taken: looked at each second.
      let taken = false;
      while (!taken) {
        vi.advanceTimersByTime(1_000);
        await new Promise((resolve) => setImmediate(resolve));
        taken = await log.append(access('/3')).then(
          () => true,
          () => false,
        );
      }
      expect(await paths(file)).toEqual(['/1', '/2', '/3']);
      expect(await problems(file)).toEqual([]);
    } finally {
      vi.useRealTimers();
    }
  });

  it('refuses on a full disk, and accepts events again as soon as there is space', async () => {
    const file = await newLogFile();
    const { state, calls } = limitedDisk();
    const log = await openLog(file, { disk: calls, fsync: 'always', maxBytes: 420 });
    await write(log, 2);
    state.room = 0;
    await expect(log.append(access('/lost'))).rejects.toMatchObject(unavailable);
    state.room = Infinity;
    await write(log, 3, 3);
    await log.close();
    expect(await paths(file)).toEqual(['/1', '/2', '/3', '/4', '/5']);
    expect(await problems(file)).toEqual([]);
  });

  it('syncs lines that were rotated together with their batch', async () => {
    const file = await newLogFile();
    const synced = new Set<number>();
    const calls: DiskCalls = {
      ...disk,
      async sync(fd) {
        const { ino } = fs.fstatSync(fd);
        await disk.sync(fd);
        synced.add(ino);
      },
    };
    const log = await openLog(file, { disk: calls, fsync: 'always', maxBytes: 100 });
    await write(log, 1);
    expect(synced).toContain(fs.statSync(`${file}.000001`).ino);
  });
});

describe('a head record that cannot be written', () => {
  it('does not withdraw the line in the log, and is written before the next one', async () => {
    const file = await newLogFile();
    const { state, calls } = limitedDisk();
    const warnings: string[] = [];
    const logger = { warn: (_: object, text: string) => warnings.push(text), error: () => undefined };
    const log = await openLog(file, { disk: calls, logger });
    state.headFails = true;
    await write(log, 1);
    await headsWritten();
    expect(warnings).toEqual(['The head record of the audit log could not be written.']);
    await expect(log.append(access('/2'))).rejects.toMatchObject(unavailable);
    expect(await paths(file)).toEqual(['/1']);
    state.headFails = false;
    await write(log, 1, 3);
    await headsWritten();
    expect(fs.readFileSync(headFile(file), 'utf8')).toContain('"seq":2,');
    expect(await paths(file)).toEqual(['/1', '/3']);
    expect(await problems(file)).toEqual([]);
  });
});

describe('between two checks', () => {
  it('the head record is written once for many lines, and removal of lines that it covers is detected', async () => {
    const file = await newLogFile();
    const { state, calls } = limitedDisk();
    const log = await openLog(file, { disk: calls });
    const before = state.heads;
    for (let n = 0; n < 20; n += 1) void log.append(access(`/${n}`));
    await write(log, 3, 20);
    expect(state.heads).toBe(before);
    // The state after a kill: the chain has lines that the record lacks.
    expect(await verify(await asKilled(file))).toMatchObject({ ok: true, lines: 23 });
    await headsWritten();
    expect(state.heads).toBe(before + 1);
    const killed = await asKilled(file);
    rewriteLines(killed, (lines) => lines.slice(0, -1));
    expect(await problems(killed)).toEqual(['cut 22']);
  });

  it('lines go to a file that another writer has rotated, and then to the new file', async () => {
    const file = await newLogFile();
    const state = { isDue: false };
    const log = await openLog(file, { isFileCheckDue: () => state.isDue });
    const other = await openLog(file, { maxBytes: 300 });
    await write(log, 1);
    await write(other, 1, 2);
    expect(fs.existsSync(`${file}.000001`)).toBe(true);
    await write(log, 2, 3);
    expect(fs.readFileSync(`${file}.000001`, 'utf8')).toContain('"path":"/4"');
    state.isDue = true;
    await write(log, 2, 5);
    expect(fs.readFileSync(file, 'utf8')).toContain('"path":"/6"');
    await write(other, 1, 7);
    await log.close();
    expect(await paths(file)).toEqual(Array.from({ length: 7 }, (_, index) => `/${index + 1}`));
    expect(await problems(file)).toEqual([]);
  });

  it('a writer ends its own torn line', async () => {
    const file = await newLogFile();
    const { state, calls } = limitedDisk();
    const log = await openLog(file, { disk: calls, isFileCheckDue: () => false });
    await write(log, 1);
    state.room = 33;
    await expect(log.append(access('/lost'))).rejects.toMatchObject(unavailable);
    state.room = Infinity;
    await write(log, 1, 2);
    expect((await allLines(file)).map(({ event }) => event)).toEqual(['access', 'audit.repaired', 'access']);
    expect(await verify(file)).toMatchObject({ ok: true, torn: 1 });
  });

  it('a file that was removed is noticed with the next line, and a torn line of another writer ends there', async () => {
    const file = await newLogFile();
    const log = await openLog(file, { isFileCheckDue: () => false });
    await write(log, 1);
    fs.appendFileSync(file, '{"v":1,"seq":7,"ti');
    await write(log, 2, 2);
    expect(await paths(file)).toEqual(['/1', '/2', '/3']);
    expect(await verify(file)).toMatchObject({ ok: true, torn: 1 });
    fs.rmSync(file);
    await write(log, 1, 4);
    expect(await paths(file)).toEqual(['/4']);
    expect((await allLines(file))[0]).toMatchObject({ event: 'audit.repaired' });
  });
});

describe('a crash during a write', () => {
  it('leaves a log that the next start repairs, wherever the line is cut', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    await write(log, 2);
    const size = fs.statSync(file).size;
    const head = fs.readFileSync(`${file}.head`);
    await write(log, 1, 3);
    const end = fs.statSync(file).size;
    for (let cut = size + 1; cut < end; cut += 11) {
      const killed = await asKilled(file);
      fs.truncateSync(killed, cut);
      fs.writeFileSync(`${killed}.head`, head);
      expect(await verify(killed)).toMatchObject({ ok: true, lines: 2, torn: 1 });
      const next = await openLog(killed);
      expect((await allLines(killed)).at(-1)).toMatchObject({
        seq: 3,
        event: 'audit.repaired',
        reason: expect.stringContaining(`${cut - size} bytes`) as string,
      });
      await write(next, 1, 4);
      expect(await verify(killed)).toMatchObject({ ok: true, lines: 4, torn: 1 });
    }
  });

  it('does not damage lines of other writers, even of one that wrote after the torn line', async () => {
    const file = await newLogFile();
    // A third writer dies in a write between the first one's look at the file and its write.
    const beside: DiskCalls = {
      ...disk,
      write(fd, text) {
        if (Buffer.from(text).includes('"path":"/1"')) {
          fs.appendFileSync(file, '{"v":1,"seq":2,"time":"2026-01-02T03:04:05.000Z","node":"host/3","ev');
        }
        return disk.write(fd, text);
      },
    };
    const [first, second] = [await openLog(file, { disk: beside }), await openLog(file)];
    await write(first, 1);
    await write(second, 1, 2);
    await write(first, 1, 3);
    expect(await verify(file)).toMatchObject({ ok: true, lines: 3, torn: 1 });
    expect(await paths(file)).toEqual(['/1', '/2', '/3']);
  });

  it('does not treat an unfinished write of another writer as torn', async () => {
    const file = await newLogFile();
    const other = await openLog(file);
    await write(other, 2);
    const text = fs.readFileSync(file, 'utf8');
    const half = text.length - 100;
    // The other's write goes on while this one waits for its turn at the end of the file.
    const calls: DiskCalls = {
      ...disk,
      write(fd, line) {
        if (line.length === 1) fs.appendFileSync(file, text.slice(half));
        return disk.write(fd, line);
      },
    };
    const log = await openLog(file, { disk: calls });
    await write(log, 1, 3);
    fs.truncateSync(file, half);
    await write(log, 1, 4);
    expect(fs.readFileSync(file, 'utf8')).toContain('"}\n\n{"');
    expect((await allLines(file)).map(({ event }) => event)).not.toContain('audit.repaired');
  });

  it('ends a torn line of another writer before it writes its next line', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    await write(log, 1);
    fs.appendFileSync(file, '{"v":1,"seq":9,"time":');
    await write(log, 1, 2);
    expect(
      fs
        .readFileSync(file, 'utf8')
        .split('\n')
        .map((line) => line.length > 100),
    ).toEqual([true, false, true, true, false]);
    expect(await verify(file)).toMatchObject({ ok: true, lines: 3, torn: 1 });
  });
});

describe('a file that is removed or replaced during use', () => {
  it('is created again, with an event, and verification reports the lost lines', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    await write(log, 2);
    fs.rmSync(file);
    await write(log, 1, 3);
    const lines = await allLines(file);
    expect(lines.map(({ seq, event, path }) => [seq, event, path])).toEqual([
      [3, 'audit.repaired', undefined],
      [4, 'access', '/3'],
    ]);
    expect(lines[0]?.reason).toContain('line 2 was the last before');
    expect(await problems(file)).toEqual(['missing 1']);
  });

  it('is written again if it was removed between check and write', async () => {
    const file = await newLogFile();
    let strike = false;
    const calls: DiskCalls = {
      ...disk,
      write(fd, text) {
        if (strike) fs.rmSync(file);
        strike = false;
        return disk.write(fd, text);
      },
    };
    const log = await openLog(file, { disk: calls });
    strike = true;
    await write(log, 1);
    expect(await paths(file)).toEqual(['/1']);
    expect(await problems(file)).toEqual([]);
  });

  it('is not written to if other users may read its replacement', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    fs.rmSync(file);
    fs.writeFileSync(file, '');
    fs.chmodSync(file, 0o644);
    await expect(log.append(access('/1'))).rejects.toMatchObject({
      ...unavailable,
      hint: `chmod 600 ${file}`,
    });
    fs.chmodSync(file, 0o600);
    await write(log, 1, 2);
    expect(await paths(file)).toEqual(['/2']);
  });

  it('leaves a chain with one writer after its lock file was removed', async () => {
    const file = await newLogFile();
    let time = 0;
    const log = await openLog(file, { now: () => time });
    await write(log, 1);
    fs.rmSync(`${file}.1.lock`);
    const other = await openLog(file);
    expect(other.node).toBe('host/1');
    time = 1_000;
    await write(log, 1, 2);
    expect(log.node).toBe('host/2');
    await write(other, 1, 3);
    expect(await problems(file)).toEqual([]);
  });

  it('refuses events while its folder is missing, and accepts events again afterwards', async () => {
    const file = join(await newLogFile(), '..', 'data', 'audit.jsonl');
    let time = 0;
    const log = await openLog(file, { now: () => time });
    await write(log, 1);
    fs.renameSync(dirname(file), `${dirname(file)}-away`);
    await expect(log.append(access('/2'))).rejects.toMatchObject(unavailable);
    time = 1_000;
    await expect(log.append(access('/2'))).rejects.toMatchObject(unavailable);
    fs.renameSync(`${dirname(file)}-away`, dirname(file));
    await write(log, 1, 3);
    expect(await paths(file)).toEqual(['/1', '/3']);
    expect(await problems(file)).toEqual([]);
  });
});
