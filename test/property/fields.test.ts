import * as fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { requestFields, responseFields, valuesOf } from '../../src/proxy/http/fields.ts';

const known = [
  'Connection',
  'Keep-Alive',
  'Proxy-Connection',
  'Proxy-Authorization',
  'Proxy-Anything',
  'TE',
  'Transfer-Encoding',
  'Upgrade',
  'HTTP2-Settings',
  'Expect',
  'Host',
  'Sidekey-Grant',
  'Sidekey-Reason',
  'Content-Length',
  'Authorization',
  'Cookie',
  'Accept',
  'X-A',
  'X-B',
  'Alt-Svc',
  'Trailer',
  'Proxied',
  'Sidekeys',
];
const cased = fc
  .tuple(fc.constantFrom(...known), fc.constantFrom('keep', 'lower', 'upper'))
  .map(([name, how]) => (how === 'keep' ? name : how === 'lower' ? name.toLowerCase() : name.toUpperCase()));
const name = fc.oneof(
  { weight: 4, arbitrary: cased },
  fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}$/),
);
const options = fc
  .array(
    fc.tuple(
      fc.oneof(name, fc.constantFrom('close', 'keep-alive', '')),
      fc.constantFrom('', ' ', '\t', '  '),
    ),
    { maxLength: 4 },
  )
  .map((list) => list.map(([option, blank]) => `${blank}${option}${blank}`).join(','));
const field = name.chain((it) =>
  fc.tuple(
    fc.constant(it),
    it.toLowerCase() === 'connection' ? options : fc.string({ unit: 'grapheme-ascii' }),
  ),
);
const fields = fc.array(field, { maxLength: 20 });

const ofOneConnection = ['connection', 'keep-alive', 'proxy-connection', 'te', 'upgrade', 'http2-settings'];
const keptAnyway = ['host', 'content-length', 'transfer-encoding', 'authorization', 'trailer'];

/** The fields that may be forwarded, computed independently. */
function mayPass(list: readonly (readonly [string, string])[], also: (name: string) => boolean) {
  const nominated = list
    .filter(([it]) => it.toLowerCase() === 'connection')
    .flatMap(([, value]) => value.split(','))
    .map((option) => option.trim().toLowerCase())
    .filter((option) => !keptAnyway.includes(option));
  return list.filter(([it]) => {
    const lower = it.toLowerCase();
    if (ofOneConnection.includes(lower) || /^(proxy|sidekey)-/.test(lower)) return false;
    return !nominated.includes(lower) && !also(lower);
  });
}

describe('the forwarded fields', () => {
  it('of a request are one Host, then all except hop-by-hop fields and those for the proxy, unchanged', () => {
    fc.assert(
      fc.property(fields, (list) => {
        const expected = mayPass(list, (it) => it === 'host' || it === 'expect');
        expect(requestFields(list.flat(), 'h:1')).toEqual(['Host', 'h:1', ...expected.flat()]);
      }),
      { numRuns: 3_000 },
    );
  });

  it('of a response are all except hop-by-hop fields and those that the proxy replaces, unchanged', () => {
    fc.assert(
      fc.property(fields, fc.boolean(), (list, carriesGrant) => {
        const expected = mayPass(
          list,
          (it) => it === 'transfer-encoding' || (carriesGrant && it === 'alt-svc'),
        );
        expect(responseFields(list.flat(), carriesGrant)).toEqual(expected.flat());
      }),
      { numRuns: 3_000 },
    );
  });

  it('stay the same when they are filtered a second time', () => {
    fc.assert(
      fc.property(fields, (list) => {
        const once = requestFields(list.flat(), 'h');
        expect(requestFields(once, 'h')).toEqual(once);
      }),
    );
  });

  it('have exactly one Host, with the authority of the request', () => {
    fc.assert(
      fc.property(fields, (list) => {
        expect(valuesOf(requestFields(list.flat(), 'api.example'), 'host')).toEqual(['api.example']);
      }),
    );
  });
});

describe('the values of a field', () => {
  it('are all values under its name, in order', () => {
    fc.assert(
      fc.property(fields, name, (list, wanted) => {
        const lower = wanted.toLowerCase();
        const expected = list.filter(([it]) => it.toLowerCase() === lower).map(([, value]) => value);
        expect(valuesOf(list.flat(), lower)).toEqual(expected);
      }),
    );
  });
});
