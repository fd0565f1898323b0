import { describe, expect, test } from 'vitest';
import { fillTemplate, namesIn, parseTemplate } from '../../../../src/proxy/schemes/parameters.ts';

const fill = (written: string) => fillTemplate(parseTemplate(written)!, (name) => `<${name}>`);

describe('a template', () => {
  test.each([
    ['', ''],
    ['as it is', 'as it is'],
    ['{a}', '<a>'],
    ['x{a}y{b}z', 'x<a>y<b>z'],
    ['{header:X-A}', '<header:X-A>'],
    ['{{a}}', '{a}'],
    ['{{{a}}}', '{<a>}'],
    ['{{}}{{', '{}{'],
  ])('%j is expanded', (written, filled) => {
    expect(fill(written)).toBe(filled);
  });

  test.each(['{', '}', '{}', 'a}b', '{a', 'a}', '{a{b}}', '{{a}', '{a}}'])('%j is refused', (written) => {
    expect(parseTemplate(written)).toBeNull();
  });

  test('expands values with braces literally', () => {
    expect(fillTemplate(parseTemplate('{a}{b}')!, () => '{a}$&')).toBe('{a}$&{a}$&');
    expect(namesIn(parseTemplate('{a}{{b}}{a}')!)).toEqual(['a', 'a']);
  });
});
