import fs from 'node:fs';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  readSinkState,
  type Shipping,
  type SinkBatch,
  SinkFailure,
  type SinkState,
  sinkStateFile,
  startShipping,
} from '../../../src/audit/export/sink.ts';
import { bytesBehind } from '../../../src/audit/position.ts';
import { packRotated, removeExpired } from '../../../src/audit/retention.ts';
import { manualTimers } from './export/manual-timers.ts';
import { newLogFile, openLog, rewrite, write } from './log-for-test.ts';
import { vaultForTest } from './vault-for-test.ts';

const later = () => Date.now() + 120_000;
const paths = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => `/${from + index}`);

/** A receiver that keeps what it takes, and what to do instead. */
function receiver() {
  const state = {
    taken: [] as string[],
    batches: [] as SinkBatch[],
    fail: undefined as Error | 'hang' | undefined,
    asked: 0,
  };
  return {
    state,
    sink: {
      async deliver(batch: SinkBatch) {
        state.asked = batch.lines.length;
        if (state.fail === 'hang') await new Promise(() => {});
        if (state.fail instanceof Error) throw state.fail;
        state.batches.push(batch);
        for (const { line } of batch.lines) if (line.path !== undefined) state.taken.push(line.path);
      },
      close() {},
    },
  };
}

function ship(file: string, options: { batchLines?: number; name?: string } = {}) {
  const { state, sink } = receiver();
  const time = manualTimers();
  const said: string[] = [];
  const shipping: Shipping = startShipping({
    file,
    name: 'siem',
    sink,
    batchLines: 100,
    now: later,
    timers: time.timers,
    random: () => 1,
    logger: { warn: (_, text) => said.push(text), info: (_, text) => said.push(text) },
    ...options,
  });
  const close = () => shipping.close(1_000);
  onTestFinished(close);
  const idle = () => time.next((ms) => ms === 1_000);
  const look = () => time.fire((ms) => ms === 1_000);
  return { ...time, state, said, close, idle, look };
}

const kept = (file: string) => readSinkState(file, 'siem') as SinkState;

describe('a new sink', () => {
  it('receives the lines from its start onward, and polls for new lines', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    await write(log, 3);
    const { state, idle, look } = ship(file);
    await write(log, 2, 4);
    await look();
    await idle();
    expect(state.taken).toEqual(paths(4, 5));
    await write(log, 2, 6);
    await look();
    await idle();
    expect(state.taken).toEqual(paths(4, 7));
    const inFile = JSON.parse(fs.readFileSync(file, 'utf8').split('\n')[3] ?? '') as object;
    const delivered = { ...inFile, scheme: 'https', outcome: 'allow' };
    expect(JSON.parse(state.batches[0]?.lines[0]?.text ?? '')).toEqual(delivered);
    expect(kept(file)).toMatchObject({ delivered: 4, skips: 0, failing: null });
    expect(bytesBehind(file, kept(file).position)).toBe(0);
    expect(fs.statSync(sinkStateFile(file, 'siem')).mode & 0o777).toBe(0o600);
  });

  it('receives the last lines before the process ends', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    const { state, idle, close } = ship(file);
    await idle();
    await write(log, 2);
    await close();
    expect(state.taken).toEqual(paths(1, 2));
  });
});

