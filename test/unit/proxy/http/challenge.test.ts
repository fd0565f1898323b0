import { describe, expect, test } from 'vitest';
import { challengesIn } from '../../../../src/proxy/http/fields.ts';

const read = (field: string) =>
  challengesIn(field).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

describe('WWW-Authenticate', () => {
  test.each<[what: string, field: string, challenges: unknown]>([
    ['a scheme without parameters', 'Negotiate', [['negotiate', {}]]],
    [
      'quoted strings with commas and escapes',
      'Bearer a="x, \\"y\\" \\\\", b=c',
      [['bearer', { a: 'x, "y" \\', b: 'c' }]],
    ],
    [
      'several challenges',
      'Basic realm="a, Bearer b=c", Bearer error="insufficient_scope", scope="a b"',
      [
        ['basic', { realm: 'a, Bearer b=c' }],
        ['bearer', { error: 'insufficient_scope', scope: 'a b' }],
      ],
    ],
    [
      'token68 values between challenges',
      'Negotiate YII/+==, Bearer scope=a, Digest abc',
      [
        ['negotiate', {}],
        ['bearer', { scope: 'a' }],
        ['digest', {}],
      ],
    ],
    [
      'empty members of the list, and blanks',
      ' ,, Bearer  a = "b" ,\t, c=d,',
      [['bearer', { a: 'b', c: 'd' }]],
    ],
    ['no comma between parameters', 'Bearer realm="x" error="y"', [['bearer', { realm: 'x', error: 'y' }]]],
    ['a repeated parameter name', 'Bearer Scope=a, sCOPE=b', [['bearer', { scope: 'a' }]]],
    ['a quoted string without an end', 'Bearer a=b, scope="c d', [['bearer', { a: 'b' }]]],
    ['an empty value', 'Bearer a=b, scope=;, c=d', [['bearer', { a: 'b' }]]],
    ['a parameter without a scheme', 'scope=a, Bearer b=c', []],
    [
      'names of Object.prototype',
      'Bearer __proto__=a, constructor=b',
      [['bearer', { ['__proto__']: 'a', constructor: 'b' }]],
    ],
    ['an empty value of the field', '', []],
  ])('with %s', (_what, field, challenges) => {
    expect(read(field)).toEqual(challenges);
  });
});
