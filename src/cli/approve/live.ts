import {
  type Approval,
  type ApprovalResponse,
  type Choice,
  choicesOf,
  isWaiting,
  likeText,
} from '../../domain/approval.ts';
import { respond } from '../../operations/answer-approval.ts';
import { agentText, beyondText, blockOf, remaining, requestText, sentenceOf, wrap } from './format.ts';
import { atCommandLine, type Context } from '../context.ts';
import { ending, fitting, wrapWords } from '../display.ts';
import { spanMs, spanText } from '../../operations/format.ts';
import { type ApprovalPages, approvalPages } from './pages.ts';
import { onInterrupt, type OpenScreen, type Page } from '../terminal.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { systemTimers, type Timers } from '../../lib/timers.ts';
import type { Store } from '../../store/store.ts';

/** `sidekey approve` in a terminal: lists the pending requests. Keys answer them. */
export async function live({ withState, output, env, now }: Context, openScreen: OpenScreen): Promise<void> {
  const by = `${atCommandLine(env).by} in a terminal`;
  const sentences = await withState(async (state) =>
    watch({
      openScreen,
      store: state.store,
      bodyOf: approvalPages(state.config.admin, state.vault)?.bodyOf ?? (async () => null),
      answer: async (id, said) => sentenceOf(await respond(state, { id, said, by, at: now() })),
      now,
      timers: systemTimers,
      onInterrupt,
    }),
  );
  if (sentences.length > 0) output.result(sentences, sentences.join('\n'));
}

export interface WatchParts {
  readonly openScreen: OpenScreen;
  readonly store: { epoch(): number; readonly approvals: Pick<Store['approvals'], 'waiting'> };
  readonly bodyOf: ApprovalPages['bodyOf'];
  /** Returns the result as a sentence. Rejects with SidekeyError if the question cannot be answered. */
  readonly answer: (id: string, said: ApprovalResponse) => Promise<string>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
  readonly onInterrupt: (run: () => void) => () => void;
}

/** Milliseconds between two polls of the store and the clock. */
const lookEvery = 200;

/**
 * Shows the list until the user quits, and returns a summary.
 * @throws SidekeyError if the store cannot be read; the terminal is restored first
 */
export async function watch({
  openScreen,
  store,
  bodyOf,
  answer,
  now,
  timers,
  onInterrupt: listen,
}: WatchParts): Promise<string[]> {
  const left = Promise.withResolvers<void>();
  const done: string[] = [];
  let list = { ...emptyList, movedAt: now() };
  let seen: number | null = null;
  /** ID of the entry that the screen shows in full. */
  let shown: string | null = null;
  /** Bodies of once-selected entries by ID; null: none can be shown. */
  const bodies = new Map<string, string | null>();
  let reading: string | null = null;
  let drawn = '';
  let isAnswering = false;
  let answered = Promise.resolve();
  let cancel: (() => void) | undefined;
  let isOver = false;

  const screen = openScreen({ key: onKey, resize: () => draw(true) });
  const giveBack = listen(left.resolve);

  function draw(anew = false): void {
    const entry = list.entries.find(({ id }) => id === list.selected);
    const body = entry === undefined ? null : bodies.get(entry.id);
    if (entry !== undefined && body === undefined) readBody(entry);
    const page = livePage(list, now(), screen.size(), body);
    shown = body === undefined ? null : page.shown;
    const text = page.lines.join('\n');
    if (anew || text !== drawn) screen.draw(page);
    drawn = text;
  }

  function readBody(entry: Approval): void {
    if (reading === entry.id) return;
    reading = entry.id;
    void bodyOf(entry).then((body) => {
      bodies.set(entry.id, body);
      if (!isOver) draw();
    });
  }

  async function look(): Promise<void> {
    const epoch = store.epoch();
    const waiting = epoch === seen ? list.entries : await store.approvals.waiting(now(), { limit: 1_000 });
    seen = epoch;
    list = update(list, waiting, now());
    const selected = list.entries.find(({ id }) => id === list.selected);
    if (selected !== undefined && !bodies.has(selected.id)) bodies.set(selected.id, await bodyOf(selected));
    draw();
  }

  function lookOn(): void {
    if (isOver) return;
    cancel = timers.after(lookEvery, () => void look().then(lookOn, left.reject));
  }

  function onKey(key: string): void {
    // Ignores keys while an answer is pending, because they would apply to the updated list.
    if (isAnswering && key !== 'interrupt') return;
    const pressed = press(list, key, now(), shown);
    list = pressed.list;
    act(pressed.act);
    draw();
  }

  function act(what: Act): void {
    if (what?.kind === 'leave') left.resolve();
    if (what?.kind !== 'answer') return;
    isAnswering = true;
    answered = give(what.id, what.said).catch(left.reject);
  }

  async function give(id: string, said: ApprovalResponse): Promise<void> {
    let note: string;
    try {
      note = await answer(id, said);
      done.push(note);
    } catch (error) {
      if (!(error instanceof SidekeyError)) throw error;
      note = error.message;
    }
    seen = null;
    list = { ...list, note };
    isAnswering = false;
    await look();
  }

  try {
    await look();
    lookOn();
    await left.promise;
    // Completes and reports a pending answer.
    await answered;
  } finally {
    isOver = true;
    cancel?.();
    giveBack();
    screen.close();
  }
  return done;
}