describe('a sink that was offline', () => {
  it('continues at its position, across rotations, packing and a restart', async () => {
    const file = await newLogFile();
    const log = await openLog(file, { maxBytes: 900 });
    const first = ship(file, { batchLines: 7 });
    await write(log, 4);
    await first.idle();
    await first.close();
    await write(log, 26, 5);
    await packRotated(file, later());
    await write(log, 10, 31);
    const second = ship(file, { batchLines: 7 });
    await second.idle();
    expect([...first.state.taken, ...second.state.taken]).toEqual(paths(1, 40));
    expect(Math.max(...second.state.batches.map(({ lines }) => lines.length))).toBeLessThanOrEqual(7);
  });

  it('receives outcomes with the fields of their access, even after a restart and at each attempt', async () => {
    const file = await newLogFile();
    const log = await openLog(file, { maxBytes: 1_200 });
    const first = ship(file);
    await first.idle();
    await log.append({ event: 'access', exchange: 'long', path: '/long\u202e', outcome: 'allow' });
    await first.idle();
    await first.close();
    await write(log, 4);
    await log.append({ event: 'outcome', exchange: 'long', outcome: 'ok' });
    const second = ship(file);
    await second.idle();
    const delivered = second.state.batches.flatMap(({ lines }) => lines);
    const { line, text } = delivered.find((each) => each.line.event === 'outcome') ?? {};
    expect(line).toMatchObject({ event: 'outcome', path: '/long\u202e', outcome: 'ok' });
    expect(text).toContain('"path":"/long\\u202e","outcome":"ok"');
    expect(JSON.parse(text ?? '')).toEqual(line);
    second.state.fail = new Error('away');
    await log.append({ event: 'access', exchange: 'x', path: '/x', outcome: 'allow' });
    await log.append({ event: 'outcome', exchange: 'x', outcome: 'ok' });
    await second.look();
    second.state.fail = undefined;
    await second.look();
    await second.idle();
    expect(second.state.taken.slice(-2)).toEqual(['/x', '/x']);
  });

  it('receives a notice of the lines that retention removed before delivery', async () => {
    const file = await newLogFile();
    const log = await openLog(file, { maxBytes: 900 });
    const first = ship(file);
    await first.idle();
    await first.close();
    await write(log, 40);
    await removeExpired({
      file,
      vault: vaultForTest(),
      audit: log,
      keepMs: null,
      keepFiles: 1,
      keepBytes: null,
      now: 0,
    });
    const second = ship(file);
    await second.idle();
    expect(second.state.taken.at(-1)).toBe('/40');
    expect(second.state.taken.length).toBeLessThan(40);
    expect(kept(file).skips).toBe(1);
    expect(second.said).toEqual(['lines were removed before a sink of the audit log had them']);
  });

  it('receives all remaining lines again if its state cannot be read', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    await write(log, 3);
    const first = ship(file);
    await first.idle();
    await first.close();
    rewrite(sinkStateFile(file, 'siem'), () => '{');
    const second = ship(file);
    await second.idle();
    expect(second.state.taken).toEqual(paths(1, 3));
  });
});

describe('a sink that fails', () => {
  it('is retried at growing delays, and loses no line', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    const { state, said, fire, next, idle } = ship(file);
    state.fail = new SinkFailure('it is down');
    await idle();
    await write(log, 2);
    const waits: number[] = [await fire((ms) => ms === 1_000)];
    for (let n = 0; n < 10; n += 1) {
      await write(log, 1, 3 + n);
      waits.push(await fire((ms) => ms >= 1_000 && ms !== 30_000));
    }
    expect(waits.slice(1)).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 300].map((seconds) => seconds * 1_000));
    expect(kept(file).failing).toMatchObject({
      attempts: expect.any(Number) as number,
      reason: 'it is down',
    });
    await next((ms) => ms === 300_000);
    state.fail = undefined;
    await fire((ms) => ms === 300_000);
    await idle();
    expect(state.taken).toEqual(paths(1, 12));
    expect(kept(file)).toMatchObject({ delivered: 12, failing: null });
    expect(said).toEqual([
      'a sink of the audit log takes no lines; they wait in the file',
      'a sink of the audit log takes lines again',
    ]);
  });

  it('is retried after the delay that the receiver requests', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    const { state, look, next, idle } = ship(file);
    state.fail = new SinkFailure('slow down', { retryAfterMs: 77_000 });
    await idle();
    await write(log, 1);
    await look();
    expect(await next((ms) => ms !== 30_000)).toBe(77_000);
  });

  it('receives smaller batches after the receiver refused a large one', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    const { state, look, idle, next } = ship(file, { batchLines: 8 });
    await idle();
    await write(log, 8);
    const mostTaken = 2;
    Object.defineProperty(state, 'fail', {
      get: () =>
        state.asked > mostTaken && state.taken.length === 0
          ? new SinkFailure('too large', { tooLarge: true })
          : undefined,
    });
    await look();
    await next((ms) => ms === 1_000);
    expect(state.batches.map(({ lines }) => lines.length)).toEqual([2, 6]);
    expect(state.taken).toEqual(paths(1, 8));
  });

  it('is aborted when it does not answer, and does not delay the end of the process', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    const { state, look, fire, idle, close } = ship(file);
    state.fail = 'hang';
    await idle();
    await write(log, 1);
    await look();
    await fire((ms) => ms === 30_000);
    expect(await fire((ms) => ms === 1_000)).toBe(1_000);
    expect(kept(file).failing?.reason).toBe('it took too long');
    const closed = close();
    await fire((ms) => ms === 1_000);
    await closed;
    expect(kept(file).delivered).toBe(0);
  });
});

describe('two processes with the same sink', () => {
  it('deliver each line once, and the second one takes over after the first has ended', async () => {
    const file = await newLogFile();
    const log = await openLog(file);
    const [first, second] = [ship(file), ship(file)];
    await first.idle();
    await write(log, 2);
    await first.look();
    await first.idle();
    expect(await second.next()).toBe(5_000);
    await first.close();
    await write(log, 2, 3);
    await second.fire((ms) => ms === 5_000);
    await second.idle();
    expect([first.state.taken, second.state.taken]).toEqual([paths(1, 2), paths(3, 4)]);
  });
});
