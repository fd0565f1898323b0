import { describe, expect, it } from 'vitest';
import type { Approval } from '../../../../src/domain/approval.ts';
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
/** Presses keys while the selected entry is shown in full; returns the last result. */
const pressed = (list: LiveList, keys: readonly string[], now = later) => {
  let result: ReturnType<typeof press> = { list, act: null };
  for (const key of keys) result = press(result.list, key, now, result.list.selected);
  return result;
};
const answered = (id: string, said: unknown) => ({ kind: 'answer', id, said });

describe('the live list', () => {
  it('selects the first request, and moves with j, k and the arrow keys', () => {
    const list = listOf(a, b, c);
    expect(list.selected).toBe('a');
    const chosen = (...keys: readonly string[]) => pressed(list, keys).list.selected;
    expect(chosen('j')).toBe('b');
    expect(chosen('down', 'down', 'down')).toBe('c');
    expect(chosen('down', 'j', 'k')).toBe('b');
    expect(chosen('j', 'up', 'up')).toBe('a');
  });

  it('contains pending approvals, and neither answered nor expired ones', () => {
    const list = update(listOf(a, b, c), [{ ...a, answer: no(time) }, b, { ...c, expiresAt: later }], later);
    expect(list.entries.map(({ id }) => id)).toEqual(['b']);
  });

  it('omits approvals whose proxy has died', () => {
    const list = update(listOf(a, b), [{ ...a, aliveUntil: later }, b], later);
    expect(list.entries.map(({ id }) => id)).toEqual(['b']);
  });

  it.each([
    ['y', 'b', 'once'],
    ['l', 'b', 'lease'],
    ['n', 'b', 'deny'],
  ])('the key %s answers the selected request', (key, id, said) => {
    expect(pressed(listOf(a, b, c), ['j', key]).act).toEqual(answered(id, said));
  });

  it('refuses an approval for the lease if the request has no lease', () => {
    expect(pressed(listOf(a), ['l'])).toMatchObject({ act: null, list: { note: 'a has no lease.' } });
  });

  it.each([
    [['return'], 900_000],
    [['2', 'h', 'return'], 7_200_000],
    [['2', 'h', 'backspace', 'm', 'return'], 120_000],
    [['y', 'n', 'q', 'l', 't', '9', '0', 's', 'return'], 90_000],
  ])('the key t reads a duration: %j', (keys, forMs) => {
    expect(pressed(listOf(a), ['t', ...keys]).act).toEqual(answered('a', { forMs }));
  });

  it('refuses an invalid duration, and Escape returns to the list', () => {
    const wrong = pressed(listOf(a), ['t', '5', 'return']);
    expect(wrong).toMatchObject({ act: null, list: { asking: { id: 'a', span: '5' } } });
    expect(wrong.list.note).toContain('15m');
    const back = pressed(wrong.list, ['escape']);
    expect(back).toMatchObject({ act: null, list: { asking: null } });
    expect(pressed(back.list, ['y']).act).toEqual(answered('a', 'once'));
  });

  it.each(['q', 'interrupt'])('the key %s closes the list', (key) => {
    expect(pressed(listOf(a), [key]).act).toEqual({ kind: 'leave' });
    expect(pressed(emptyList, [key]).act).toEqual({ kind: 'leave' });
  });

  it('Ctrl-C closes the list even while a duration is entered', () => {
    expect(pressed(listOf(a), ['t', 'interrupt']).act).toEqual({ kind: 'leave' });
  });

  it('ignores other keys, and answers while the list is empty', () => {
    for (const key of ['x', 'Y', 'return', 'escape', '1']) expect(pressed(listOf(a), [key]).act).toBeNull();
    for (const key of ['y', 'l', 't', 'n', 'j']) expect(pressed(emptyList, [key]).act).toBeNull();
  });
});

describe('a key just after the list has changed', () => {
  it('does not answer when another request moved to the selected row', () => {
    // Entry a expires just before the person presses y.
    const list = update(listOf(a, b, c), [b, c], later);
    expect(list.selected).toBe('b');
    for (const key of ['y', 'l', 't', 'n']) {
      const early = pressed(list, [key], later + settleMs - 1);
      expect(early).toMatchObject({ act: null, list: { asking: null } });
      expect(early.list.note).toContain('has just changed');
    }
    expect(pressed(list, ['y'], later + settleMs).act).toEqual(answered('b', 'once'));
  });

  it('does not answer when the first request has just appeared', () => {
    const list = update(update(emptyList, [], time), [a], later);
    expect(pressed(list, ['y'], later).act).toBeNull();
  });

  it('answers when the person selected the request, or when only other rows changed', () => {
    const list = update(listOf(a, b, c), [b, c], later);
    expect(pressed(list, ['j', 'y'], later + settleMs).act).toEqual(answered('c', 'once'));
    const around = update(pressed(listOf(a, b), ['j']).list, [b, c], later);
    expect(around.selected).toBe('b');
    expect(pressed(around, ['y'], later).act).toEqual(answered('b', 'once'));
  });

  it('does not apply a duration to another request: the input is discarded with its request', () => {
    const asking = pressed(listOf(a, b), ['t', '1', 'h']).list;
    const list = update(asking, [b], later);
    expect(list).toMatchObject({ asking: null, selected: 'b', note: 'a is no longer waiting.' });
    expect(pressed(list, ['return'], later + settleMs).act).toBeNull();
  });

  it('answers after the clock was set back', () => {
    expect(pressed(listOf(a), ['y'], time - 1_000_000).act).toEqual(answered('a', 'once'));
  });
});

it('a request that is not shown in full cannot be answered', () => {
  const list = listOf(a, b);
  for (const shown of [null, 'b']) {
    for (const key of ['y', 'n', 't']) expect(press(list, key, later, shown).act).toBeNull();
  }
  const { list: asking } = press(list, 't', later, 'a');
  expect(press(asking, 'return', later, null).act).toBeNull();
});
