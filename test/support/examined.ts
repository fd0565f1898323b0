import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { BrowserPage } from './chromium.ts';

/** Folder for screenshots of the pages; empty: no screenshots. */
const pictures = process.env['SIDEKEY_PICTURES'] ?? '';
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Pictures in both themes, wide and narrow; and what axe finds, in both themes. */
export async function examined(page: BrowserPage, name: string): Promise<void> {
  for (const isDark of [false, true]) {
    await page.darkened(isDark);
    for (const width of [1_280, 390]) {
      await page.resized(width, 800);
      expect(
        await page.evaluate('document.documentElement.scrollWidth <= document.documentElement.clientWidth'),
        `${name} fits ${width} pixels`,
      ).toBe(true);
      const cut = await page.evaluate(`[...document.querySelectorAll('td')]
        .filter((cell) => parseFloat(getComputedStyle(cell, '::before').height) > cell.clientHeight)
        .map((cell) => cell.dataset.heading)`);
      expect(cut, `${name} has room for the headings in its cells at ${width} pixels`).toEqual([]);
      if (pictures !== '') {
        await writeFile(
          join(pictures, `${name}-${isDark ? 'dark' : 'light'}-${width}.png`),
          await page.screenshot(),
        );
      }
    }
    await page.resized(1_280, 800);
    const found = await page.evaluate(`(async () => {
      if (!window.axe) { ${axe} }
      const { violations } = await axe.run(document, { resultTypes: ['violations'] });
      return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ': ' + html.slice(0, 200)));
    })()`);
    expect(found, `${name}, ${isDark ? 'dark' : 'light'}`).toEqual([]);
  }
}
