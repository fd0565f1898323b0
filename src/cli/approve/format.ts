import {
  type Approval,
  type Asking,
  type Question,
  type StandingApproval,
  unshownText,
} from '../../domain/approval.ts';
import { fitting, widthOf } from '../display.ts';
import { dateTime, relativeTime, shortId, spanText } from '../../operations/format.ts';
import { defaultUser } from '../../domain/grant.ts';
import { untrusted } from '../../lib/text.ts';

/** Columns of a block, and the maximum number of lines of an agent's text. */
interface Room {
  readonly width: number;
  readonly lines: number;
  /** Body of the request, shown in full. */
  readonly body?: string | null;
}

/** Formats the remaining time of a request: `2:41`. */
export function remaining({ expiresAt }: Pick<Question, 'expiresAt'>, now: number): string {
  const seconds = Math.max(0, Math.ceil((expiresAt - now) / 1_000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

/** Formats a request as the agent sent it: `DELETE https://api.github.com/repos/acme/x`. */
export function requestText({ method, scheme, authority, path, query }: Question): string {
  return untrusted(`${method} ${scheme}://${authority}${path}${query === null ? '' : `?${query}`}`);
}

/** Returns the name of the caller. */
export function agentText({ agent }: Asking): string {
  return agent === null ? 'a local caller without a token' : nameText(agent);
}

/** Describes the requests that a standing approval covers. */
export function beyondText({ who, grantName }: Pick<StandingApproval, 'who' | 'grantName'>): string {
  const { agent, lease } = who;
  const whose = agent === null ? 'of any local caller without a token' : `of ${nameText(agent)}`;
  const under = lease === null ? '' : ` under the lease ${shortId(lease)}`;
  return `all that the rule matches ${whose}${under} with the grant ${nameText(grantName)} and the same header fields`;
}

/** Returns the sentence about an answer; an empty text for a question without one. */
export function sentenceOf(approval: Approval): string {
  const { id, answer } = approval;
  if (answer === null) return '';
  if (answer.outcome === 'denied') return `Denied ${id}: the request is refused.`;
  const { reach, at } = answer;
  if (reach.kind === 'once') return `Allowed ${id}: this request only.`;
  const until =
    reach.kind === 'lease' ? 'while the lease lasts' : `for ${spanText(Math.round(reach.at - at))}`;
  return `Allowed ${id}, and ${beyondText(approval)}, ${until}.`;
}

/** Returns a name for use in a sentence. Shortens a very long one. */
function nameText(name: string): string {
  return shorten(untrusted(name), 40);
}

/** Formats all facts of a question, one per line. Indents texts of agents to the same column. */
export function blockOf(question: Question, now: number, room: Room): string[] {
  const { id, who, client, grantName, grantUser, provider, reason, purpose, rule, ruleName } = question;
  const { body = null } = room;
  const user = grantUser === defaultUser ? '' : ` of ${untrusted(grantUser)}`;
  return [
    `${id} waits ${remaining(question, now)} more`,
    ...facts(room, [
      ['asks to', question.operation, 1],
      ['request', requestText(question), room.lines],
      ['fields', question.fields.map(untrusted).join('\n') || null, Infinity],
      ['with', unshownText({ query: null, bodyBytes: body === null ? question.bodyBytes : 0 }), 1],
      ['body', body && body.split(/\r?\n/).map(untrusted).join('\n'), Infinity],
      ['agent', `${who.agent === null ? agentText(who) : untrusted(who.agent)}, at ${untrusted(client)}`, 1],
      [
        'lease',
        who.lease === null ? null : `${shortId(who.lease)} ${quoted(purpose)}`,
        Math.max(1, Math.floor(room.lines / 3)),
      ],
      ['grant', `${untrusted(grantName)}${user} (${untrusted(provider)})`, 1],
      ['reason', reason === null ? null : quoted(reason), Math.ceil(room.lines / 2)],
      ['rule', ruleText(rule, ruleName), Math.ceil(room.lines / 3)],
    ]),
  ];
}

/** Formats a standing approval. */
export function standingBlock(yes: StandingApproval, now: number, room: Room): string[] {
  const { id, until, at, by, rule, ruleName } = yes;
  return [
    `${id} is in force ${until === null ? 'while the lease lasts' : `until ${dateTime(until)} (${relativeTime(until, now)})`}`,
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

/** Width of the label column, so that no text of an agent can imitate a label. */
const labelWidth = 11;

function facts(
  { width }: Room,
  rows: readonly (readonly [label: string, text: string | null, lines: number])[],
): string[] {
  const across = Math.max(1, width - labelWidth);
  return rows.flatMap(([label, text, lines]) =>
    text === null
      ? []
      : shorten(text, across * lines)
          .split('\n')
          .flatMap((line) => wrap(line, across))
          .map((line, index) => `${(index === 0 ? `  ${label}` : '').padEnd(labelWidth)}${line}`),
  );
}

/** Shortens a text to at most `most` columns. Keeps its start and end, with the omitted length. */
export function shorten(text: string, most: number): string {
  if (widthOf(text) <= most) return text;
  const left = ` …(${Array.from(text).length} characters in all)… `;
  const room = Math.max(2, most - left.length);
  const end = Math.floor(room / 3);
  return `${fitting(text, room - end)}${left}${fittingEnd(text, end)}`;
}

function fittingEnd(text: string, most: number): string {
  const characters = Array.from(text);
  let width = 0;
  let from = characters.length;
  while (from > 0 && (width += widthOf(characters[from - 1] ?? '')) <= most) from -= 1;
  return characters.slice(from).join('');
}

/** Splits a text into lines of at most `columns` columns, between any characters: URLs have no spaces. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let rest = text;
  do {
    // A character wider than the line has a separate line.
    const line = fitting(rest, columns) || (Array.from(rest)[0] ?? '');
    lines.push(line);
    rest = rest.slice(line.length);
  } while (rest !== '');
  return lines;
}
