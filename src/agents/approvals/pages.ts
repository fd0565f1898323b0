import {
  type Answer,
  answerOf,
  type Approval,
  type Choice,
  choicesOf,
  isWaiting,
  responseOf,
} from '../../domain/approval.ts';
import { type Card, cardOf, type KnownFacts, type Quote } from './card.ts';
import { markup, type Markup, type Page, type PageAnswer, renderPage } from '../../lib/html.ts';
import { hintText, remedy } from '../../lib/hint.ts';
import { asTyped } from '../../lib/command-name.ts';
import { untrusted } from '../../lib/text.ts';
import { type ApprovalLinks, parseLinkPath, sealHeader } from './announce.ts';
import type { ApprovalQueue } from './queue.ts';

/** Routes of a link: `GET` returns the question, `POST` takes the answer of a person. */

export interface ApprovalRouteParts {
  readonly queue: Pick<ApprovalQueue, 'get' | 'answer' | 'body'>;
  readonly links: Pick<ApprovalLinks, 'verify' | 'sealOf'>;
  readonly known: (question: Approval) => Promise<KnownFacts>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** A request for the page of a question. */
interface ApprovalRequest {
  /** Path of the request without the query. */
  readonly path: string;
  /** Body of a `POST`; null for `GET`, which changes nothing. */
  readonly form: string | null;
  /** Address and port of the client. */
  readonly from: string;
}

/**
 * Returns the page; null if the path does not have the form of a link.
 * @throws SidekeyError `store_unavailable`
 */
export async function approvalRoute(
  { path, form, from }: ApprovalRequest,
  { queue, links, known, now }: ApprovalRouteParts,
): Promise<PageAnswer | null> {
  const parts = parseLinkPath(path);
  if (parts === null) return null;
  // Verified before any look-up, so that a client without a valid link cannot reach the store.
  const link = links.verify(parts);
  if (link === null) return unknownPage();
  if (parts.isBody) return bodyAnswer(link, queue.body(link.id), links);
  const get = async () => {
    const question = await queue.get(link.id);
    return question?.expiresAt === link.expiresAt ? question : null;
  };
  const approval = await get();
  if (approval === null) return overPage(null);
  if (form === null) return shown(approval, now(), await known(approval));
  const at = now();
  const answers = new URLSearchParams(form).getAll('answer');
  const choice = choicesOf(approval).find((each) => answers.length === 1 && answers[0] === valueOf(each));
  if (choice === undefined)
    return plainPage(400, 'This is not an answer', ['Open the link again, and choose one of the buttons.']);
  const answer = answerOf(responseOf(choice), `the link, from ${from}`, at);
  if ((await queue.answer(link.id, answer)) !== null) return answeredPage(approval, answer, true, 200);
  // Another answer came first, or the question has ended.
  const after = await get();
  return after?.answer ? answeredPage(after, after.answer, false, 409) : overPage(after ?? approval);
}

/** Returns a body for `sidekey approve`, with proof that this is no other program on the port. */
function bodyAnswer(
  link: Parameters<ApprovalLinks['sealOf']>[0],
  body: string | null,
  links: Pick<ApprovalLinks, 'sealOf'>,
): PageAnswer {
  const seal = body === null ? {} : { [sealHeader]: links.sealOf(link, body) };
  const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store', ...seal };
  return { status: body === null ? 404 : 200, headers, body: body ?? '' };
}

function shown(approval: Approval, now: number, known: KnownFacts): PageAnswer {
  if (approval.answer !== null) return answeredPage(approval, approval.answer, false, 200);
  return isWaiting(approval, now) ? questionPage(approval, now, known) : overPage(approval);
}

/** Renders the buttons, each with its effect. The form is sent to the URL of the page. */
function answerForm(approval: Approval, { like }: Card): Markup {
  const [once, no, ...wider] = choicesOf(approval).map(button);
  return markup`<form method="post">
    <div>${[once, no].filter((each) => each !== undefined)}</div>
    <div>${wider}</div>
    <p>${like}</p>
  </form>`;
}

/** Returns the value of a choice in the form: `once`, `15m`. */
function valueOf({ answer, span }: Choice): string {
  return span ?? answer;
}

function button(choice: Choice): Markup {
  const { label, effect } = choice;
  return markup`<button name="answer" value="${valueOf(choice)}"><b>${label}</b><span>${effect}</span></button>`;
}

/** Pages of a question. They show text of agents, so markup, control and deceptive characters are escaped. */

const style = `
:root { --yes: #1a7f4b; --no: #c2362b; }
@media (prefers-color-scheme: dark) { :root { --yes: #4cc38a; --no: #f2766d; } }
body { padding-block: 1rem; }
main { width: min(42rem, calc(100vw - 2rem)); padding: 1.5rem 1.75rem; }
.from { margin-bottom: .5rem; }
.what { margin: 0 0 1rem; padding: .6rem .9rem; background: var(--ground); border: 1px solid var(--line); border-radius: .4rem; font: .95rem/1.5 ui-monospace, monospace; max-height: 9rem; overflow: auto; }
.what b { margin-right: .35rem; }
figure { margin: 0 0 1rem; }
figcaption { color: var(--soft); font-size: .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; margin: 0 0 1.25rem; font-size: .95rem; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; }
form div { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem; }
form p { margin: 1rem 0 .5rem; color: var(--soft); font-size: .9rem; }
button { padding: .55rem .9rem; border: 1px solid var(--line); border-radius: .4rem; background: var(--ground); color: inherit; font: inherit; text-align: left; cursor: pointer; }
pre { white-space: pre-wrap; }
pre.what { margin: .2rem 0 0; max-height: 16rem; }
button[value=once] { background: var(--yes); border-color: var(--yes); color: var(--paper); }
button[value=deny] { border-color: var(--no); color: var(--no); }
button[value] span { color: inherit; }
button:hover, button:focus-visible { border-color: var(--ink); }
button:focus-visible { outline: 2px solid var(--ink); outline-offset: 2px; }
button b, button span { display: block; }
button span { font-size: .85rem; line-height: 1.4; }
@media (max-width: 30rem) { main { padding: 1.25rem; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .4rem; } }
`;

/** Renders a pending request with its buttons. The browser reloads the page when the request expires. */
export function questionPage(approval: Approval, now: number, known?: KnownFacts): PageAnswer {
  const { expiresAt } = approval;
  const card = cardOf(approval, known);
  const left = Math.ceil((expiresAt - now) / 1_000);
  const time = `${timeText(left)} left, until ${clock(expiresAt)}; then it is refused`;
  const content = markup`${requestLine(card)} ${card.quotes.map(quoted)}
    ${factsOf([...card.facts, { name: 'Time', value: time }])} ${answerForm(approval, card)}`;
  const answer = page({ kind: 'asks', title: card.title, body: content, style }, 200);
  return { ...answer, headers: { ...answer.headers, refresh: String(left + 1) } };
}

/** Renders the answer that was given, now or before. */
export function answeredPage(approval: Approval, answer: Answer, isNow: boolean, status: number): PageAnswer {
  const kind = answer.outcome === 'allowed' ? 'done' : 'failed';
  const title = `${isNow ? '' : 'Already '}${answer.outcome === 'allowed' ? 'allowed' : 'refused'}`;
  const body = markup`<p>${reachText(answer)}</p>
    ${requestLine(cardOf(approval))}
    <p>Answered by ${untrusted(answer.by)} at ${clock(answer.at)}.</p>`;
  return page({ kind, title: title.charAt(0).toUpperCase() + title.slice(1), body, style }, status);
}

/** Renders a question that can no longer be answered; null: the question was deleted. */
export function overPage(approval: Approval | null): PageAnswer {
  const line = approval === null ? [] : [requestLine(cardOf(approval))];
  const body = markup`<p>No request waits for this answer any more: its time is over, or its sender has disconnected.</p>
    ${line}
    <p>If it is sent again, you will be asked again.</p>`;
  return page({ kind: 'failed', title: 'Too late', body, style }, 410);
}

/** Renders the page for a link with an invalid signature. */
export function unknownPage(): PageAnswer {
  return plainPage(404, 'This link is not valid', [
    'A part of it is missing or changed, or another installation made it.',
    `Copy the whole link from the message, or answer in a terminal: ${hintText(remedy('approval.answer'))}`,
  ]);
}

/** Renders the page for a person who opens the port without a link. */
export function homePage(status: number): PageAnswer {
  const body = markup`<p>Each request that waits for an answer has a link of its own. Open that link: it is in the message that you got, and in the output of this command:</p>
    <p><code>${asTyped(hintText(remedy('approval.list')))}</code></p>`;
  return page({ kind: 'done', title: 'Approvals of Sidekey', body }, status);
}

/** Renders a page with sentences about a failure. */
export function plainPage(status: number, title: string, says: readonly string[]): PageAnswer {
  return page({ kind: 'failed', title, body: markup`${says.map((each) => markup`<p>${each}</p>`)}` }, status);
}

function page(it: Omit<Page, 'from'>, status: number): PageAnswer {
  return renderPage({ ...it, from: 'Sidekey' }, status);
}

/** Lines are kept, so that a text cannot be pushed out of sight at the side. */
function quoted({ caption, parts }: Quote): Markup {
  const texts = parts.map(({ text, named }) => (named ? markup`<mark>${text}</mark>` : markup`${text}`));
  return markup`<figure>
    <figcaption>${caption}:</figcaption>
    <pre class="what">${texts.reduce((before, text) => markup`${before}${text}`)}</pre>
  </figure>`;
}

function factsOf(facts: Card['facts']): Markup {
  const rows = facts.map(
    ({ name, value }) =>
      markup`<dt>${name}</dt>
        <dd>${value}</dd>`,
  );
  return markup`<dl>${rows}</dl>`;
}

function requestLine({ method, url }: Card): Markup {
  return markup`<p class="what"><b>${method}</b> ${url}</p>`;
}

function reachText(answer: Answer): string {
  if (answer.outcome === 'denied') return 'The request was refused.';
  switch (answer.reach.kind) {
    case 'once':
      return 'This one request was let through.';
    case 'lease':
      return 'It was let through, and so are all requests like it until the lease ends.';
    case 'until':
      return `It was let through, and so are all requests like it until ${new Date(answer.reach.at).toISOString().slice(0, 10)} ${clock(answer.reach.at)}.`;
  }
}

/** Formats a time as `2 min 41 s`. */
function timeText(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  return minutes === 0 ? `${seconds} s` : `${minutes} min ${seconds % 60} s`;
}

/** Formats a time of day in UTC, because the reader may be in another time zone. */
function clock(at: number): string {
  return `${new Date(at).toISOString().slice(11, 19)} UTC`;
}
