/**
 * The confined command: makes all attempts, and prints which of them succeeded. Argument: a target as JSON.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Outer, Target } from './attempt.ts';
import { attempts } from './attempts.ts';

const target = {
  ...(JSON.parse(process.argv[2] ?? '') as Target),
  outerPid: Number(process.env['OUTER_PID']),
};
const maxMs = 5_000;

const outer: Outer = async (request) => {
  const socket = connect(Number(process.env['OUTER_PORT']), '127.0.0.1');
  await once(socket, 'connect');
  socket.write(`${request}\n`);
  let text = '';
  for await (const part of socket.setEncoding('utf8')) text += part;
  if (text !== 'done') throw new Error(text);
  return text;
};

/** Name of each attempt → null if it succeeded, or the reason of its failure. */
const results: Record<string, string | null> = {};
for (const { name, run } of attempts) {
  const late = new Promise((_resolve, reject) => {
    setTimeout(() => reject(new Error('late')), maxMs).unref();
  });
  try {
    await Promise.race([Promise.resolve().then(() => run(target, outer)), late]);
    results[name] = null;
  } catch (error) {
    results[name] = error instanceof Error ? error.message.slice(0, 300) : String(error);
  }
}
results['reach the proxy'] = await outer('nothing').catch((error: Error) => error.message);
process.stdout.write(`results=${JSON.stringify(results)}\n`, () => process.exit(0));
