import { describe, expect, it } from 'vitest';
import { requestFields, responseFields, trailerFields, valuesOf } from '../../../../src/proxy/http/fields.ts';

describe('the values of a field', () => {
  it('are found by name in any case, in order', () => {
    expect(valuesOf(['A', '1', 'b', '2', 'a', '3', 'aa', '4'], 'a')).toEqual(['1', '3']);
  });

  it('never match a field name', () => {
    expect(valuesOf(['x', 'host', 'y', 'a'], 'host')).toEqual([]);
  });
});

describe('the fields of a forwarded request', () => {
  it('start with one Host, and keep order, case and repeats', () => {
    const sent = [
      'aCCept',
      '*/*',
      'host',
      'other',
      'X-A',
      '1',
      'x-a',
      '2',
      'Content-Length',
      '5',
      'Trailer',
      'X-T',
    ];
    expect(requestFields(sent, 'api.example')).toEqual([
      'Host',
      'api.example',
      'aCCept',
      '*/*',
      'X-A',
      '1',
      'x-a',
      '2',
      'Content-Length',
      '5',
      'Trailer',
      'X-T',
    ]);
  });

  it('include the agent’s Authorization and cookies', () => {
    const sent = ['Authorization', 'Bearer placeholder', 'Cookie', 'a=b', 'Cookie', 'c=d'];
    expect(requestFields(sent, 'h')).toEqual(['Host', 'h', ...sent]);
  });
});

describe('the fields of a forwarded response', () => {
  it('keep order, case and repeats', () => {
    const sent = ['Set-Cookie', 'a', 'set-cookie', 'b', 'Content-Length', '0', 'Alt-Svc', 'h3=":443"'];
    expect(responseFields(sent, false)).toEqual(sent);
  });

  it('omit Alt-Svc if a grant is in use', () => {
    expect(responseFields(['ALT-SVC', 'h3=":443"', 'X', '1'], true)).toEqual(['X', '1']);
  });
});

it('forwarded trailers omit fields that could frame, route or authenticate a message', () => {
  const trailers = [
    'Content_Length',
    '5',
    'Transfer.Encoding',
    'chunked',
    'Ho_st',
    'a',
    'Proxy_X',
    'b',
    'X_Sum',
    '7',
  ];
  expect(trailerFields(trailers)).toEqual(['X_Sum', '7']);
});
