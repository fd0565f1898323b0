import { describe, expect, it } from 'vitest';
import type { Approval } from '../../../../src/approvals/approval.ts';
import { emptyList, press, settleMs, update, type LiveList } from '../../../../src/cli/approve/live.ts';
import { no, question } from '../../../support/question.ts';

const time = 1_700_000_000_000;
const later = time + settleMs;
const entry = (id: string, lease: string | null = null): Approval => ({
  ...question({ id, who: { grantId: 'grant', lease } }),
  answer: null,
});
const [a, b, c] = [entry('a'), entry('b', 'lease-1'), entry('c')] as const;
const listOf = (...entries: readonly Approval[]) => update(emptyList, entries, time);
/** Presses keys on a page that shows the selected entry in full, and answers with the last that came of it. */
const pressed = (list: LiveList, keys: readonly string[], now = later) => {
  let result: ReturnType<typeof press> = { list, act: null };
  for (const key of keys) result = press(result.list, key, now, result.list.selected);
  return result;
};
const answered = (id: string, said: unknown) => ({ kind: 'answer', id, said });

describe('the live list', () => {
  it('begins with the first request, and goes where the person wants', () => {
    const list = listOf(a, b, c);
    expect(list.selected).toBe('a');
    const chosen = (...keys: readonly string[]) => pressed(list, keys).list.selected;
    expect(chosen('j')).toBe('b');
    expect(chosen('down', 'down', 'down')).toBe('c');
    expect(chosen('down', 'j', 'k')).toBe('b');
    expect(chosen('j', 'up', 'up')).toBe('a');
  });

  it('has what waits now, and neither what was answered nor what is over', () => {
    const list = update(listOf(a, b, c), [{ ...a, answer: no(time) }, b, { ...c, expiresAt: later }], later);
    expect(list.entries.map(({ id }) => id)).toEqual(['b']);
  });

  it('has none whose proxy has died', () => {
    const list = update(listOf(a, b), [{ ...a, aliveUntil: later }, b], later);
    expect(list.entries.map(({ id }) => id)).toEqual(['b']);
  });

  it.each([
    ['y', 'b', 'once'],
    ['l', 'b', 'lease'],
    ['n', 'b', 'deny'],
  ])('takes %s for the selected request', (key, id, said) => {
    expect(pressed(listOf(a, b, c), ['j', key]).act).toEqual(answered(id, said));
  });

  it('offers the lease only where there is one', () => {
    expect(pressed(listOf(a), ['l'])).toMatchObject({ act: null, list: { note: 'a comes under no lease.' } });
  });

  it.each([
    [['return'], 900_000],
    [['2', 'h', 'return'], 7_200_000],
    [['2', 'h', 'backspace', 'm', 'return'], 120_000],
    [['y', 'n', 'q', 'l', 't', '9', '0', 's', 'return'], 90_000],
  ])('asks for a time: %j', (keys, forMs) => {
    expect(pressed(listOf(a), ['t', ...keys]).act).toEqual(answered('a', { forMs }));
  });

  it('takes no time that is none, and goes back to the list', () => {
    const wrong = pressed(listOf(a), ['t', '5', 'return']);
    expect(wrong).toMatchObject({ act: null, list: { asking: { id: 'a', span: '5' } } });
    expect(wrong.list.note).toContain('15m');
    const back = pressed(wrong.list, ['escape']);
    expect(back).toMatchObject({ act: null, list: { asking: null } });
    expect(pressed(back.list, ['y']).act).toEqual(answered('a', 'once'));
  });

  it.each(['q', 'interrupt'])('is left with %s', (key) => {
    expect(pressed(listOf(a), [key]).act).toEqual({ kind: 'leave' });
    expect(pressed(emptyList, [key]).act).toEqual({ kind: 'leave' });
  });

  it('is left with Ctrl-C also while a time is asked for', () => {
    expect(pressed(listOf(a), ['t', 'interrupt']).act).toEqual({ kind: 'leave' });
  });

  it('takes no other key, and no answer where nothing waits', () => {
    for (const key of ['x', 'Y', 'return', 'escape', '1']) expect(pressed(listOf(a), [key]).act).toBeNull();
    for (const key of ['y', 'l', 't', 'n', 'j']) expect(pressed(emptyList, [key]).act).toBeNull();
  });
});

describe('a key that comes right after the list has changed', () => {
  it('answers nothing where another request came under the cursor by itself', () => {
    // a is over in the moment in which the person presses y.
    const list = update(listOf(a, b, c), [b, c], later);
    expect(list.selected).toBe('b');
    for (const key of ['y', 'l', 't', 'n']) {
      const early = pressed(list, [key], later + settleMs - 1);
      expect(early).toMatchObject({ act: null, list: { asking: null } });
      expect(early.list.note).toContain('has just changed');
    }
    expect(pressed(list, ['y'], later + settleMs).act).toEqual(answered('b', 'once'));
  });

  it('answers nothing where the first request has just come', () => {
    const list = update(update(emptyList, [], time), [a], later);
    expect(pressed(list, ['y'], later).act).toBeNull();
  });

  it('answers where the person chose that request, and where others came and went around it', () => {
    const list = update(listOf(a, b, c), [b, c], later);
    expect(pressed(list, ['j', 'y'], later + settleMs).act).toEqual(answered('c', 'once'));
    const around = update(pressed(listOf(a, b), ['j']).list, [b, c], later);
    expect(around.selected).toBe('b');
    expect(pressed(around, ['y'], later).act).toEqual(answered('b', 'once'));
  });

  it('is no time for another request: the question for it ends with its request', () => {
    const asking = pressed(listOf(a, b), ['t', '1', 'h']).list;
    const list = update(asking, [b], later);
    expect(list).toMatchObject({ asking: null, selected: 'b', note: 'a waits no longer.' });
    expect(pressed(list, ['return'], later + settleMs).act).toBeNull();
  });

  it('answers where the clock was set back', () => {
    expect(pressed(listOf(a), ['y'], time - 1_000_000).act).toEqual(answered('a', 'once'));
  });
});

it('answers no request that is not on the screen in full', () => {
  const list = listOf(a, b);
  for (const shown of [null, 'b']) {
    for (const key of ['y', 'n', 't']) expect(press(list, key, later, shown).act).toBeNull();
  }
  const { list: asking } = press(list, 't', later, 'a');
  expect(press(asking, 'return', later, null).act).toBeNull();
});
