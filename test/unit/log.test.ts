import { expect, test } from 'vitest';
import { plainLine } from '../../src/log.ts';

test('a log line for a person has the time, the level, what happened and where, and no stack', () => {
  const line = JSON.stringify({
    level: 40,
    time: Date.UTC(2027, 0, 1, 12, 30, 5),
    pid: 7,
    hostname: 'laptop',
    name: 'sidekey',
    file: 'config/sidekey.yaml',
    later: [],
    err: { message: 'line 3 is wrong', stack: 'Error: line 3 is wrong\n    at load' },
    msg: 'the config stays as it was',
  });
  expect(plainLine(line)).toBe(
    '12:30:05Z warn the config stays as it was file=config/sidekey.yaml (line 3 is wrong)\n',
  );
});

test('what others chose cannot drive the terminal', () => {
  const line = JSON.stringify({ level: 30, time: 0, msg: 'a client left', host: '\u001b[2J\u009bx\u202e' });
  const shown = plainLine(line);
  for (const character of ['\u001b', '\u009b', '\u202e']) expect(shown).not.toContain(character);
});
