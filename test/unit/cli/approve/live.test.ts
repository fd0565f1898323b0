import { describe, expect, it } from 'vitest';
import type { Approval } from '../../../../src/domain/approval.ts';
import { settleMs, watch } from '../../../../src/cli/approve/live.ts';
import type { Listener } from '../../../../src/cli/terminal.ts';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { question } from '../../../support/question.ts';
import { manualTime, settle } from '../../lib/manual-time.ts';

const start = 1_700_000_000_000;
const entry = (id: string): Approval => ({ ...question({ id, who: { grantId: 'grant' } }), answer: null });

/** The live list, with the pending approvals in `waiting`. */
function opened(...waiting: Approval[]) {
  const time = manualTime(start);
  const said: [id: string, said: unknown][] = [];
  const drawn: string[] = [];
  const it = {
    time,
    said,
    waiting,
    epoch: 0,
    isClosed: false,
    size: { columns: 80, rows: 24 },
    fails: null as unknown,
    answer: async (id: string): Promise<string> => {
      it.waiting.splice(0, Infinity, ...it.waiting.filter((each) => each.id !== id));
      return `Answered ${id}.`;
    },
    bodyOf: async (_id: string): Promise<string | null> => null,
    interrupt: () => {},
    listener: { key: () => {}, resize: () => {} } as Listener,
    page: () => drawn.at(-1) ?? '',
    pages: drawn,
    async press(...keys: readonly string[]) {
      for (const key of keys) {
        it.listener.key(key);
        await settle();
      }
    },
    async wait(ms: number) {
      await time.advance(ms);
    },
    left: Promise.resolve([] as string[]),
  };
  it.left = watch({
    openScreen(listener) {
      it.listener = listener;
      return {
        size: () => it.size,
        draw: ({ lines }) => drawn.push(lines.join('\n')),
        close: () => (it.isClosed = true),
      };
    },
    store: {
      epoch: () => it.epoch,
      approvals: {
        waiting: async (_at, page) => {
          if (it.fails !== null) throw it.fails;
          return it.waiting.slice(0, page?.limit);
        },
      },
    },
    bodyOf: async (asked) => it.bodyOf(asked.id),
    answer(id, what) {
      said.push([id, what]);
      return it.answer(id);
    },
    now: time.now,
    timers: time.timers,
    onInterrupt: (run) => {
      it.interrupt = run;
      return () => (it.interrupt = () => {});
    },
  });
  return it;
}

