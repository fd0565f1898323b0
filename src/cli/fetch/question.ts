import { SidekeyError } from '../../errors.ts';
import { isName } from '../../grants/grant.ts';
import { authorityText, parseAbsoluteTarget } from '../../policy/authority.ts';
import type { Input } from '../input.ts';
import { bodySourceOf, type BodySource } from './body-source.ts';
import { readHeaderField } from './header-field.ts';

/** The command line as it is written. */
export interface FetchOptions {
  readonly request?: string;
  readonly header?: readonly string[];
  readonly data?: string;
  readonly dataFile?: string;
  readonly location?: boolean;
  readonly include?: boolean;
  readonly output?: string;
  readonly reason?: string;
  readonly user?: string;
  readonly maxTime?: string;
  readonly agent?: string;
  readonly proxy?: string;
}

/** One request of those that the command sends: more than one where it follows redirects. */
export interface Hop {
  readonly method: string;
  /** Absolute, without a fragment, in bytes that a request line can have. */
  readonly url: string;
  /** Names and values, without those that frame and address the message. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: BodySource | null;
}

/** The same, read. */
export interface Question {
  readonly hop: Hop;
  readonly user: string | null;
  /** Whether the caller wanted to say an `Authorization` of its own, which is left out. */
  readonly hadAuthorization: boolean;
  /** Milliseconds; null: there is no end. */
  readonly maxTimeMs: number | null;
}

/** Reads the command line. @throws SidekeyError `input_invalid` */
export async function readQuestion(
  words: readonly [first: string, second: string | undefined],
  options: FetchOptions,
  stdin: Input,
): Promise<Question> {
  const [grant, written] = words[1] === undefined ? [null, words[0]] : [words[0], words[1]];
  if (grant !== null && !isName(grant))
    throw wrong('What stands before the URL is no grant.', 'sidekey grant list');
  const { user = null, reason, request } = options;
  if (user !== null && !isName(user)) throw wrong('--user is no name of a user.', 'sidekey grant list');
  if (reason !== undefined && (reason.trim() === '' || /\p{Cc}/u.test(reason))) {
    throw wrong('The reason is empty, or has control characters.', "--reason 'ticket 7'");
  }
  const url = readUrl(written);
  const body = await bodySourceOf(options, stdin);
  const given = (options.header ?? []).map(readHeaderField);
  const fields = given.filter(([name]) => name.toLowerCase() !== 'authorization');
  const has = (wanted: string) => fields.some(([name]) => name.toLowerCase() === wanted);
  const add = (name: string, value: string | null): Hop['fields'] =>
    value === null || has(name.toLowerCase()) ? [] : [[name, value]];
  return {
    hop: {
      method: readMethod(request ?? (body === null ? 'GET' : 'POST')),
      url,
      fields: [
        ...add('User-Agent', 'sidekey'),
        ...add('Accept', '*/*'),
        ...fields,
        ...add('Content-Type', body === null ? null : 'application/json'),
        ...add('Sidekey-Grant', grant),
        ...add(
          'Sidekey-Reason',
          reason === undefined ? null : Buffer.from(reason.trim(), 'utf8').toString('latin1'),
        ),
      ],
      body,
    },
    user,
    hadAuthorization: fields.length < given.length,
    maxTimeMs: options.maxTime === undefined ? null : readSeconds(options.maxTime),
  };
}

/** A URL without a scheme means https, as with the map. */
export function readUrl(text: string): string {
  const [whole = ''] = (text.includes('://') ? text : `https://${text}`).split('#', 1);
  const target = parseAbsoluteTarget(whole);
  if (target === null) {
    throw wrong(
      'What stands for the URL is none, or has a user name in it.',
      'sidekey fetch https://api.example.com/path',
    );
  }
  const { authority, path } = target;
  // Bytes that a request line cannot have are written as browsers write them; all others stay as they are.
  const sendable = path.replace(/[^\x21-\x7e]+/gu, (found) => encodeURIComponent(found.toWellFormed()));
  return `${authority.scheme}://${authorityText(authority)}${sendable}`;
}

function readMethod(text: string): string {
  if (/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/.test(text) && text.toUpperCase() !== 'CONNECT') return text;
  throw wrong('--request is no method.', '-X PATCH');
}

function readSeconds(text: string): number {
  const seconds = /^\d{1,7}(?:\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (seconds > 0) return seconds * 1_000;
  throw wrong('--max-time is no number of seconds.', '--max-time 30');
}

function wrong(sentence: string, hint: string): SidekeyError {
  return new SidekeyError('input_invalid', sentence, { hint });
}
