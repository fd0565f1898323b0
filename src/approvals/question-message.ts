import type { Question } from './approval.ts';
import { unshownText } from './unshown.ts';

/** What a webhook gets, as JSON. Names are public. */
export interface QuestionMessage {
  /** One line for chat programs. */
  readonly text: string;
  readonly id: string;
  /** ISO 8601. */
  readonly expires_at: string;
  readonly agent: string | null;
  readonly lease: string | null;
  readonly purpose: string | null;
  readonly method: string;
  /** Without query. */
  readonly url: string;
  /** What is not shown: whether there is a query, and the announced bytes of the body; null: of any length. */
  readonly has_query: boolean;
  readonly body_bytes: number | null;
  readonly grant: string;
  readonly user: string;
  readonly provider: string;
  /** The agent's own words. */
  readonly reason: string | null;
  /** Where the rule stands, and its name. */
  readonly rule: string;
  readonly rule_name: string | null;
  /** Who has it may answer; null: nothing listens for it. */
  readonly link: string | null;
  readonly command: string;
}

/** @param link the whole link */
export function questionMessage(question: Question, link: string | null): QuestionMessage {
  const { id, expiresAt, who, method, scheme, authority, path, grantName, grantUser } = question;
  const command = `sidekey approve ${id}`;
  const asker = who.agent ?? 'A caller on this machine';
  const wanted = `${brief(plain(method), 40)} ${brief(`${authority}${plain(path)}`, 400)} with the grant ${grantName}`;
  const unshown = unshownText(question);
  return {
    text: `${asker} asks for ${wanted}${unshown === null ? '' : `, and sends ${unshown}`}. Answer: ${link ?? command}`,
    id,
    expires_at: new Date(expiresAt).toISOString(),
    agent: who.agent,
    lease: who.lease,
    purpose: question.purpose,
    method,
    url: `${scheme}://${authority}${path}`,
    has_query: question.query !== null,
    body_bytes: question.bodyBytes,
    grant: grantName,
    user: grantUser,
    provider: question.provider,
    reason: question.reason,
    rule: question.rule,
    rule_name: question.ruleName,
    link,
    command,
  };
}

/** The text in so many characters: of a longer one the beginning and the end, so that what follows it stays in sight. */
function brief(text: string, most: number): string {
  if (text.length <= most) return text;
  const mark = ` …${text.length} characters in all… `;
  const end = Math.floor((most - mark.length) / 3);
  return `${text.slice(0, most - mark.length - end)}${mark}${text.slice(text.length - end)}`;
}

/**
 * The agent chose it, and chat programs read markup in the line: `<https://evil|Answer here>`. So what is no plain part of
 * a URL is percent-encoded, there is no scheme that would make a link of it, and the reason is left out of the line.
 */
function plain(text: string): string {
  return Array.from(Buffer.from(text), plainByte).join('');
}

function plainByte(byte: number): string {
  const character = String.fromCharCode(byte);
  return /[A-Za-z0-9/._~%-]/.test(character)
    ? character
    : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
}
