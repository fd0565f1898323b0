import { expect, test } from 'vitest';
import {
  disguisedField,
  fieldNameAsRead,
  isFieldName,
  isFieldValue,
  isReservedFieldName,
} from '../../../../src/proxy/policy/text.ts';

test('names are tokens (RFC 9110 §5.6.2)', () => {
  for (const name of ['Authorization', 'x-api-key', "!#$%&'*+-.^_`|~09aZ"])
    expect(isFieldName(name)).toBe(true);
  for (const name of ['', 'a b', 'a:', ':authority', 'a\r\n', 'é', 'a\n', '"a"', 'a/b', 'a\0']) {
    expect(isFieldName(name)).toBe(false);
  }
});

test('values are visible ASCII with spaces inside', () => {
  for (const value of ['a', 'Bearer abc', '~!"', 'a  b']) expect(isFieldValue(value)).toBe(true);
  for (const value of [
    '',
    ' a',
    'a ',
    'a\r',
    'a\n',
    '\na',
    'a\0b',
    'a\tb',
    'a\x7f',
    'é',
    'a\u0100',
    'a\u2028b',
  ]) {
    expect(isFieldValue(value)).toBe(false);
  }
});

test('fields that frame, route or belong to one hop are reserved, in any case', () => {
  for (const name of [
    'Host',
    'CONTENT-LENGTH',
    'Content-Type',
    'Transfer-Encoding',
    'connection',
    'Keep-Alive',
    'TE',
    'Trailer',
    'Upgrade',
    'Expect',
    'HTTP2-Settings',
    'Proxy-Authorization',
    'proxy-connection',
    'Sidekey-Grant',
  ]) {
    expect(isReservedFieldName(name)).toBe(true);
  }
  for (const name of ['Authorization', 'X-Host', 'Cookie', 'Proxy'])
    expect(isReservedFieldName(name)).toBe(false);
});

test('a name is normalized with every other character as a hyphen', () => {
  for (const name of ['X_Api_Key', 'x.api.key', 'X~Api`Key', 'x-api-key'])
    expect(fieldNameAsRead(name)).toBe('x-api-key');
});

test('a name that equals a reserved name without punctuation is refused, except with hyphens only', () => {
  expect(disguisedField('Content_Length')).toBe('content-length');
  expect(disguisedField('transfer.encoding_')).toBe('transfer-encoding');
  expect(disguisedField('Ho_st')).toBe('host');
  expect(disguisedField('Proxy_Authorization')).toBe('proxy-*');
  for (const name of [
    'Content-Length',
    'Host',
    'Ho-st',
    'ContentLength',
    'X_Host',
    'X-Content_Length',
    'proxy_',
  ])
    expect(disguisedField(name)).toBeNull();
});