/** A page of the live view. */
interface LivePage extends Page {
  /** Id of the selected entry if the page shows all of it; null: none is selected, or it does not fit. */
  readonly shown: string | null;
}

/** @param now milliseconds since the epoch @param body of the selected entry, shown in full or not at all */
export function livePage(
  list: LiveList,
  now: number,
  size: { readonly columns: number; readonly rows: number },
  body: string | null = null,
): LivePage {
  const { columns, rows } = size;
  const at = list.entries.findIndex(({ id }) => id === list.selected);
  const entry = list.entries[at];
  const note = list.note === null ? [] : sentence(list.note, columns);
  if (entry === undefined) {
    return { lines: [...idle.flatMap((line) => wrap(line, columns)), ...note], bold: 0, shown: null };
  }
  const block = [
    '',
    ...blockOf(entry, now, { width: columns, lines: 4, body }).flatMap((line) => wrap(line, columns)),
    '',
  ];
  const below = [...block, ...keysOf(entry, list.asking).flatMap((line) => sentence(line, columns)), ...note];
  const room = rows - below.length - 2;
  if (room < 1 && body !== null) {
    const note = 'Its body needs a larger window. It is also in: sidekey approve --list';
    return livePage({ ...list, note: list.note ?? note }, now, size);
  }
  if (room < 1) {
    const small = `${list.entries.length} waiting. Make the window larger to answer (q leaves).`;
    return { lines: wrap(small, columns).slice(0, rows), bold: 0, shown: null };
  }
  // Keeps the cursor on the page, and the page full.
  const first = Math.max(0, Math.min(at - Math.floor(room / 2), list.entries.length - room));
  const listed = list.entries.slice(first, first + room);
  const keys = 2 + listed.length + block.length;
  const count = list.entries.length;
  const all = count === 1 ? '1 request waits for you' : `${count} requests wait for you`;
  const range = listed.length === count ? '' : ` (${first + 1} to ${first + listed.length} are listed)`;
  const colors = new Map(
    below
      .slice(block.length)
      .flatMap((line, index) => [
        ...(/^ {2}[ylt] {2}/.test(line) ? [[keys + index, 'green'] as const] : []),
        ...(line.startsWith('  n  ') ? [[keys + index, 'red'] as const] : []),
      ]),
  );
  return {
    lines: [
      fitting(all + range, columns),
      '',
      ...listed.map((each) => rowOf(each, each === entry, now, columns)),
      ...below,
    ],
    bold: 2 + at - first,
    colors,
    shown: entry.id,
  };
}

const idle = [
  'No requests waiting.',
  '',
  'A request that meets a rule with "outcome: approve" appears here.',
  'Approvals in force: sidekey approve --list',
  '',
  'q leaves',
];

/** Formats a row: `> k3f9q2xa 2:41 ci-bot DELETE https://…`. The block below has the full text. */
function rowOf(entry: Approval, isSelected: boolean, now: number, columns: number): string {
  const agent = agentText(entry.who);
  const row = `${isSelected ? '>' : ' '} ${entry.id}  ${remaining(entry, now).padStart(5)}  ${agent}  ${requestText(entry)}`;
  return ending(row, columns);
}

