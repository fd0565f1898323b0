import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { readUserName } from '../../agents/authentication.ts';
import type { RawFields } from '../../proxy/http/fields.ts';
import type { InboundRequest, Selectors } from '../../proxy/http/message.ts';
import { inputInvalid, SidekeyError, systemCode } from '../../lib/errors.ts';
import type { Context } from '../context.ts';
import { readTime } from '../../operations/format.ts';

/** Request, caller, client and time, as options of the command line. */
export interface ExplainOptions {
  /** Agent, with any selectors: `ci-bot+grant=work`. */
  readonly agent?: string;
  readonly lease?: string;
  readonly user?: string;
  readonly grant?: string;
  readonly header?: readonly string[];
  readonly data?: string;
  readonly dataFile?: string;
  readonly client?: string;
  readonly at?: string;
}

/** The parsed options. */
export interface Question {
  readonly method: string;
  readonly url: string;
  /** Null: no agent, or the agent of the lease. */
  readonly agent: string | null;
  /** Id of the lease, or a prefix of it; null: the agent uses its own token. */
  readonly lease: string | null;
  readonly selectors: Selectors;
  /** The request as received. Its body can be read once. */
  readonly inbound: InboundRequest;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** Parses the command line. @throws SidekeyError `input_invalid` */
export async function readQuestion(
  { readInput, now }: Pick<Context, 'readInput' | 'now'>,
  words: readonly [first: string, second: string | undefined],
  options: ExplainOptions,
): Promise<Question> {
  const { agent, user, grant, lease, client = '127.0.0.1' } = options;
  const who = readUserName(agent ?? '');
  if (who === null)
    throw inputInvalid('A selector in --agent is not valid.', '--agent NAME+grant=GRANT+user=USER');
  const address = isIP(client);
  if (address === 0) throw inputInvalid('--client is not an IP address.', '--client 10.1.2.3');
  const at = options.at === undefined ? now() : readTime(options.at, now());
  if (at === null)
    throw inputInvalid('--at is not a time.', '--at 2026-11-21T09:00:00+01:00, or --at 2h for two hours ago');
  const body = await bodyOf(options, readInput);
  const { method, url } = readTarget(...words, body);
  const host = /^https?:\/\/([^/?#]*)/i.exec(url)?.[1] ?? '';
  const given = (options.header ?? []).flatMap(readHeader);
  const has = (name: string) => given.some((field, index) => index % 2 === 0 && field.toLowerCase() === name);
  const fields = [
    ...(has('host') ? [] : ['Host', host]),
    ...given,
    ...(body.length === 0 || has('content-type') ? [] : ['Content-Type', 'application/json']),
    ...(body.length === 0 || has('content-length') ? [] : ['Content-Length', String(body.length)]),
  ];
  return {
    method,
    url,
    agent: who.name === '' ? null : who.name,
    lease: lease ?? null,
    selectors: { grant: grant ?? who.selectors.grant, user: user ?? who.selectors.user },
    inbound: {
      head: { method, target: url, version: '1.1', fields },
      body: body.length === 0 ? null : once(body),
      client: {
        address: address === 6 ? `[${client}]:0` : `${client}:0`,
        loopback: client === '::1' || client.startsWith('127.'),
        owner: () => 'own',
        tunnel: null,
      },
    },
    at,
  };
}

/** Parses `[method] url`. The default scheme is https, as in the map. */
function readTarget(
  first: string,
  second: string | undefined,
  body: Buffer,
): Pick<Question, 'method' | 'url'> {
  const example = 'sidekey explain GET https://api.example.com/path';
  const isMethod = /^[A-Za-z]{1,32}$/.test(first);
  // A word in capitals is a method without a URL, because hosts are in lower case.
  if (second === undefined && isMethod && first === first.toUpperCase()) {
    throw inputInvalid('The URL is missing.', example);
  }
  if (second !== undefined && !isMethod)
    throw inputInvalid('The word before the URL is not a method.', example);
  const usual = body.length === 0 ? 'GET' : 'POST';
  const [method, written] = second === undefined ? [usual, first] : [first.toUpperCase(), second];
  // A base address of the proxy has the host in its path.
  const [, named] = /^http:\/\/[^/]*\/\+\/(.*)$/.exec(written) ?? [];
  const url = named ?? written;
  return { method, url: url.includes('://') ? url : `https://${url}` };
}

/** Errors omit the text, which may be a secret. */
function readHeader(text: string): RawFields {
  const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(text) ?? [];
  if (name === undefined || value === undefined || /\p{Cc}/u.test(value)) {
    throw inputInvalid('A --header is not valid.', `--header 'Sidekey-Reason: ticket 7'`);
  }
  if (name.toLowerCase() === 'proxy-authorization') {
    throw inputInvalid(
      'Name the caller with --agent or --lease, not in a header.',
      '--agent NAME, or --lease ID',
    );
  }
  return [name, value];
}

async function bodyOf({ data, dataFile }: ExplainOptions, readInput: Context['readInput']): Promise<Buffer> {
  if (data !== undefined && dataFile !== undefined) {
    throw inputInvalid('--data and --data-file are both given.', 'give one of them');
  }
  if (data !== undefined) return Buffer.from(data, 'utf8');
  if (dataFile === undefined) return Buffer.alloc(0);
  if (dataFile === '-') return Buffer.from(await readInput(), 'utf8');
  try {
    return await readFile(dataFile);
  } catch (cause) {
    throw new SidekeyError('input_invalid', `${dataFile} cannot be read (${systemCode(cause)}).`, {
      hint: '--data-file FILE, or - for standard input',
      cause,
    });
  }
}

export async function* once(body: Buffer): AsyncGenerator<Buffer> {
  yield body;
}
