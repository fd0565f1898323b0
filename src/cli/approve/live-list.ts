/**
 * The live list without its terminal and its clock: what waits, what is selected, and what a key does. An answer is for
 * the request that the person sees: the one that is on the screen in full, and has been there long enough to be read.
 */
import { isWaiting, type Approval } from '../../approvals/approval.ts';
import { readSpan, spanText } from '../span.ts';
import type { Said } from './said.ts';

/** Times are milliseconds since the epoch. */
export interface LiveList {
  /** In order of asking. */
  readonly entries: readonly Approval[];
  /** Id of an entry; null: there is none. */
  readonly selected: string | null;
  /** When another entry came under the cursor without the person's doing. */
  readonly movedAt: number;
  /** The entry that a yes for a time is being written for, and what was typed. */
  readonly asking: { readonly id: string; readonly span: string } | null;
  /** What the person is told beside the list. */
  readonly note: string | null;
}

/** What follows from a key. */
export type Act =
  { readonly kind: 'leave' } | { readonly kind: 'answer'; readonly id: string; readonly said: Said } | null;

export const emptyList: LiveList = { entries: [], selected: null, movedAt: 0, asking: null, note: null };

/** A key that was on its way before the list changed comes within this time. */
export const settleMs = 400;
const usualMs = 900_000;

/** The list with what waits now. The cursor stays with its entry, and goes to the next one where that is over. */
export function update(list: LiveList, waiting: readonly Approval[], now: number): LiveList {
  const entries = waiting.filter((each) => isWaiting(each, now));
  if (entries.some(({ id }) => id === list.selected)) return { ...list, entries };
  const at = list.entries.findIndex(({ id }) => id === list.selected);
  const next = entries[Math.min(Math.max(at, 0), entries.length - 1)];
  const note = list.asking === null ? list.note : `${list.asking.id} waits no longer.`;
  return { entries, selected: next?.id ?? null, movedAt: now, asking: null, note };
}

/**
 * What a key does.
 * @param shown id of the entry that is on the screen in full; null: none is
 */
export function press(
  list: LiveList,
  key: string,
  now: number,
  shown: string | null,
): { readonly list: LiveList; readonly act: Act } {
  const stay = (change: Partial<LiveList>) => ({ list: { ...list, note: null, ...change }, act: null });
  if (key === 'interrupt') return { list, act: { kind: 'leave' } };
  if (list.asking !== null) return pressInQuestion(list, list.asking, key, shown);
  switch (key) {
    case 'q':
      return { list, act: { kind: 'leave' } };
    case 'up':
    case 'k':
      return stay({ selected: neighbour(list, -1) });
    case 'down':
    case 'j':
      return stay({ selected: neighbour(list, 1) });
    case 'y':
    case 'l':
    case 't':
    case 'n':
      break;
    default:
      return { list, act: null };
  }
  const entry = list.entries.find(({ id }) => id === list.selected);
  if (entry === undefined) return stay({});
  if (entry.id !== shown) return stay({ note: 'Make the window larger: the request is not shown in full.' });
  const settled = now - list.movedAt;
  if (settled >= 0 && settled < settleMs)
    return stay({ note: 'The list has just changed: look, and press again.' });
  if (key === 't') return stay({ asking: { id: entry.id, span: '' } });
  if (key === 'l' && entry.who.lease === null) return stay({ note: `${entry.id} comes under no lease.` });
  const said = ({ y: 'once', l: 'lease', n: 'deny' } as const)[key];
  return { list: { ...list, note: null }, act: { kind: 'answer', id: entry.id, said } };
}

function pressInQuestion(
  list: LiveList,
  asking: NonNullable<LiveList['asking']>,
  key: string,
  shown: string | null,
): { readonly list: LiveList; readonly act: Act } {
  const { id, span } = asking;
  const stay = (change: Partial<LiveList>) => ({ list: { ...list, note: null, ...change }, act: null });
  if (key === 'escape') return stay({ asking: null });
  if (key === 'backspace') return stay({ asking: { id, span: span.slice(0, -1) } });
  if (/^[0-9smhdw]$/.test(key)) return stay({ asking: { id, span: `${span}${key}`.slice(0, 8) } });
  if (key !== 'return') return { list, act: null };
  if (id !== shown) return stay({ note: 'Make the window larger: the request is not shown in full.' });
  const forMs = span === '' ? usualMs : spanOrNull(span);
  if (forMs === null) return stay({ note: 'A number and its unit: 90s, 15m, 8h, 30d.' });
  return { list: { ...list, asking: null, note: null }, act: { kind: 'answer', id, said: { forMs } } };
}

/** What stands for a time that nobody has typed. */
export const usualSpan = spanText(usualMs);

function spanOrNull(text: string): number | null {
  try {
    return readSpan('the time', text);
  } catch {
    return null;
  }
}

function neighbour({ entries, selected }: LiveList, step: 1 | -1): string | null {
  const at = entries.findIndex(({ id }) => id === selected);
  return entries[Math.min(Math.max(at + step, 0), entries.length - 1)]?.id ?? null;
}
