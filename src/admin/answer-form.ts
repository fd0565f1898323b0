import type { Approval } from '../approvals/approval.ts';
import { markup, type Markup } from '../markup.ts';
import { choicesOf, type Choice } from './choice.ts';

/** What each button says, and what follows from it. */
const words: Readonly<Record<Choice['value'], readonly [label: string, means: string | null]>> = {
  once: ['Yes, once', 'This request goes on, and no other.'],
  no: ['No', 'It is refused; the next one asks again.'],
  '15m': ['For 15 minutes', null],
  '1h': ['For 1 hour', null],
  lease: ['For the lease', null],
};

/** The buttons, each with what it means. The form goes to where the page came from. */
export function answerForm(approval: Approval, now: number): Markup {
  const [once, no, ...wider] = choicesOf(approval, now).map(button);
  return markup`<form method="post">
    <div>${[once, no].filter((each) => each !== undefined)}</div>
    <p>Or yes to this, and from now on also to whatever else the rule matches ${whose(approval)} with this grant:</p>
    <div>${wider}</div>
  </form>`;
}

function button({ value }: Choice): Markup {
  const [label, means] = words[value];
  const more = means === null ? [] : [markup`<span>${means}</span>`];
  return markup`<button name="answer" value="${value}"><b>${label}</b>${more}</button>`;
}

function whose({ who }: Approval): string {
  if (who.agent === null) return 'from any caller on this machine that has no token,';
  return who.lease === null ? 'from this agent' : 'from this agent under this lease';
}
