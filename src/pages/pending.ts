import { signal } from '@preact/signals';
import { ApiError, call, send } from './api.ts';
import { waiting } from './resource.ts';
import type { Approval, Proposal } from '../sdk/client/operations.ts';

/** Requests and proposals that wait for a person. One poll serves the page, the title and the navigation. */

/** A list that is read only if it has changed. Its entries are undefined before the first read. */
function listOf<T extends { readonly id: string }>(path: string) {
  const entries = signal<readonly T[] | undefined>(undefined);
  let tag = '';
  const read = async () => {
    const headers = { 'if-none-match': tag };
    const answer = await send<{ data: T[] }>(`GET ${path}limit=200`, undefined, { headers }).catch(
      (error) => {
        if (error instanceof ApiError && error.status === 304) return null;
        throw error;
      },
    );
    if (answer === null) return;
    tag = answer.etag ?? '';
    const before = order();
    entries.value = answer.body.data;
    const after = order();
    if (before.some((id, index) => id !== after[index])) movedAt = Date.now();
  };
  return { entries, read };
}

export const requests = listOf<Approval>('/v2/approvals?');
export const proposals = listOf<Proposal>('/v2/proposals?waiting=true&');

/** Returns the IDs of all cards in the order of the page. */
function order(): readonly string[] {
  return [requests, proposals].flatMap(({ entries: { value = [] } }) => value.map(({ id }) => id));
}

/** Failure of the last read. */
export const failure = signal<Error | undefined>(undefined);

/** Time of the last change that moved entries, in milliseconds since the epoch. */
let movedAt = 0;
/** Milliseconds after such a change in which a click may be for another request. */
const settleMs = 400;

/** Sends an answer, then reads the lists. Refuses a yes to a card that has just moved. @throws ApiError */
export async function reply(what: string, isYes: boolean, body?: unknown): Promise<void> {
  if (isYes && Math.abs(Date.now() - movedAt) < settleMs)
    throw new ApiError(0, { detail: 'The list has just changed: look, and press again.' });
  await call(what, body);
  await look();
}

async function read(): Promise<void> {
  const before = requests.entries.value;
  try {
    await Promise.all([requests.read(), proposals.read()]);
    failure.value = undefined;
  } catch (error) {
    failure.value = error as Error;
  }
  const { value: now = [] } = requests.entries;
  const earlier = new Set((before ?? now).map(({ id }) => id));
  now.filter(({ id }) => !earlier.has(id)).forEach(notify);
  waiting.value = now.length + (proposals.entries.value?.length ?? 0);
}

let last = Promise.resolve();

/** Reads both lists after a read in progress. */
function look(): Promise<void> {
  return (last = last.then(read));
}

/** Milliseconds between two reads. A hidden page reads only every fifth time. */
const everyMs = 2_000;
/** Milliseconds after the last use of the page in which it reads, because reads keep its session alive. */
const usedMs = 8 * 3_600_000;

/** Reads until the returned function is called. */
export function watchPending(): () => void {
  const work = new AbortController();
  let usedAt = Date.now();
  let turns = 0;
  let isBusy = false;
  const turn = () => {
    turns += 1;
    if (isBusy || Date.now() - usedAt > usedMs || (document.hidden && turns % 5 !== 0)) return;
    isBusy = true;
    void look().then(() => (isBusy = false));
  };
  const used = () => (usedAt = Date.now());
  for (const event of ['keydown', 'pointerdown', 'visibilitychange'])
    document.addEventListener(event, used, { signal: work.signal });
  const timer = setInterval(turn, everyMs);
  turn();
  return () => {
    clearInterval(timer);
    work.abort();
  };
}

const notifyItem = 'sidekey-notify';

/** True if the person has asked this browser for notifications. */
export const notifies = signal(localStorage.getItem(notifyItem) !== null);

/** Asks the browser for permission. @throws ApiError */
export async function askToNotify(): Promise<void> {
  if ((await Notification.requestPermission()) !== 'granted')
    throw new ApiError(0, {
      detail: 'This browser does not allow notifications: change that in its settings.',
    });
  localStorage.setItem(notifyItem, 'yes');
  notifies.value = true;
}

/** Shows a notification without the path and the query, which screens of others may show. */
function notify({ id, agent, method, authority }: Approval): void {
  if (!notifies.value || Notification.permission !== 'granted') return;
  const body = `${agent ?? 'A caller without a token'}: ${method} ${authority}`;
  const shown = new Notification('Sidekey: a request waits for you', { body, tag: id });
  shown.addEventListener('click', () => {
    focus();
    location.hash = `approvals/${id}`;
  });
}
