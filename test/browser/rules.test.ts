import { describe, expect, it } from 'vitest';
import { browsers, type Page } from '../support/browsers.ts';
import type { BrowserPage } from '../support/chromium.ts';
import { examined } from '../support/examined.ts';
import { click, goTo, openedPages, submit } from '../support/opened-pages.ts';

async function looked(page: Page, name: string): Promise<void> {
  if (page.screenshot !== undefined) await examined(page as BrowserPage, name);
}

/** An expression that gives the field with this label a value, as a person does. */
function set(label: string, value: string): string {
  return `void (() => {
    const field = document.querySelector('[aria-label=${JSON.stringify(label)}]');
    field.value = ${JSON.stringify(value)};
    for (const name of ['input', 'change']) field.dispatchEvent(new Event(name, { bubbles: true }));
  })()`;
}

const isSaveDisabled = `[...document.querySelectorAll('button')].find((it) => it.textContent === 'Save').disabled`;

/** Sentences about a save that screen readers are told. */
const statuses = `[...document.querySelectorAll('[role=status]')].map((it) => it.textContent).filter((it) => /^Saved/.test(it))`;

const draft = 'document.querySelector("[name=text]").value';

async function changeConfig(
  { call }: Pick<Awaited<ReturnType<typeof openedPages>>, 'call'>,
  edit: (text: string) => string,
) {
  const { body, headers } = await call('GET /v2/config');
  const put = { body: { text: edit(body.text) }, headers: { 'if-match': headers.get('etag') ?? '' } };
  expect((await call('PUT /v2/config', put)).status).toBe(200);
}

