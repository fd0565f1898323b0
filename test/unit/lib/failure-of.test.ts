import { expect, test } from 'vitest';
import { failureOf, SidekeyError } from '../../../src/lib/errors.ts';

const systemError = (code: string) =>
  Object.assign(new Error(`${code}: refused, open '/data/file'`), { code, syscall: 'open', errno: -1 });
const audit = new SidekeyError('audit_unavailable', 'The audit log cannot be written.');
const mistake = new TypeError('x is not a function');
/** An error as `using` throws it: `later` was thrown while `first` was on its way. */
const suppressed = (first: unknown, later: unknown) => new SuppressedError(later, first);

test.each([
  ['a failure', audit, 'audit_unavailable'],
  ['a failure, and a mistake while parts close', suppressed(audit, mistake), 'audit_unavailable'],
  ['a mistake, and a failure while parts close', suppressed(mistake, audit), 'audit_unavailable'],
  ['three errors', suppressed(suppressed(mistake, audit), mistake), 'audit_unavailable'],
  ['a read-only disk, and a mistake', suppressed(systemError('EROFS'), mistake), 'file_unwritable'],
  ['a full disk', systemError('ENOSPC'), 'file_unwritable'],
  ['two mistakes', suppressed(mistake, mistake), 'internal'],
  ['a missing file that no command expects', systemError('ENOENT'), 'internal'],
])('%s', (_what, error, code) => {
  const failure = failureOf(error);
  expect(failure.code).toBe(code);
  expect(failure.message.includes('Internal error')).toBe(code === 'internal');
  expect(failure.message).not.toContain('SuppressedError');
});
