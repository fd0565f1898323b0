import { readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { home, type Home, type Ran, type Running } from './command-line.ts';
import { createMarks, everythingBelow, type Marks } from './marks.ts';
import type { RawClient } from './raw-client.ts';
import { upstreamCa, upstreamHost } from './upstream.ts';

/** What is to be read of the program: its words by what was asked, and its files. */
export interface MarkedHome extends Home {
  readonly marks: Marks;
  /** Keeps what a command said, for `leaks`. */
  readonly keep: (name: string, ran: Ran) => Ran;
  /** Runs a command within this process and keeps what it said. */
  readonly say: Home['run'];
  /** All places where a mark was found, as `NAME (form) in PLACE`. */
  readonly leaks: () => Promise<string[]>;
  /** How many bytes were looked at. */
  readonly looked: () => Promise<number>;
}

/** A place of its own for the program, and for what it writes. `config` is put over one that says as much as it can. */
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
  const written = async () => [...said, ...(await everythingBelow(at.folder))];
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

/** Whatever the program says of its state, in words and as JSON. */
export async function lookEverywhere(at: MarkedHome, grants: readonly string[]): Promise<void> {
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

/** Where a running proxy is spoken to. */
export interface Ports {
  readonly port: number;
  readonly caPem: string;
}

/** Those of this one. */
export async function portsOf(running: Running): Promise<Ports> {
  return { port: Number(new URL(running.url).port), caPem: await readFile(running.caFile, 'utf8') };
}

/** Sends one request that may get any answer, or none; answers with what came. */
export async function sends(client: RawClient, request: string): Promise<string> {
  client.send(request);
  await client.until('\r\n\r\n').catch(() => '');
  if (request.includes('Connection: close')) return client.ended();
  client.socket.destroy();
  return client.received();
}

/** A server that has seen each of these; else nothing was tested. */
export function witness() {
  let seen = '';
  return {
    saw: (what: string) => (seen += `${what}\n`),
    missed: (...marks: readonly string[]) => marks.filter((mark) => !seen.includes(mark)),
  };
}

/** All of a request, as text. */
export async function requestText(request: IncomingMessage): Promise<string> {
  const body = await text(request);
  return [request.url, ...request.rawHeaders, body, ...request.rawTrailers].join('\n');
}
