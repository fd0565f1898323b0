import { expect, test } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { createLog, plainLine } from '../../../src/lib/log.ts';

test('a log line in text form has time, level, event and location, and no stack', () => {
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

test('control characters of external text are escaped', () => {
  const line = JSON.stringify({ level: 30, time: 0, msg: 'a client left', host: '\u001b[2J\u009bx\u202e' });
  const shown = plainLine(line);
  for (const character of ['\u001b', '\u009b', '\u202e']) expect(shown).not.toContain(character);
});

test('an unexpected error is logged with its location and without its text, under any field name', () => {
  const lines: string[] = [];
  const log = createLog('debug', { write: (line) => void lines.push(line) });
  const secret = 'sk-live-0123456789';
  const foreign = Object.assign(new TypeError(`"${secret}" is no token`), {
    headers: { authorization: secret },
  });
  log.error({ err: foreign }, 'an exchange failed');
  log.error({ problem: foreign, err: secret }, 'an exchange failed');
  log.warn({ err: new SidekeyError('grant_missing', 'No grant.', { cause: foreign }), host: 'a.test' }, 'no');
  expect(lines.join('')).not.toContain(secret);
  const [first, second, third] = lines.map((line) => JSON.parse(line) as Record<string, object>);
  expect(first).toMatchObject({
    msg: 'an exchange failed',
    err: { name: 'TypeError', stack: expect.any(String) },
  });
  expect(first?.['err']).not.toHaveProperty('message');
  expect(second).toMatchObject({ problem: { name: 'TypeError' }, err: { name: 'string' } });
  expect(third).toMatchObject({
    host: 'a.test',
    err: { code: 'grant_missing', message: 'No grant.', cause: { name: 'TypeError' } },
  });
  expect(plainLine(lines[0] ?? '')).toContain('error an exchange failed (TypeError)');
});
