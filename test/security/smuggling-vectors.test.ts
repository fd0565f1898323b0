/**
 * Request smuggling: bytes that the proxy takes for one request and its upstream for two, or the other way
 * round. Each row goes through the whole proxy, inside a tunnel and in absolute form, and the upstream keeps
 * every byte that comes of it. What it gets can be read in one way alone, is no request but those that are
 * expected, and each has its credential once.
 */
import { describe, expect, test } from 'vitest';
import { faults } from '../../src/proxy/http/h1/scan.ts';
import {
  answeredHere,
  behindTheLast,
  disguised,
  mixedAuthorities,
  passedWhole,
} from '../fixtures/smuggling/passed-whole.ts';
import { refusedBodies } from '../fixtures/smuggling/refused-bodies.ts';
import { refusedHeads } from '../fixtures/smuggling/refused-heads.ts';
import { openClient, openTunnel, type RawClient } from '../support/raw-client.ts';
import { startRecording, type Recorded } from '../support/recording-upstream.ts';
import { bearerToken, startSidekey } from '../support/sidekey.ts';
import { bytesOf, chunks, insideOf, post, type Place } from '../support/smuggling.ts';

/** Result of a row: whole requests at the upstream, and the responses to the client. */
interface Outcome {
  /** Path and body. */
  readonly passed: readonly (readonly string[])[];
  /** Status and, of a refusal, why. */
  readonly answers: readonly string[];
}

/** Whoever waits for what does not come is cut soon, and not when the test ends. */
const limits = { client_idle: '1s', client_body_idle: '1s', head_timeout: '1s', upstream_head: '1s' };

async function startSetup(scheme: 'http' | 'https') {
  const upstream = await startRecording(scheme);
  const { authority: host, url } = upstream;
  const isTunnel = scheme === 'https';
  const domain = { grant: 'acme', ...(isTunnel ? {} : { allow_plain_http: true }) };
  const sidekey = await startSidekey({ domains: { [host]: domain }, config: { limits } });
  await sidekey.grant([host]);
  const place: Place = isTunnel ? insideOf(host) : { host, target: (path) => `${url}${path}` };
  const open = () => (isTunnel ? openTunnel(sidekey, host) : openClient(sidekey));
  let seen = 0;
  /** The requests that came whole since the last call; all that came is looked at. */
  const passed = () => {
    const all = upstream.recorded.flatMap(({ requests }) => requests);
    const fresh = all.slice(seen);
    seen = all.length;
    return fresh.map(({ path, body }) => [path, body]);
  };
  return { upstream, sidekey, place, open, passed };
}
type Setup = Awaited<ReturnType<typeof startSetup>>;

/** Sends a row that leaves no connection behind. */
async function refused({ open, place, upstream, passed }: Setup, row: string): Promise<Outcome> {
  const client = await open();
  client.send(bytesOf(row, place));
  const text = await client.ended();
  client.socket.destroy();
  await upstream.settled();
  return { passed: passed(), answers: answersIn(text) };
}

