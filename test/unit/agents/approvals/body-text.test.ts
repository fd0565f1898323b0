import { describe, expect, test } from 'vitest';
import { bodyText, longestBody } from '../../../../src/domain/approval.ts';
import { schemeOf } from '../../../../src/proxy/schemes/placement.ts';

describe('the body that is shown to a person', () => {
  test.each([
    ['is shown: a text', '{"a":\t"ü"}\r\n', true],
    ['is shown: a text of the maximum length', 'x'.repeat(longestBody), true],
    ['is not shown: a text over the maximum length', 'x'.repeat(longestBody + 1), false],
    ['is not shown: an empty body', '', false],
    ['is not shown: a text with an escape sequence', 'a\u001b[2Jb', false],
    ['is not shown: a text with a zero byte', 'a\u0000b', false],
  ])('%s', (_, body, isShown) => {
    expect(bodyText(Buffer.from(body))).toBe(isShown ? body : null);
  });

  test('is not shown when it is not UTF-8', () => {
    expect(bodyText(Buffer.from([0xff, 0xfe, 0x41]))).toBeNull();
  });

  test('does not contain the value that the credential replaces', () => {
    const json = Buffer.from('{"auth":{"token":"of-the-agent"},"to":"bob"}');
    const masked = schemeOf({ kind: 'json', path: ['auth', 'token'] }).maskBody?.(json, {
      kind: 'json',
      path: ['auth', 'token'],
    });
    expect(String(masked)).toBe('{"auth":{"token":"(hidden)"},"to":"bob"}');
    const form = schemeOf({ kind: 'form', name: 'key' });
    expect(
      String(form.maskBody?.(Buffer.from('key=of-the-agent&to=bob'), { kind: 'form', name: 'key' })),
    ).toBe('key=(hidden)&to=bob');
  });
});
