/**
 * `npm run demo`: the main job of Sidekey, from end to end, on one screen. Then it stays up to be tried, or
 * ends with `--once`. Exit code 0 where all that it shows was so, 1 where something was not.
 */
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { SidekeyError } from '../src/lib/errors.ts';
import { hintText } from '../src/lib/hint.ts';
import { createLog } from '../src/lib/log.ts';
import { findAgent } from './demo/agent.ts';
import { realClock } from './demo/clock.ts';
import { showWhatToTry } from './demo/paste.ts';
import { createScreen } from './demo/screen.ts';
import { openStage } from './demo/stage.ts';
import { tellStory } from './demo/story.ts';

const usage = `Sidekey from end to end, with a sample company API

  npm run demo              shows it, then stays up to be tried
  npm run demo -- --once    shows it, and ends
`;

/** Short enough to wait for, long enough that a slow machine sends its first request in time. */
const firstTtl = 6;
const laterTtl = 60;
const ports = { proxy: 8377, helpdesk: 8443 };

/** @param stop aborted when the demo is to end */
async function show(stayUp: boolean, stop: AbortSignal): Promise<void> {
  const screen = createScreen(process.stdout, process.env);
  screen.passing('starting …');
  const log = createLog('warn');
  const stage = await openStage({ ports, accessTokenTtl: firstTtl, clock: realClock, log });
  try {
    const caFile = stage.proxy.authority.certificateFile;
    const agent = await findAgent({ proxyUrl: stage.proxyUrl, caFile }, process.env);
    await tellStory({ stage, agent, screen, clock: realClock, signal: stop, laterTtl });
    if (!stayUp) return;
    showWhatToTry(stage, screen, laterTtl);
    if (!stop.aborted) await once(stop, 'abort');
    screen.lines('', 'Stopping.');
  } finally {
    await stage.close();
  }
}

/**
 * Ctrl-C on `npm run` comes twice at once: from the terminal, and from npm. A later one is meant: it ends at
 * once.
 */
const sameSignalMs = 500;

function stopSignal(): AbortSignal {
  const stopping = new AbortController();
  let first = 0;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (!stopping.signal.aborted) first = Date.now();
      else if (Date.now() - first > sameSignalMs) process.exit(130);
      stopping.abort();
    });
  }
  return stopping.signal;
}

async function main(args: readonly string[]): Promise<number> {
  let options: { readonly once?: boolean; readonly help?: boolean };
  try {
    options = parseArgs({
      args: [...args],
      options: { once: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
    }).values;
  } catch (error) {
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return 2;
  }
  if (options.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  const stop = stopSignal();
  try {
    await show(options.once !== true, stop);
    return 0;
  } catch (error) {
    if (stop.aborted) return 130;
    const { message } = error instanceof Error ? error : new Error(String(error));
    const hint = error instanceof SidekeyError ? `\n  → ${hintText(error.hint)}` : '';
    process.stderr.write(`${process.stdout.isTTY ? '\n' : ''}demo: ${message}${hint}\n`);
    return 1;
  }
}

// Without an await of the module, which the main of the executable cannot have.
void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