/** Sends a row after which the connection goes on: so many answers are due, and none but they. */
async function served(setup: Setup, row: string, due: number): Promise<Outcome> {
  const client = await setup.open();
  client.send(bytesOf(row, setup.place));
  const answers: string[] = [];
  for (let i = 0; i < due; i += 1) answers.push(await answerOf(client));
  const { host, target } = setup.place;
  client.send(`GET ${target('/probe')} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  answers.push(await answerOf(client), await client.ended());
  client.socket.destroy();
  return { passed: setup.passed(), answers };
}

async function answerOf(client: RawClient): Promise<string> {
  try {
    const { status, reason, body } = await client.response();
    return status === 200 ? `200 ${body}` : `${status} ${reason}`;
  } catch (error) {
    return String(error);
  }
}

function answersIn(text: string): string[] {
  const details = [...text.matchAll(/"detail":"([^"]*)"/g)].map(([, detail = '']) => detail);
  return [...text.matchAll(/^HTTP\/1\.1 (\d{3}) .*\r$/gm)].map(
    ([, status], index) => `${status} ${details[index]}`,
  );
}

/** Runs all rows over one proxy, one after the other: what one leaves behind would show in the next. */
async function each<Row extends readonly [name: string, ...rest: unknown[]]>(
  scheme: 'http' | 'https',
  rows: readonly Row[],
  expected: (row: Row, setup: Setup) => Outcome,
  run: (row: Row, setup: Setup) => Promise<Outcome>,
): Promise<void> {
  const setup = await startSetup(scheme);
  const outcomes: Record<string, Outcome> = {};
  for (const row of rows) outcomes[row[0]] = await run(row, setup);
  expect(outcomes).toEqual(Object.fromEntries(rows.map((row) => [row[0], expected(row, setup)])));
  await setup.sidekey.proxy.close();
  for (const connection of setup.upstream.recorded) expectPlain(connection, setup.place.host);
  // Nothing came when nobody looked.
  expect(setup.passed()).toEqual([]);
}

/**
 * Whatever came on a connection is requests of one reading, each to this host and with the credential once.
 */
function expectPlain({ text, requests, rest, problem, isOpen }: Recorded, host: string): void {
  expect(problem).toBeNull();
  const heads = [...requests.map(({ lines }) => lines), ...(rest === '' ? [] : [rest.split('\r\n')])];
  for (const lines of heads) {
    expect(lines).toContain(`Host: ${host}`);
    expect(lines.filter((line) => line === `Authorization: Bearer ${bearerToken}`)).toHaveLength(1);
  }
  expect(text.split(bearerToken)).toHaveLength(heads.length + 1);
  // A request that did not come whole is the one that was shown, and its connection is not used again.
  if (rest === '') return;
  expect(rest).toMatch(/^POST \/front HTTP\/1\.1\r\n/);
  expect(rest).not.toContain('hidden');
  expect(isOpen).toBe(false);
}

const because = (fault: keyof typeof faults) => expect.stringMatching(`^400 The request ${faults[fault]}`);

describe.each(['https', 'http'] as const)(
  'a request that hides another one, over %s,',
  { timeout: 60_000 },
  (scheme) => {
    test('is refused at its head', async () => {
      await each(
        scheme,
        refusedHeads,
        ([, , fault]) => ({ passed: [], answers: [because(fault)] }),
        ([, row], setup) => refused(setup, row),
      );
    });

    test('is refused within its body, and the part that was already sent is never completed', async () => {
      await each(
        scheme,
        refusedBodies,
        ([, , fault]) => ({ passed: [], answers: [because(fault)] }),
        ([, row], setup) => refused(setup, row),
      );
    });

    test('is forwarded if it has only one interpretation', async () => {
      await each(
        scheme,
        passedWhole,
        ([, , passed], { place }) => ({
          passed: [...passed.map(([path, body]) => [path, bytesOf(body, place)]), ['/probe', '']],
          answers: [...passed.map(([path]) => `200 ${path}`), '200 /probe', ''],
        }),
        ([, row, passed], setup) => served(setup, row, passed.length),
      );
    });

    test('is ignored after a request that is the last of its connection', async () => {
      await each(
        scheme,
        behindTheLast,
        () => ({ passed: [], answers: [] }),
        ([, row], setup) => refused(setup, row),
      );
    });

    test('is ignored after a valid unanswered request: the connection is cut', async () => {
      const good = 'GET <front> HTTP/1.1\r\nHost: <host>\r\n\r\n';
      await each(
        scheme,
        refusedHeads.filter(([, row]) => /^[A-Z]/.test(row)),
        () => ({ passed: [], answers: [] }),
        ([, row], setup) => refused(setup, good + row),
      );
    });

    test('is refused with a framing or routing field under a name that some servers fold', async () => {
      await each(
        scheme,
        disguised,
        () => ({
          passed: [],
          answers: [expect.stringMatching(/^400 The request has a field that some servers read as /)],
        }),
        ([, row], setup) => refused(setup, row),
      );
    });

    test('is refused with two authorities, or none', async () => {
      await each(
        scheme,
        mixedAuthorities,
        ([, , code]) =>
          code === 'bad_request'
            ? { passed: [], answers: [expect.stringMatching(/^400 /)] }
            : { passed: [['/probe', '']], answers: ['421 authority_mismatch', '200 /probe', ''] },
        ([, row, code], setup) =>
          code === 'bad_request' ? refused(setup, `${row}<hidden>`) : served(setup, row, 1),
      );
    });

    test('is answered by the proxy itself without its body', async () => {
      await each(
        scheme,
        answeredHere,
        ([, , answers, passed = []], { place }) => ({
          passed: [...passed.map(([path, body]) => [path, bytesOf(body, place)]), ['/probe', '']],
          answers: [...answers, '200 /probe', ''],
        }),
        ([, row, answers], setup) => served(setup, row, answers.length),
      );
    });
  },
);

test('the data after a CONNECT inside a tunnel is not read', async () => {
  const setup = await startSetup('https');
  expect(await refused(setup, 'CONNECT <host> HTTP/1.1\r\nHost: <host>\r\n\r\n<hidden>')).toEqual({
    passed: [],
    answers: ['400 A CONNECT inside a CONNECT is not supported.'],
  });
});

test.each([
  ['that is shorter than its length', post('Content-Length: 1<length>', '<hidden>')],
  ['whose last chunk does not come', chunks('<hex>\r\n<hidden>\r\n')],
  ['whose trailers do not end', chunks('<hex>\r\n<hidden>\r\n0\r\nX: a\r\n')],
  ['that ends in the middle of a chunk', chunks('1<hex>\r\n<hidden>')],
])('a body %s counts as incomplete, and its connection is not reused', async (_name, row) => {
  const setup = await startSetup('https');
  const client = await setup.open();
  client.socket.end(bytesOf(row, setup.place), 'latin1');
  expect(await client.ended()).toBe('');
  expect(await served(setup, post('X: a'), 1)).toEqual({
    passed: [
      ['/front', ''],
      ['/probe', ''],
    ],
    answers: ['200 /front', '200 /probe', ''],
  });
  await setup.upstream.settled();
  expect(setup.upstream.recorded.flatMap(({ requests }) => requests)).toHaveLength(2);
});
