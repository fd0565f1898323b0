import { expect, test } from 'vitest';
import { basicField } from '../../../../src/proxy/schemes/credential.ts';

test('a password may contain colons, and be long', () => {
  const [, value] = basicField('user', `a:b:${'c'.repeat(500)}`);
  expect(Buffer.from(value.slice(6), 'base64').toString()).toBe(`user:a:b:${'c'.repeat(500)}`);
  expect(value).not.toContain('\n');
});

test.each([
  ['us:er', 'password'],
  ['us\ner', 'password'],
  ['user', 'pass\0word'],
  ['user', 'pass\u0085word'],
])('%j and %j are refused without their text in the message', (username, password) => {
  expect(() => basicField(username, password)).toThrow(
    expect.objectContaining({ code: 'policy_violation', message: expect.not.stringContaining('pass\0') }),
  );
});
