import { describe, expect, test } from 'vitest';
import { parseXml, writeXml } from '../../../src/lib/xml.ts';

/** Returns a value of maps as objects. */
const plain = (value: unknown): unknown =>
  value instanceof Map
    ? Object.fromEntries([...value].map(([name, inner]) => [name as string, plain(inner)]))
    : value;

describe('a document is read', () => {
  test.each([
    ['an empty root', '<a/>', { a: '' }],
    ['text', '<a> x </a>', { a: ' x ' }],
    ['elements', '<a>\n  <b>1</b>\n  <c><d></d></c>\n</a>\n', { a: { b: '1', c: { d: '' } } }],
    ['a declaration', '<?xml version="1.0" encoding="UTF-8"?>\n<a>x</a>', { a: 'x' }],
    ['a namespace', '<a xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><b/></a>', { a: { b: '' } }],
    ['references', '<a>&lt;&amp;&gt;&quot;&apos;&#65;&#x42;&amp;lt;</a>', { a: '<&>"\'AB&lt;' }],
    [
      'one name in two elements',
      '<a><b><c>1</c></b><d><c>2</c></d></a>',
      { a: { b: { c: '1' }, d: { c: '2' } } },
    ],
    ['a name of JavaScript', '<a><__proto__>1</__proto__></a>', { a: { ['__proto__']: '1' } }],
  ])('with %s', (_, text, expected) => {
    const read = parseXml(text);
    expect(plain(read)).toEqual(expected);
    expect(plain(parseXml(writeXml(plain(read) as object)))).toEqual(expected);
  });
});

test.each([
  ['nothing', ''],
  ['a text alone', 'x'],
  ['two roots', '<a/><b/>'],
  ['text after the root', '<a/>x'],
  ['text before the root', 'x<a/>'],
  ['a byte order mark', '\uFEFF<a/>'],
  ['a missing end', '<a><b></b>'],
  ['another end', '<a></b>'],
  ['an end alone', '</a>'],
  ['an end that is empty', '<a></a/>'],
  ['an element twice', '<a><b>1</b><b>2</b></a>'],
  ['text beside elements', '<a>x<b/></a>'],
  ['a comment', '<a><!-- x --></a>'],
  ['CDATA', '<a><![CDATA[x]]></a>'],
  ['a document type', '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'],
  ['an unknown reference', '<a>&b;</a>'],
  ['an ampersand', '<a>x & y</a>'],
  ['a reference to no character', '<a>&#0;</a>'],
  ['a reference to half of a character', '<a>&#xD800;</a>'],
  ['a reference beyond Unicode', '<a>&#x110000;</a>'],
  ['a control character', '<a>\u0000</a>'],
  ['an instruction', '<a><?b c?></a>'],
  ['another encoding', '<?xml version="1.0" encoding="UTF-7"?><a/>'],
  ['another version', '<?xml version="1.1"?><a/>'],
  ['an attribute', '<a b="c"/>'],
  ['a prefix', '<x:a/>'],
  ['a space in a tag', '< a/>'],
  ['an open tag', '<a'],
  ['too many levels', `${'<a>'.repeat(200)}${'</a>'.repeat(200)}`],
])('a document is refused with %s', (_, text) => {
  expect(parseXml(text)).toBeUndefined();
});

test('texts are written so that they stay texts', () => {
  const written = writeXml({ a: { b: '<c>&amp;\r', d: '' } });
  expect(written).toBe('<a><b>&#60;c&#62;&#38;amp;&#13;</b><d></d></a>');
  expect(plain(parseXml(written))).toEqual({ a: { b: '<c>&amp;\r', d: '' } });
});
