import { readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { home, type Home, type Ran, type Running } from './command-line.ts';
import { createMarks, filesBelow, type Marks } from './marks.ts';
import type { RawClient } from './raw-client.ts';
import { requestBody } from './request-body.ts';
import { upstreamCa, upstreamHost } from './upstream.ts';

/** A home with marked secrets, the output of its commands, and its files. */
export interface MarkedHome extends Home {
  readonly marks: Marks;
  /** Records the output of a command for `leaks`. */
  readonly keep: (name: string, ran: Ran) => Ran;
  /** Runs a command within this process and records its output. */
  readonly say: Home['run'];
  /** All places where a mark was found, as `NAME (form) in PLACE`. */
  readonly leaks: () => Promise<string[]>;
  /** The number of bytes that were searched. */
  readonly looked: () => Promise<number>;
}

/**
 * Creates a home whose files are searched for marks. `config` is merged over one with the most verbose log.
 */
export async function markedHome(config: object): Promise<MarkedHome> {
  const marks = createMarks();
  const at = await home({
    log: { level: 'debug' },
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    ...config,
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  const said: (readonly [name: string, text: Buffer])[] = [];
  const keep = (name: string, ran: Ran) => {
    said.push([name, Buffer.from(`${ran.stdout}\n${ran.stderr}`)]);
    return ran;
  };
  const written = async () => [...said, ...(await filesBelow(at.folder))];
  return {
    ...at,
    marks,
    keep,
    say: async (args, options) => keep(`sidekey ${args.join(' ')}`, await at.run(args, options)),
    leaks: async () =>
      (await written()).flatMap(([place, bytes]) =>
        marks.findIn(bytes).map((found) => `${found} in ${place}`),
      ),
    looked: async () => (await written()).reduce((sum, [, bytes]) => sum + bytes.length, 0),
  };
}

/** Runs every command that shows state, as text and as JSON. */
export async function runStateCommands(at: MarkedHome, grants: readonly string[]): Promise<void> {
  const looks = [
    ['status'],
    ['grant', 'list'],
    ...grants.map((name) => ['grant', 'show', name]),
    ['agent', 'list'],
    ['domain', 'list'],
    ['provider', 'list'],
    ['provider', 'show', 'acme'],
    ['audit', 'tail', '-n', '1000'],
    ['audit', 'query', '--limit', '1000'],
    ['audit', 'verify'],
    ['ca', 'show'],
  ];
  for (const look of looks) {
    await at.say(look);
    await at.say([...look, '--json']);
  }
}

/** The address of a running proxy. */
export interface Ports {
  readonly port: number;
  readonly caPem: string;
}

/** The address of this running proxy. */
export async function portsOf(running: Running): Promise<Ports> {
  return { port: Number(new URL(running.url).port), caPem: await readFile(running.caFile, 'utf8') };
}

/** Sends one request; returns all that was received, possibly nothing. */
export async function sendAndRead(client: RawClient, request: string): Promise<string> {
  client.send(request);
  await client.until('\r\n\r\n').catch(() => '');
  if (request.includes('Connection: close')) return client.ended();
  client.socket.destroy();
  return client.received();
}

/** A record of the marks that a server received; without them a test shows nothing. */
export function recordReceived() {
  let seen = '';
  return {
    saw: (what: string) => (seen += `${what}\n`),
    missed: (...marks: readonly string[]) => marks.filter((mark) => !seen.includes(mark)),
  };
}

/** The whole request as text. */
export async function requestText(request: IncomingMessage): Promise<string> {
  const body = await requestBody(request);
  return [request.url, ...request.rawHeaders, body, ...request.rawTrailers].join('\n');
}
