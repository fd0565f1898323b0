/**
 * Throughput of the leak guard in megabytes per second, with tokens of three lengths, beside a copy of the
 * same bytes, measured in turns in one run; and the cost of a response that is not searched. A part of `npm
 * run bench`; alone: `npm run bench -- --section leak-guard`.
 */
import { hash } from 'node:crypto';
import { createDisplay, table } from '../../src/cli/display.ts';
import { type GuardedSecrets, matcherFor } from '../../src/proxy/leak-guard/patterns.ts';
import { Redactor } from '../../src/proxy/leak-guard/redactor.ts';
import { leakSearchFor, isCovered } from '../../src/proxy/policy/domain-map.ts';

const pieceBytes = 65_536;

/** Figures, words, escapes and addresses, as APIs answer. */
const json = Buffer.from(
  JSON.stringify(
    Array.from({ length: 20_000 }, (_, index) => ({
      id: index,
      node_id: hash('sha256', String(index), 'base64').slice(0, 24),
      url: `https://api.example.com/v1/items/${index}?filter=%22open%22`,
      title: `Line ${index}\nwith “quotes” & more`,
    })),
  ),
);

/** Made for the search: escapes of what a token is made of, all the way. */
const escapes = Buffer.alloc(2_000_000, '%2541&#65;\\u0041&amp;');

const noise = Buffer.concat(
  Array.from({ length: 30_000 }, (_, index) => Buffer.from(hash('sha512', String(index), 'hex'), 'hex')),
);

function tokenOf(length: number): GuardedSecrets {
  const letters = Array.from({ length: Math.ceil(length / 40) }, (_, i) =>
    hash('sha256', String(i), 'base64url'),
  );
  return { texts: [letters.join('').slice(0, length)] };
}

/** Milliseconds that a body takes in pieces. */
function guarded(secrets: GuardedSecrets, body: Buffer): number {
  const start = performance.now();
  const redactor = new Redactor(matcherFor(secrets)!);
  let bytes = 0;
  for (let at = 0; at < body.length; at += pieceBytes)
    for (const piece of redactor.push(body.subarray(at, at + pieceBytes))) bytes += piece.length;
  for (const piece of redactor.end()) bytes += piece.length;
  if (bytes !== body.length || redactor.found > 0) throw new Error('a body without a leak has changed');
  return performance.now() - start;
}

function copied(body: Buffer): number {
  const start = performance.now();
  for (let at = 0; at < body.length; at += pieceBytes) Buffer.from(body.subarray(at, at + pieceBytes));
  return performance.now() - start;
}

/** Nanoseconds of the one question that a response is asked where nothing is looked into. */
function asked(turns: number): number {
  const start = performance.now();
  let covered = 0;
  for (let turn = 0; turn < turns; turn += 1) {
    const plan = leakSearchFor('auto', { host: 'api.example.com', path: '/v1/items/4711/comments?page=2' });
    if (plan !== null && isCovered(plan, 200)) covered += 1;
  }
  if (covered > 0) throw new Error('an ordinary response was looked into');
  return ((performance.now() - start) * 1e6) / turns;
}

/** Measures and prints. */
export function benchLeakGuard({ smoke }: { readonly smoke: boolean }): Promise<void> {
  const rounds = smoke ? 2 : 40;
  const cases = [40, 200, 2_000].flatMap((length) =>
    [
      { name: 'JSON', body: json },
      { name: 'noise', body: noise },
      { name: 'escapes', body: escapes },
    ].map(({ name, body }) => ({ name, body, length, secrets: tokenOf(length) })),
  );
  const speeds = new Map<string, number>();
  const rows = cases.map(({ name, body, length, secrets }) => {
    const began = performance.now();
    matcherFor(secrets);
    const madeMs = performance.now() - began;
    let [best, bestCopy] = [Infinity, Infinity];
    for (let round = 0; round < rounds; round += 1) {
      best = Math.min(best, guarded(secrets, body));
      bestCopy = Math.min(bestCopy, copied(body));
    }
    speeds.set(`${name} ${length}`, body.length / best);
    const speed = (ms: number) => `${(body.length / 1e3 / ms).toFixed(0)} MB/s`;
    return [
      `${name}, a token of ${length.toLocaleString('en')}`,
      speed(best),
      speed(bestCopy),
      (best / bestCopy).toFixed(1),
      `${madeMs.toFixed(1)} ms`,
    ];
  });
  let none = Infinity;
  for (let round = 0; round < rounds; round += 1) none = Math.min(none, asked(smoke ? 1_000 : 100_000));
  console.log('Leak guard: a body that is looked into, beside a copy of it.');
  console.log(
    table(createDisplay({}, {}), ['body', 'guarded', 'copied', 'guarded ÷ copied', 'made once'], rows),
  );
  const ratio = speeds.get('JSON 40')! / speeds.get('escapes 40')!;
  console.log(`Text made for the search takes ${ratio.toFixed(0)} times the time of JSON.`);
  console.log(`A response that is not looked into: ${none.toFixed(0)} ns.`);
  return Promise.resolve();
}