describe('the live list in a terminal', () => {
  it('shows new and removed requests, and the time left for each', async () => {
    const list = opened();
    await settle();
    expect(list.page()).toContain('No requests waiting.');
    list.waiting.push(entry('aaaa0000'));
    list.epoch += 1;
    await list.wait(200);
    expect(list.page()).toContain('1 request waits for you');
    expect(list.page()).toContain('> aaaa0000   3:00  a local caller');
    await list.wait(19_000);
    expect(list.page()).toContain('aaaa0000   2:41');
    // It was not withdrawn: its time limit has passed.
    await list.wait(161_000);
    expect(list.page()).toContain('No requests waiting.');
    await list.press('q');
    expect(await list.left).toEqual([]);
    expect(list.isClosed).toBe(true);
  });

  it('has the oldest 1,000 requests', async () => {
    const list = opened(...Array.from({ length: 1_001 }, (_, n) => entry(`${n}`)));
    await settle();
    expect(list.page()).toContain('1000 requests wait for you');
    await list.press('q');
    await list.left;
  });

  it('is redrawn only when its contents or the window size change', async () => {
    const list = opened();
    await list.wait(10_000);
    expect(list.pages).toHaveLength(1);
    list.listener.resize();
    expect(list.pages).toHaveLength(2);
    await list.press('q');
  });

  it('answers the request that was shown, and reports the answers at the end', async () => {
    const list = opened(entry('aaaa0000'), entry('bbbb0000'));
    await list.wait(settleMs);
    await list.press('j', 'y');
    expect(list.said).toEqual([['bbbb0000', 'once']]);
    expect(list.page()).toContain('Answered bbbb0000.');
    expect(list.page()).toContain('> aaaa0000');
    // A repeated key must not answer the next request.
    await list.press('y');
    expect(list.said).toHaveLength(1);
    await list.wait(settleMs);
    await list.press('t', '1', 'h', 'return', 'q');
    expect(list.said[1]).toEqual(['aaaa0000', { forMs: 3_600_000 }]);
    expect(await list.left).toEqual(['Answered bbbb0000.', 'Answered aaaa0000.']);
  });

  it('shows the body of the selected request, and ignores keys until the body has been read', async () => {
    const list = opened({ ...entry('aaaa0000'), bodyBytes: 9 });
    const body = Promise.withResolvers<string | null>();
    list.bodyOf = () => body.promise;
    await list.wait(settleMs);
    await list.press('y');
    expect(list.said).toEqual([]);
    body.resolve('one\r\n\u001b[2J');
    await settle();
    expect(list.page()).toMatch(/\n {2}body {5}one\n {11}\S*\[2J\n/);
    await list.press('y', 'q');
    expect(list.said).toEqual([['aaaa0000', 'once']]);
  });

  it('says when the window is too small for the body', async () => {
    const list = opened({ ...entry('aaaa0000'), bodyBytes: 100 });
    list.bodyOf = async () => 'line\n'.repeat(20);
    await list.wait(settleMs);
    expect(list.page()).not.toContain('line');
    expect(list.page()).toContain('100 bytes of body, which is not shown');
    expect(list.page()).toContain('Its body needs a larger window.');
    list.size = { columns: 80, rows: 60 };
    list.listener.resize();
    expect(list.page()).toContain('body     line');
    await list.press('q');
  });

  it('ignores keys while an answer is being written, and ends only after it', async () => {
    const list = opened(entry('aaaa0000'), entry('bbbb0000'));
    const answer = Promise.withResolvers<string>();
    list.answer = () => answer.promise;
    await list.wait(settleMs);
    await list.press('y', 'j', 'y', 'n');
    expect(list.said).toEqual([['aaaa0000', 'once']]);
    await list.press('interrupt');
    expect(list.isClosed).toBe(false);
    answer.resolve('Answered.');
    expect(await list.left).toEqual(['Answered.']);
  });

  it('shows why an answer was not accepted, and continues', async () => {
    const list = opened(entry('aaaa0000'));
    list.answer = () =>
      Promise.reject(new SidekeyError('approval_over', 'It was answered before: no, by bob.'));
    await list.wait(settleMs);
    await list.press('y');
    expect(list.page()).toContain('It was answered before: no, by bob.');
    await list.press('q');
    expect(await list.left).toEqual([]);
  });

  it('answers nothing in a window too small for the request, and answers after it grows', async () => {
    const list = opened(entry('aaaa0000'));
    list.size = { columns: 40, rows: 6 };
    await list.wait(settleMs);
    expect(list.page()).toContain('Make the window larger');
    await list.press('y', 'n');
    expect(list.said).toEqual([]);
    list.size = { columns: 80, rows: 24 };
    list.listener.resize();
    await list.press('n');
    expect(list.said).toEqual([['aaaa0000', 'deny']]);
    await list.press('q');
  });

  it.each(['press', 'signal', 'failure', 'fault'] as const)(
    'restores the terminal and leaves no timer after a %s',
    async (how) => {
      const list = opened(entry('aaaa0000'));
      await list.wait(settleMs);
      const left = list.left.then(
        () => 'left',
        (error: unknown) => error,
      );
      const failure = new SidekeyError('store_unavailable', 'The store is away.');
      if (how === 'press') await list.press('interrupt');
      if (how === 'signal') list.interrupt();
      if (how === 'failure') [list.fails, list.epoch] = [failure, 1];
      if (how === 'fault') {
        list.answer = () => Promise.reject(new TypeError('a fault'));
        await list.press('y');
      }
      if (how === 'failure') await list.wait(200);
      const ended = await left;
      if (how === 'failure') expect(ended).toBe(failure);
      else if (how === 'fault') expect(ended).toBeInstanceOf(TypeError);
      else expect(ended).toBe('left');
      expect(list.isClosed).toBe(true);
      expect(list.time.waiting()).toBe(0);
    },
  );
});
