import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { isName } from '../../domain/grant.ts';
import { inputInvalid, SidekeyError, systemCode } from '../../lib/errors.ts';
import { authorityText, parseAbsoluteTarget } from '../../proxy/policy/authority.ts';
import type { Input } from '../terminal.ts';

/** The command line as typed. */
export interface FetchOptions {
  readonly request?: string;
  readonly header?: readonly string[];
  readonly data?: string;
  readonly dataFile?: string;
  readonly location?: boolean;
  readonly include?: boolean;
  readonly output?: string;
  /** Replaces an existing output file. */
  readonly force?: boolean;
  readonly reason?: string;
  readonly user?: string;
  readonly maxTime?: string;
  readonly agent?: string;
  readonly proxy?: string;
}

/** One request of the command. Redirects add more. */
export interface Hop {
  readonly method: string;
  /** Absolute URL without a fragment, valid in a request line. */
  readonly url: string;
  /** Names and values, without the framing and routing fields. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: BodySource | null;
}

export interface Question {
  readonly hop: Hop;
  readonly user: string | null;
  /** The user gave an `Authorization` field, which is not sent. */
  readonly hadAuthorization: boolean;
  /** Milliseconds; null: no limit. */
  readonly maxTimeMs: number | null;
}

/** Parses the command line. @throws SidekeyError `input_invalid` */
export async function readQuestion(
  words: readonly [first: string, second: string | undefined],
  options: FetchOptions,
  stdin: Input,
): Promise<Question> {
  const [grant, written] = words[1] === undefined ? [null, words[0]] : [words[0], words[1]];
  if (grant !== null && !isName(grant))
    throw inputInvalid('The word before the URL is not the name of a grant.', 'sidekey grant list');
  const { user = null, reason, request } = options;
  if (user !== null && !isName(user))
    throw inputInvalid('--user is not the name of a user.', 'sidekey grant list');
  if (reason !== undefined && (reason.trim() === '' || /\p{Cc}/u.test(reason))) {
    throw inputInvalid('The reason is empty, or has control characters.', "--reason 'ticket 7'");
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

/** Parses a URL; the default scheme is https, as in the map. */
export function readUrl(text: string): string {
  const [whole = ''] = (text.includes('://') ? text : `https://${text}`).split('#', 1);
  const target = parseAbsoluteTarget(whole);
  if (target === null) {
    throw inputInvalid(
      'The URL is not valid, or contains a user name.',
      'sidekey fetch https://api.example.com/path',
    );
  }
  const { authority, path } = target;
  // Escapes bytes that are invalid in a request line as browsers do. Keeps others.
  const sendable = path.replace(/[^\x21-\x7e]+/gu, (found) => encodeURIComponent(found.toWellFormed()));
  return `${authority.scheme}://${authorityText(authority)}${sendable}`;
}

function readMethod(text: string): string {
  if (/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/.test(text) && text.toUpperCase() !== 'CONNECT') return text;
  throw inputInvalid('--request is not a method.', '-X PATCH');
}

function readSeconds(text: string): number {
  const seconds = /^\d{1,7}(?:\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (seconds > 0) return seconds * 1_000;
  throw inputInvalid('--max-time is not a number of seconds.', '--max-time 30');
}

export interface BodySource {
  /** Bytes; null: unknown. */
  readonly length: number | null;
  /** The body can be sent again after a redirect. */
  readonly repeatable: boolean;
  open(): AsyncIterable<Uint8Array | string>;
}

/** Returns the source of the body; null: none. @throws SidekeyError `input_invalid` */
async function bodySourceOf(
  { data, dataFile }: { readonly data?: string; readonly dataFile?: string },
  stdin: Input,
): Promise<BodySource | null> {
  if (data !== undefined && dataFile !== undefined) {
    throw new SidekeyError('input_invalid', '--data and --data-file are both given.', {
      hint: 'give one of them',
    });
  }
  const file = data?.startsWith('@') === true ? data.slice(1) : dataFile;
  if (file === undefined) return data === undefined ? null : textBody(data);
  return file === '-' ? fromInput(stdin) : fromFile(file);
}

/** Returns the source of a body in memory. */
export function textBody(text: string): BodySource {
  const bytes = Buffer.from(text, 'utf8');
  return { length: bytes.length, repeatable: true, open: () => once(bytes) };
}

function fromInput(stdin: Input): BodySource {
  return { length: null, repeatable: false, open: () => stdin };
}

async function fromFile(file: string): Promise<BodySource> {
  try {
    const found = await stat(file);
    if (found.isDirectory()) throw unreadable(file, 'it is a folder');
    // A pipe has no size, and can be read once.
    if (!found.isFile()) return { length: null, repeatable: false, open: () => createReadStream(file) };
    const { size } = found;
    // Ignores growth of the file: the body has the announced size.
    const open = () => (size === 0 ? once(Buffer.alloc(0)) : createReadStream(file, { end: size - 1 }));
    return { length: size, repeatable: true, open };
  } catch (cause) {
    throw cause instanceof SidekeyError ? cause : unreadable(file, systemCode(cause), cause);
  }
}

function unreadable(file: string, why: string, cause?: unknown): SidekeyError {
  return new SidekeyError('input_invalid', `${file} cannot be read (${why}).`, {
    hint: '--data-file FILE, or - for standard input',
    cause,
  });
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

/** Parses a header of the command line, `Name: value`. The error omits it, because it may hold a secret. */
function readHeaderField(text: string): readonly [name: string, value: string] {
  const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/s.exec(text) ?? [];
  if (name === undefined || value === undefined || /\p{Cc}/u.test(value)) {
    throw inputInvalid('A --header is not valid.', `--header 'Accept: text/html'`);
  }
  const lower = name.toLowerCase();
  const instead = ofOurs[lower];
  if (instead !== undefined) throw inputInvalid(`${name} cannot be set with --header.`, instead);
  // Header values are bytes; text is sent as UTF-8.
  return [name, Buffer.from(value, 'utf8').toString('latin1')];
}

/** Fields that Sidekey writes: authentication, address and framing. */
const ofOurs: Readonly<Record<string, string>> = {
  'proxy-authorization': 'use --agent NAME, or put the user into the URL of --proxy',
  'sidekey-grant': 'sidekey fetch GRANT URL',
  'sidekey-reason': '--reason TEXT',
  host: 'the URL sets it',
  'content-length': 'Sidekey sets it',
  'transfer-encoding': 'Sidekey sets it',
  connection: 'leave it out',
  expect: 'leave it out',
  upgrade: 'leave it out, and use a program that supports it, with the proxy',
};
