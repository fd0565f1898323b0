import {
  type Approval,
  type Asking,
  type Question,
  type StandingApproval,
  unshownText,
} from '../../approvals/approval.ts';
import { dateTime, isoOrNull, isoTime, relativeTime, shortId } from '../format.ts';
import { defaultUser } from '../../grants/grant.ts';
import { untrusted } from '../../lib/text.ts';

/** How wide a block is, in columns, and how many lines what an agent says may take at most. */
interface Room {
  readonly width: number;
  readonly lines: number;
}

/** Time that a request still waits: `2:41`. */
export function remaining({ expiresAt }: Pick<Question, 'expiresAt'>, now: number): string {
  const seconds = Math.max(0, Math.ceil((expiresAt - now) / 1_000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

/** `DELETE https://api.github.com/repos/acme/x`, as the agent wrote it. */
export function requestText({ method, scheme, authority, path, query }: Question): string {
  return untrusted(`${method} ${scheme}://${authority}${path}${query === null ? '' : `?${query}`}`);
}

/** The caller. */
export function agentText({ agent }: Asking): string {
  return agent === null ? 'a local caller without a token' : nameText(agent);
}

/** The requests that a longer approval covers. */
export function beyondText({ who, grantName }: Pick<StandingApproval, 'who' | 'grantName'>): string {
  const { agent, lease } = who;
  const whose = agent === null ? 'of any local caller without a token' : `of ${nameText(agent)}`;
  const under = lease === null ? '' : ` under the lease ${shortId(lease)}`;
  return `all that the rule matches ${whose}${under} with the grant ${nameText(grantName)}`;
}

/** A name within a sentence: one that is very long does not push the rest of it out of sight. */
function nameText(name: string): string {
  return shorten(untrusted(name), 40);
}

/** A question with everything that a person should know, a fact a line; what agents say begins in the same column. */
export function blockOf(question: Question, now: number, room: Room): string[] {
  const { id, who, client, grantName, grantUser, provider, reason, purpose, rule, ruleName } = question;
  const user = grantUser === defaultUser ? '' : ` of ${untrusted(grantUser)}`;
  return [
    `${id} waits ${remaining(question, now)} more`,
    ...facts(room, [
      ['request', requestText(question), room.lines],
      ['with', unshownText({ ...question, query: null }), 1],
      ['agent', `${who.agent === null ? agentText(who) : untrusted(who.agent)}, at ${untrusted(client)}`, 1],
      [
        'lease',
        who.lease === null ? null : `${shortId(who.lease)} ${quoted(purpose)}`,
        Math.max(1, Math.floor(room.lines / 3)),
      ],
      ['grant', `${untrusted(grantName)}${user} (${untrusted(provider)})`, 1],
      ['reason', reason === null ? null : quoted(reason), Math.ceil(room.lines / 2)],
      ['rule', ruleText(rule, ruleName), 1],
    ]),
  ];
}

/** A yes that stands. */
export function standingBlock(yes: StandingApproval, now: number, room: Room): string[] {
  const { id, until, at, by, rule, ruleName } = yes;
  return [
    `${id} stands ${until === null ? 'as long as the lease' : `until ${dateTime(until)} (${relativeTime(until, now)})`}`,
    ...facts(room, [
      ['for', beyondText(yes), room.lines],
      ['rule', ruleText(rule, ruleName), 1],
      ['by', `${untrusted(by)}, ${relativeTime(at, now)}`, 1],
    ]),
  ];
}

function ruleText(rule: string, name: string | null): string {
  return untrusted(name === null ? rule : `${rule} (${name})`);
}

function quoted(text: string | null): string {
  return `"${untrusted(text ?? '')}"`;
}

/** No text of an agent ever stands where a label could. */
const labelWidth = 11;

function facts(
  { width }: Room,
  rows: readonly (readonly [label: string, text: string | null, lines: number])[],
): string[] {
  const across = Math.max(1, width - labelWidth);
  return rows.flatMap(([label, text, lines]) =>
    text === null
      ? []
      : wrap(shorten(text, across * lines), across).map(
          (line, index) => `${(index === 0 ? `  ${label}` : '').padEnd(labelWidth)}${line}`,
        ),
  );
}

/** A question and its answer for programs. Times are ISO 8601, spans are seconds. */
export function questionJson(question: Approval, now: number): Readonly<Record<string, unknown>> {
  const { who, answer } = question;
  const reach = answer?.outcome === 'allowed' ? answer.reach : null;
  return {
    id: question.id,
    exchange: question.exchange,
    asked_at: isoTime(question.askedAt),
    expires_at: isoTime(question.expiresAt),
    expires_in: Math.max(0, Math.floor((question.expiresAt - now) / 1_000)),
    agent: who.agent,
    client: question.client,
    lease: who.lease,
    purpose: question.purpose,
    method: question.method,
    scheme: question.scheme,
    authority: question.authority,
    path: question.path,
    query: question.query,
    has_query: question.query !== null,
    body_bytes: question.bodyBytes,
    grant: who.grantId,
    grant_name: question.grantName,
    user: question.grantUser,
    provider: question.provider,
    reason: question.reason,
    rule: question.rule,
    rule_name: question.ruleName,
    answer:
      answer === null
        ? null
        : {
            outcome: answer.outcome,
            reach: reach?.kind ?? null,
            until: isoOrNull(reach?.kind === 'until' ? reach.at : null),
            at: isoTime(answer.at),
            by: answer.by,
          },
  };
}

/** A yes that stands, for programs. */
export function standingJson(yes: StandingApproval): Readonly<Record<string, unknown>> {
  const { id, who, grantName, rule, ruleName, at, by, until } = yes;
  return {
    id,
    agent: who.agent,
    lease: who.lease,
    grant: who.grantId,
    grant_name: grantName,
    rule,
    rule_name: ruleName,
    until: isoOrNull(until),
    at: isoTime(at),
    by,
  };
}

/** The text in at most so many columns: of a longer one the beginning and the end, and how much is left out. */
export function shorten(text: string, most: number): string {
  if (widthOf(text) <= most) return text;
  const left = ` …(${Array.from(text).length} characters in all)… `;
  const room = Math.max(2, most - left.length);
  const end = Math.floor(room / 3);
  return `${fitting(text, room - end)}${left}${fittingEnd(text, end)}`;
}

/** The beginning of a text, in at most so many columns. */
export function fitting(text: string, most: number): string {
  let taken = '';
  let width = 0;
  for (const character of text) {
    width += widthOf(character);
    if (width > most) break;
    taken += character;
  }
  return taken;
}

function fittingEnd(text: string, most: number): string {
  const characters = Array.from(text);
  let width = 0;
  let from = characters.length;
  while (from > 0 && (width += widthOf(characters[from - 1] ?? '')) <= most) from -= 1;
  return characters.slice(from).join('');
}

/** Splits a text into lines of at most so many columns. It breaks between any two characters, as a URL requires. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let rest = text;
  do {
    // A character that is wider than the line has one for itself.
    const line = fitting(rest, columns) || (Array.from(rest)[0] ?? '');
    lines.push(line);
    rest = rest.slice(line.length);
  } while (rest !== '');
  return lines;
}

/** East Asian wide characters and emoji take two columns; what may take two is taken for two. */
const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{16fe0}-\u{1b2ff}\u{1f000}-\u{1faff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;

/** Columns that the text takes at most. */
export function widthOf(text: string): number {
  let width = 0;
  for (const character of text) width += wide.test(character) ? 2 : 1;
  return width;
}

/** No; yes, to the one request; to all that the rule matches while the lease lives; or for so many milliseconds. */
export type ApprovalResponse = 'deny' | 'once' | 'lease' | { readonly forMs: number };
