import { describe, expect, it } from 'vitest';
import { createOutput } from '../../../src/cli/output.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { hintText } from '../../../src/lib/hint.ts';

function output(json: boolean) {
  const written = { out: '', err: '' };
  const stream = (to: 'out' | 'err') => ({
    write(text: string | Uint8Array) {
      written[to] += String(text);
      return true;
    },
  });
  return {
    written,
    output: createOutput({ stdout: stream('out'), stderr: stream('err'), env: {} }, () => json),
  };
}

const failure = new SidekeyError('not_found', 'There is no\u001b such thing.\nNor this.', {
  hint: 'look\u0007',
});

describe('the output of a command', () => {
  it('without --json has results on stdout, and messages and failures on stderr', () => {
    const { written, output: to } = output(false);
    to.result({ a: 1 }, 'one\ntwo\n\n');
    to.say('a word\u001b');
    to.fail(failure);
    expect(written).toEqual({
      out: 'one\ntwo\n',
      err:
        String.raw`a word\u001b` +
        '\n' +
        String.raw`sidekey: There is no\u001b such thing.` +
        '\nNor this.\n' +
        String.raw`  → look\u0007` +
        '\n',
    });
  });

  it('with --json is one line of JSON for each result or failure, without messages', () => {
    const { written, output: to } = output(true);
    to.result({ a: 1 }, 'one');
    to.say('a word');
    to.fail(failure);
    const unexpected = new SidekeyError('internal', 'No hint.');
    to.fail(unexpected);
    expect(written.out).toBe('{"a":1}\n');
    expect(
      written.err
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual([
      { error: { code: 'not_found', message: failure.message, hint: hintText(failure.hint) } },
      { error: { code: 'internal', message: 'No hint.', hint: hintText(unexpected.hint) } },
    ]);
  });
});

/** A terminal, and timers that the test runs. */
function watched({ isTTY = true, json = false, env = {} } = {}) {
  let text = '';
  const stream = {
    isTTY,
    columns: 30,
    write: (part: string | Uint8Array) => ((text += String(part)), true),
  };
  const waiting = new Set<() => void>();
  const timers = {
    after(_ms: number, run: () => void) {
      waiting.add(run);
      return () => void waiting.delete(run);
    },
  };
  const second = () => {
    const due = Array.from(waiting);
    waiting.clear();
    for (const run of due) run();
  };
  const to = createOutput({ stdout: stream, stderr: stream, env }, () => json, timers);
  return { to, second, waiting, written: () => text };
}

describe('the progress of a command', () => {
  it('shows the seconds from the first second on, is cleared before a message, and is erased at the end', async () => {
    const { to, second, waiting, written } = watched();
    const work = Promise.withResolvers<number>();
    const done = to.during('Reading a log that is long', () => work.promise);
    expect(written()).toBe('');
    second();
    expect(written()).toBe('Reading a log that… (1 s)');
    to.say('Half of it.');
    second();
    work.resolve(7);
    expect(await done).toBe(7);
    expect(written().replaceAll('\r\u001b[K', '<')).toBe(
      'Reading a log that… (1 s)<Half of it.\nReading a log that… (2 s)<',
    );
    expect(waiting.size).toBe(0);
  });

  it('is erased before a failure, which is rethrown', async () => {
    const { to, second, waiting, written } = watched();
    const work = Promise.withResolvers<number>();
    const done = to.during('Asking', () => work.promise);
    second();
    work.reject(new Error('no'));
    await expect(done).rejects.toThrow('no');
    expect(written()).toBe('Asking (1 s)\r\u001b[K');
    expect(waiting.size).toBe(0);
  });

  it.each([{ isTTY: false }, { json: true }, { env: { TERM: 'dumb' } }])(
    'is not shown with %j',
    async (where) => {
      const { to, waiting } = watched(where);
      await to.during('Asking', async () => expect(waiting.size).toBe(0));
    },
  );
});
