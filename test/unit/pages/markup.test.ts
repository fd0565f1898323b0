import { expect, it } from 'vitest';
import { sourceFiles } from '../source-files.ts';

/** Ways to turn a text into markup. The texts of pages come from agents and providers. */
const markup = /dangerouslySetInnerHTML|(?:inner|outer)HTML|insertAdjacentHTML|document\.write|srcdoc/i;

it('no page turns a text into markup', () => {
  const pages = [...sourceFiles()].filter(([file]) => file.startsWith('pages/'));
  expect(pages.some(([file]) => file.endsWith('.tsx'))).toBe(true);
  expect(pages.filter(([, text]) => markup.test(text)).map(([file]) => file)).toEqual([]);
});