describe.each(browsers)('the page of rules, in %s%s', { timeout: 60_000 }, (_name, _why, open) => {
  const test = it.skipIf(open === null);

  async function opened() {
    const at = await openedPages(open);
    const host = at.upstream.authority;
    await changeConfig(at, (text) =>
      text.replace('example.org: tunnel', '# kept\n  example.org: tunnel # why'),
    );
    await goTo(at.page, 'rules', 'What would happen to a request?');
    await at.page.evaluate(submit('Open', { host }));
    await at.page.shows('If no rule matches');
    const send = async (url: string) =>
      (await at.call('POST /v2/requests', { body: { url: `https://${host}${url}`, grant: 'desk' } })).body;
    return { ...at, host, send };
  }

  test('turns a form into a rule that the proxy enforces', async () => {
    const { page, call, host, send } = await opened();
    expect(await send('/repos/1')).toMatchObject({ status: 200 });
    await page.evaluate(click('Add a rule'));
    await page.shows('+    rules:');
    for (const [label, value] of [
      ['Methods', 'GET, HEAD'],
      ['Paths', '/users/**'],
      ['Limits', '60/1m per agent, 5/day'],
      ['Parameters, one a line', 'query state = open, closed\nquery limit = ..100'],
      ['Needs a reason', 'yes'],
    ] as const)
      await page.evaluate(set(label, value));
    await page.shows('require_reason: true');
    const lines =
      '        require_reason: true\n        query: { state: [open, closed], limit: { max: 100 } }\n';
    const text = (await page.evaluate(draft)) as string;
    expect(text).toContain(lines);
    expect(text).toContain('  # kept\n  example.org: tunnel # why\n');
    await looked(page, 'rules-edited');
    await page.evaluate(submit('Explain', { url: `https://${host}/repos/1` }));
    expect(await page.shows('is matched by no rule')).toContain('deny');
    expect(await send('/repos/1')).toMatchObject({ status: 200 });
    await page.evaluate(click('Save'));
    await page.lacks('This would change');
    const [said] = (await page.evaluate(statuses)) as string[];
    expect(said).toBe(
      `Saved. Requests to ${host} use the account desk, with 1 rule; if no rule matches: refuse.`,
    );
    expect(await page.evaluate(isSaveDisabled)).toBe(true);
    expect(await send('/repos/1')).toMatchObject({ status: 403 });
    expect((await call('GET /v2/config')).body.text).toBe(text);
  });

  test('says before the save that a first rule refuses other requests, which the person may allow', async () => {
    const { page, send } = await opened();
    const sentence = 'a request that none of them matches is refused, unless you choose otherwise here';
    expect(await page.shows('No change to save.')).not.toContain(sentence);
    expect(await page.evaluate(isSaveDisabled)).toBe(true);
    // An edit that the page has not checked yet is a change too.
    const said = `(async () => {
      const field = document.querySelector('[name=text]');
      field.value += '# edited\\n';
      field.dispatchEvent(new Event('input', { bubbles: true }));
      await new Promise(requestAnimationFrame);
      return document.querySelector('[aria-label=Changes]').textContent;
    })()`;
    expect(await page.evaluate(said)).not.toContain('No change to save.');
    await page.evaluate(click('Add a rule'));
    await page.shows(sentence);
    await page.shows('+    rules:');
    await page.evaluate(set('If no rule matches', 'allow'));
    await page.lacks(sentence);
    await page.shows('+    default: allow');
    await page.evaluate(click('Save'));
    await page.shows('with 1 rule; if no rule matches: allow.');
    expect(await send('/repos/1')).toMatchObject({ status: 200 });
  });

  test('keeps rules that the form does not know, moves them, and tests and replays the draft', async () => {
    const { page, call, host, send, ...at } = await opened();
    for (const path of ['/users/1', '/users/2', '/repos/1']) await send(path);
    const odd = '      - name: "odd"   # kept\n        methods: [GET]\n        body_size: { max: 1KiB }\n';
    const rules = `    rules:\n      - { methods: [GET], paths: [/repos/**] }\n${odd}`;
    await changeConfig({ call, ...at }, (text) =>
      text.replace('    grant: desk\n', `    grant: desk\n${rules}`),
    );
    await goTo(page, 'rules', 'Add or find a host');
    await goTo(page, `rules/${encodeURIComponent(host)}`, 'Edit it there.');
    expect(await page.evaluate(`document.querySelector('section pre').textContent`)).toBe(odd);
    await page.evaluate(click('Down'));
    await page.shows('+      - { methods: [GET], paths: [/repos/**] }');
    expect(await page.evaluate(draft)).toContain(
      `    rules:\n${odd}      - { methods: [GET], paths: [/repos/**] }\n`,
    );

    await page.evaluate(
      submit('Run the tests', { cases: `- request: GET https://${host}/users/1\n  expect: deny` }),
    );
    await page.shows('1 of 1 not as expected.');
    const typed = (await page.evaluate(draft)) as string;
    await page.evaluate(`void (() => {
      const field = document.querySelector('[name=text]');
      field.value = ${JSON.stringify(typed.replace(odd, ''))};
      field.dispatchEvent(new Event('input', { bubbles: true }));
    })()`);
    await page.shows('All 1 as expected.');
    await page.lacks('Edit it there.');
    await page.evaluate(click('Compare with the log'));
    const text = await page.shows('3 of 4 requests would get another answer.');
    // The rule of the file looks at the size of a body.
    expect(text).toContain(`GET ${host}/users/*\tunknown\tdeny\t2`);
    await looked(page, 'rules-replayed');
  });

  test('says what the saved file does while the form is not complete', async () => {
    const { page } = await opened();
    await goTo(page, 'rules/example.org', 'Remove this entry');
    await page.evaluate(set('Action', 'deny'));
    await page.shows('+  example.org: deny');
    await page.evaluate(set('Action', 'grant'));
    await page.shows('If no rule matches');
    await page.evaluate(`void (async () => {
      const save = [...document.querySelectorAll('button')].find((it) => it.textContent === 'Save');
      while (save.disabled) await new Promise(requestAnimationFrame);
      save.click();
    })()`);
    await page.shows('Saved. Requests to example.org are refused.');
  });

  test('shows an auditor nothing to save', async () => {
    const { page } = await openedPages(open, 'auditor');
    await goTo(page, 'rules/example.org', 'Config file');
    await page.shows('Action');
    const sections = `[...document.querySelectorAll('section')].map((it) => it.getAttribute('aria-label'))`;
    expect(await page.evaluate(sections)).not.toContain('Changes');
  });

  test('adds and removes hosts after showing the difference', async () => {
    const { page, call } = await opened();
    await page.evaluate(`void (location.hash = 'rules')`);
    await page.shows('Add or find a host');
    await looked(page, 'rules');
    await page.evaluate(submit('Open', { host: 'api.example.com' }));
    await page.shows('no entry for this host');
    await page.evaluate(set('Action', 'tunnel'));
    await page.shows('+  api.example.com: tunnel');
    expect((await call('GET /v2/domains')).body.data).toHaveLength(2);
    await page.evaluate(click('Save'));
    await page.shows('Saved. Requests to api.example.com pass through without a credential.');
    expect((await call('GET /v2/domains')).body.data).toHaveLength(3);
    await page.shows('Remove this entry');
    await page.evaluate(click('Remove this entry'));
    await page.shows('-  api.example.com: tunnel');
    await changeConfig({ call }, (text) => `# another person\n${text}`);
    await page.evaluate(click('Save'));
    await page.shows('changed it since it was read');
    await page.evaluate(click('Discard'));
    await page.lacks('This would change');
    await page.shows('Remove this entry');
    await page.evaluate(submit('Explain', { url: 'https://other.example.com/' }));
    // The command is not on the line of the link.
    await page.shows('Open rules\nsidekey domain');
  });
});
