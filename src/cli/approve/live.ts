import { SidekeyError } from '../../errors.ts';
import { systemTimers, type Timers } from '../../grants/timers.ts';
import type { Store } from '../../store/store.ts';
import type { Context } from '../context.ts';
import { onInterrupt } from '../interrupt.ts';
import type { OpenScreen } from '../screen.ts';
import { atCommandLine } from '../who.ts';
import { emptyList, press, update, type Act } from './live-list.ts';
import { livePage } from './live-page.ts';
import { say, type Said } from './said.ts';

/** `sidekey approve` in a terminal: what waits, as it comes and goes, answered by a key. */
export async function live({ withState, output, env, now }: Context, openScreen: OpenScreen): Promise<void> {
  const by = `${atCommandLine(env).by} in a terminal`;
  const sentences = await withState(async (state) =>
    watch({
      openScreen,
      store: state.store,
      answer: async (id, said) => (await say(state, { id, said, by, at: now() })).sentence,
      now,
      timers: systemTimers,
      onInterrupt,
    }),
  );
  if (sentences.length > 0) output.result(sentences, sentences.join('\n'));
}

/** What the live list stands on. */
export interface WatchParts {
  readonly openScreen: OpenScreen;
  readonly store: { epoch(): number; readonly approvals: Pick<Store['approvals'], 'waiting'> };
  /** Answers with what came of it. Rejects with SidekeyError where it cannot be answered. */
  readonly answer: (id: string, said: Said) => Promise<string>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
  /** As `cli/interrupt.ts`. */
  readonly onInterrupt: (run: () => void) => () => void;
}

/** Milliseconds between looks at the store and the clock. */
const lookEvery = 200;

/**
 * Shows the list until the person leaves it, and answers with what was done.
 * @throws SidekeyError where the store cannot be read; the terminal is as it was then, too
 */
export async function watch({
  openScreen,
  store,
  answer,
  now,
  timers,
  onInterrupt: listen,
}: WatchParts): Promise<string[]> {
  const left = Promise.withResolvers<void>();
  const done: string[] = [];
  let list = { ...emptyList, movedAt: now() };
  let seen: number | null = null;
  /** Of the entry that is on the screen in full. */
  let shown: string | null = null;
  let drawn = '';
  let isAnswering = false;
  let answered = Promise.resolve();
  let cancel = doNothing;
  let isOver = false;

  const screen = openScreen({ key: onKey, resize: () => draw(true) });
  const giveBack = listen(left.resolve);

  function draw(anew = false): void {
    const page = livePage(list, now(), screen.size());
    ({ shown } = page);
    const text = page.lines.join('\n');
    if (anew || text !== drawn) screen.draw(page);
    drawn = text;
  }

  async function look(): Promise<void> {
    const epoch = store.epoch();
    const waiting = epoch === seen ? list.entries : await store.approvals.waiting(now());
    seen = epoch;
    list = update(list, waiting, now());
    draw();
  }

  function lookOn(): void {
    if (isOver) return;
    cancel = timers.after(lookEvery, () => void look().then(lookOn, left.reject));
  }

  function onKey(key: string): void {
    // One answer at a time: the next key is for the list after it.
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

  async function give(id: string, said: Said): Promise<void> {
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
    // What was begun is finished, and told.
    await answered;
  } finally {
    isOver = true;
    cancel();
    giveBack();
    screen.close();
  }
  return done;
}

function doNothing(): void {}
