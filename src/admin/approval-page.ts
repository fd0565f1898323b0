/** The pages of a question. What they show was chosen by others: what acts or deceives is written out, markup is escaped. */
import type { Answer, Approval } from '../approvals/approval.ts';
import { unshownText } from '../approvals/unshown.ts';
import { markup, type Markup } from '../markup.ts';
import { renderPage, type Page, type PageAnswer } from '../page.ts';
import { untrusted } from '../visible.ts';
import { answerForm } from './answer-form.ts';

const style = `
body { padding-block: 1rem; }
main { width: min(42rem, calc(100vw - 2rem)); padding: 1.5rem 1.75rem; }
.from { margin-bottom: .5rem; }
.what { margin: 0 0 1rem; padding: .6rem .9rem; background: var(--ground); border: 1px solid var(--line); border-radius: .4rem; font: .95rem/1.5 ui-monospace, monospace; max-height: 9rem; overflow: auto; }
.what b { margin-right: .35rem; }
figure { margin: 0 0 1rem; }
figcaption { color: var(--soft); font-size: .9rem; }
blockquote { margin: .2rem 0 0; padding: .35rem .9rem; border-left: .25rem solid var(--line); max-height: 8rem; overflow: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; margin: 0 0 1.25rem; font-size: .95rem; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; }
form div { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem; }
form p { margin: 1rem 0 .5rem; color: var(--soft); font-size: .9rem; }
button { padding: .55rem .9rem; border: 1px solid var(--line); border-radius: .4rem; background: var(--ground); color: inherit; font: inherit; text-align: left; cursor: pointer; }
button:hover, button:focus-visible { border-color: var(--ink); }
button:focus-visible { outline: 2px solid var(--ink); outline-offset: 2px; }
button b, button span { display: block; }
button span { color: var(--soft); font-size: .85rem; line-height: 1.4; }
@media (max-width: 30rem) { main { padding: 1.25rem; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .4rem; } }
`;

/** What waits, and what may be said to it. The browser comes back by itself when the time is up. */
export function questionPage(approval: Approval, now: number): PageAnswer {
  const { expiresAt } = approval;
  const left = Math.ceil((expiresAt - now) / 1_000);
  const body = markup`${requestLine(approval)} ${reasonOf(approval)}
    ${factsOf(approval, `${timeText(left)} left, until ${clock(expiresAt)}; then it is refused`)}
    ${answerForm(approval, now)}`;
  const answer = page(
    { kind: 'asks', title: `May ${askerOf(approval)} send this request?`, body, style },
    200,
  );
  return { ...answer, headers: { ...answer.headers, refresh: String(left + 1) } };
}

/** What was said, just now or before. */
export function answeredPage(approval: Approval, answer: Answer, isNow: boolean, status: number): PageAnswer {
  const kind = answer.outcome === 'allowed' ? 'done' : 'failed';
  const title = `${isNow ? '' : 'Already '}${answer.outcome === 'allowed' ? 'allowed' : 'refused'}`;
  const body = markup`<p>${reachText(answer)}</p>
    ${requestLine(approval)}
    <p>Answered by ${untrusted(answer.by)} at ${clock(answer.at)}.</p>`;
  return page({ kind, title: title.charAt(0).toUpperCase() + title.slice(1), body, style }, status);
}

/** Nobody can answer it any more, and nobody did, or it was long ago; null: nothing is known of it now. */
export function overPage(approval: Approval | null): PageAnswer {
  const line = approval === null ? [] : [requestLine(approval)];
  const body = markup`<p>Nothing waits under this link any more: the time was up, or whoever sent the request has left.</p>
    ${line}
    <p>If it is sent again, you will be asked again.</p>`;
  return page({ kind: 'failed', title: 'Too late', body, style }, 410);
}

/** For what has the form of a link and is none. */
export function unknownPage(): PageAnswer {
  return plainPage(404, 'This is no link of ours', [
    'It is not whole, or was made elsewhere.',
    'The command sidekey approve shows what waits.',
  ]);
}

/** A page of sentences about something that went wrong. */
export function plainPage(status: number, title: string, says: readonly string[]): PageAnswer {
  return page({ kind: 'failed', title, body: markup`${says.map((each) => markup`<p>${each}</p>`)}` }, status);
}

function page(it: Omit<Page, 'from'>, status: number): PageAnswer {
  return renderPage({ ...it, from: 'Sidekey' }, status);
}

function askerOf({ who }: Approval): string {
  return who.agent === null ? 'a caller without a token' : untrusted(who.agent);
}

function reasonOf({ reason }: Approval): Markup {
  if (reason === null) return markup`<p>The agent gave no reason.</p>`;
  return markup`<figure>
    <figcaption>The agent’s own words, which nobody has checked:</figcaption>
    <blockquote>${untrusted(reason)}</blockquote>
  </figure>`;
}

function factsOf(approval: Approval, time: string): Markup {
  const { who, purpose, grantName, grantUser, provider, client, rule, ruleName } = approval;
  const facts: readonly (readonly [string, string | null])[] = [
    ['With', unshownText({ ...approval, query: null })],
    ['Who', `${askerOf(approval)}, from ${client}`],
    ['Lease', who.lease && `${who.lease}${purpose === null ? '' : `, made for: ${purpose}`}`],
    ['Grant', `${grantName} (${provider}) of the user ${grantUser}`],
    ['Rule', ruleName === null ? rule : `${ruleName}, ${rule}`],
    ['Time', time],
  ];
  const rows = facts.flatMap(([name, value]) =>
    value === null
      ? []
      : [
          markup`<dt>${name}</dt>
            <dd>${untrusted(value)}</dd>`,
        ],
  );
  return markup`<dl>${rows}</dl>`;
}

function requestLine({ method, scheme, authority, path, query }: Approval): Markup {
  const url = `${scheme}://${authority}${path}${query === null ? '' : `?${query}`}`;
  return markup`<p class="what"><b>${untrusted(method)}</b> ${untrusted(url)}</p>`;
}

function reachText(answer: Answer): string {
  if (answer.outcome === 'denied') return 'The request was refused.';
  switch (answer.reach.kind) {
    case 'once':
      return 'This one request was let through.';
    case 'lease':
      return 'It was let through, and so is all that the rule matches, as long as the lease lives.';
    case 'until':
      return `It was let through, and so is all that the rule matches until ${new Date(answer.reach.at).toISOString().slice(0, 10)} ${clock(answer.reach.at)}.`;
  }
}

/** `2 min 41 s` */
function timeText(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  return minutes === 0 ? `${seconds} s` : `${minutes} min ${seconds % 60} s`;
}

/** Whoever reads it may be in another time zone than this machine. */
function clock(at: number): string {
  return `${new Date(at).toISOString().slice(11, 19)} UTC`;
}