function keysOf(entry: Approval, asking: LiveList['asking']): string[] {
  const beyond = beyondText(entry);
  if (asking !== null) {
    const span = asking.span === '' ? `(${spanText(defaultSpanMs)}) ` : asking.span;
    return [`  Yes, to ${beyond}.`, `  For how long? ${span}_`, '  return  answer      escape  back'];
  }
  const answers = choicesOf(entry).flatMap(({ answer, label, effect }) => {
    const key = keyOf[answer];
    return key === undefined ? [] : [`  ${key}  ${label}: ${effect}`];
  });
  return [
    ...answers,
    '  t  Yes, for a time: It goes on, and all like it for the time that you type.',
    `  ${likeText(entry)}`,
    '  up, down  choose another      q  leave',
  ];
}

/** Keys of the answers. */
const keyOf: Partial<Record<Choice['answer'], string>> = { once: 'y', deny: 'n', lease: 'l' };

/** Wraps a sentence at word boundaries. Indents lines after the first. */
function sentence(text: string, columns: number): string[] {
  return wrapWords(text, columns, '     ').flatMap((line) => wrap(line, columns));
}

/** Times are milliseconds since the epoch. */
export interface LiveList {
  /** Entries in the order of the requests. */
  readonly entries: readonly Approval[];
  /** Id of an entry; null: none. */
  readonly selected: string | null;
  /** Time at which the cursor moved to another entry without a key. */
  readonly movedAt: number;
  /** The entry whose approval span is being typed, and the typed text. */
  readonly asking: { readonly id: string; readonly span: string } | null;
  /** Message beside the list. */
  readonly note: string | null;
}

/** Action that a key causes. */
type Act =
  | { readonly kind: 'leave' }
  | { readonly kind: 'answer'; readonly id: string; readonly said: ApprovalResponse }
  | null;

export const emptyList: LiveList = { entries: [], selected: null, movedAt: 0, asking: null, note: null };

/** Milliseconds for which keys are ignored after a change of the list: they were for the previous list. */
export const settleMs = 400;

/** Span of an empty answer. */
const defaultSpanMs = 900_000;

/** Updates the list with the pending requests. If its entry is gone, the cursor moves to the next one. */
export function update(list: LiveList, waiting: readonly Approval[], now: number): LiveList {
  const entries = waiting.filter((each) => isWaiting(each, now));
  if (entries.some(({ id }) => id === list.selected)) return { ...list, entries };
  const at = list.entries.findIndex(({ id }) => id === list.selected);
  const next = entries[Math.min(Math.max(at, 0), entries.length - 1)];
  const note = list.asking === null ? list.note : `${list.asking.id} is no longer waiting.`;
  return { entries, selected: next?.id ?? null, movedAt: now, asking: null, note };
}

/**
 * Applies a key to the list.
 *
 * @param shown ID of the entry that the screen shows in full; null: none
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
  if (key === 'l' && entry.who.lease === null) return stay({ note: `${entry.id} has no lease.` });
  const said = ({ y: 'once', l: 'lease', n: 'deny' } as const)[key];
  return { list: { ...list, note: null }, act: { kind: 'answer', id: entry.id, said } };
}

function pressInQuestion(
  list: LiveList,
  asking: NonNullable<LiveList['asking']>,
  key: string,
  shown: string | null,
): ReturnType<typeof press> {
  const { id, span } = asking;
  const stay = (change: Partial<LiveList>) => ({ list: { ...list, note: null, ...change }, act: null });
  if (key === 'escape') return stay({ asking: null });
  if (key === 'backspace') return stay({ asking: { id, span: span.slice(0, -1) } });
  if (/^[0-9smhdw]$/.test(key)) return stay({ asking: { id, span: `${span}${key}`.slice(0, 8) } });
  if (key !== 'return') return { list, act: null };
  if (id !== shown) return stay({ note: 'Make the window larger: the request is not shown in full.' });
  const forMs = span === '' ? defaultSpanMs : spanMs(span);
  if (forMs === null) return stay({ note: 'A number and its unit: 90s, 15m, 8h, 30d.' });
  return { list: { ...list, asking: null, note: null }, act: { kind: 'answer', id, said: { forMs } } };
}

function neighbour({ entries, selected }: LiveList, step: 1 | -1): string | null {
  const at = entries.findIndex(({ id }) => id === selected);
  return entries[Math.min(Math.max(at + step, 0), entries.length - 1)]?.id ?? null;
}
