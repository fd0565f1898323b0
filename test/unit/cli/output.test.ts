import { describe, expect, it } from 'vitest';
import { createOutput } from '../../../src/cli/terminal.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';

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
      { error: { code: 'not_found', message: failure.message, hint: failure.hint } },
      { error: { code: 'internal', message: 'No hint.', hint: unexpected.hint } },
    ]);
  });
});
