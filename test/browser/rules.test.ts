import { describe, expect, it } from 'vitest';
import { readFile, writeFile } from 'node:fs/promises';
import { browsers } from '../support/browsers.ts';
import { examined } from '../support/examined.ts';
import { click, goTo, openedPages, submit } from '../support/opened-pages.ts';

/** An expression that types a text into the first field of a name. */
function type(name: string, text: string): string {
  return `void (() => {
    const field = document.querySelector('[name=${name}]');
    field.value = ${JSON.stringify(text)};
    field.dispatchEvent(new Event('input', { bubbles: true }));
  })()`;
}

/** An expression that chooses a value by the label of its field. */
function choose(label: string, value: string): string {
  return `void (() => {
    const label = [...document.querySelectorAll('label')].find((it) => it.textContent.startsWith(${JSON.stringify(label)}));
    const field = label.querySelector('select');
    field.value = ${JSON.stringify(value)};
    field.dispatchEvent(new Event('change', { bubbles: true }));
  })()`;
}

describe.each(browsers)('the page of rules, in %s%s', { timeout: 60_000 }, (_name, _why, open) => {
  const test = it.skipIf(open === null);

  test('turns a form into a rule that the proxy enforces', async () => {
    const { page, call, upstream } = await openedPages(open);
    const host = upstream.authority;
    const { text } = (await call('GET /v2/config')).body;
    const commented = (text as string).replace('example.org: tunnel', '# kept\n  example.org: tunnel # why');
    const headers = { 'if-match': (await call('GET /v2/config')).headers.get('etag') ?? '' };
    await call('PUT /v2/config', { body: { text: commented }, headers });
    await goTo(page, 'rules', 'What would happen to a request?');
    await page.evaluate(submit('Open', { host }));
    await page.shows('Requests that no rule matches');
    await page.evaluate(click('Add a rule'));
    await page.evaluate(type('methods', 'DELETE, PUT'));
    await page.evaluate(type('paths', '/users/**'));
    await page.evaluate(type('limits', '60/1m per agent, 5/day'));
    await page.evaluate(type('parameters', 'json $.amount = ..100'));
    expect(await page.shows('This would change')).toContain('+      - methods: [DELETE, PUT]');
  });
});
