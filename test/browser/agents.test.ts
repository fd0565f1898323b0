import { describe, expect, it } from 'vitest';
import { browsers, type Page } from '../support/browsers.ts';
import type { BrowserPage } from '../support/chromium.ts';
import { examined } from '../support/examined.ts';
import { click, confirm, goTo, openedPages, submit } from '../support/opened-pages.ts';

async function looked(page: Page, name: string): Promise<void> {
  if (page.darkened !== undefined) await examined(page as BrowserPage, name);
}

/** An expression that chooses a value as a person does. */
const choose = (name: string, value: string) =>
  `void (() => {
    const field = document.querySelector('[name=${name}]');
    field.value = '${value}';
    field.dispatchEvent(new Event('change', { bubbles: true }));
  })()`;

describe.each(browsers)('the agents, in %s%s', { timeout: 60_000 }, (_name, _why, open) => {
  const test = it.skipIf(open === null);

  test('are created with a binding and an end, and their token is shown once', async () => {
    const { page, call } = await openedPages(open);
    await goTo(page, 'agents', 'no token, on this machine');
    await looked(page, 'agents');
    await page.evaluate(click('Create an agent'));
    await page.evaluate(
      submit('Create the agent', { name: 'bot', which: 'alice/mine, desk', expires: '30d' }),
    );
    await page.shows('The token of the agent bot.');
    const text = await page.shows('sidekey run --proxy env:SIDEKEY_PROXY -- claude');
    const [token = ''] = /sidekey_agent_[\w-]{43}/.exec(text) ?? [];
    expect(text).toContain(`export SIDEKEY_PROXY='http://bot:${token}@`);
    await looked(page, 'agent-token');
    const { body } = await call('GET /v2/agents/bot');
    expect(body.reaches.map(({ name }: { name: string }) => name).toSorted()).toEqual(['desk', 'mine']);
    expect(body.tokens).toEqual([expect.objectContaining({ live: true, expires_at: expect.any(String) })]);

    await page.evaluate(choose('program', 'Compose'));
    await page.shows('env_file: sidekey.env');
    await looked(page, 'agent-compose');
    const kept = await page.evaluate(`JSON.stringify([location.href, document.title, { ...localStorage }])`);
    expect(kept).not.toContain(token);
    await page.evaluate(click('I have stored it'));
    await page.lacks(token);
    await page.evaluate('void location.reload()');
    const after = await page.shows('bot');
    expect(after).not.toContain(token);
    expect(page.complaints.filter((each) => each.includes('Content Security Policy'))).toEqual([]);
  });

  test('get and lose grants, another token, and an end', async () => {
    const { page, call, agentToken } = await openedPages(open);
    await goTo(page, 'agents/ci', 'What it may use');
    await page.shows('nightly report');
    await page.shows('Last requests');
    await looked(page, 'agent');
    await page.evaluate(submit('Bind', { kind: 'user', which: 'alice' }));
    await page.shows('all accounts of these users');
    await page.evaluate(click('Unbind'));
    await page.lacks('desk');
    const { bindings } = (await call('GET /v2/agents/ci')).body;
    expect(bindings).toEqual([{ kind: 'user', value: 'alice' }]);

    await page.evaluate(submit('Replace the token', {}));
    const text = await page.shows('The token of the agent ci.');
    const [token] = /sidekey_agent_[\w-]{43}/.exec(text) ?? [];
    expect(token).not.toBe(agentToken);
    await page.evaluate(click('I have stored it'));

    await page.evaluate(click('Disable'));
    await page.shows('Enable');
    expect((await call('GET /v2/agents/ci')).body.state).toBe('disabled');
    await page.evaluate(click('Remove'));
    await page.evaluate(confirm);
    await page.shows('Who may call what');
    expect((await call('GET /v2/agents/ci')).status).toBe(404);
  });

  test('get leases, which show what they were used for, are renewed and end', async () => {
    const { page, call } = await openedPages(open);
    await goTo(page, 'agents/other', 'No lease is active.');
    await page.evaluate(click('Create a lease'));
    await page.evaluate(
      submit('Create the lease', { grants: 'bob/theirs', purpose: 'a visit', ttl: '10m', max_uses: '3' }),
    );
    await page.shows('The token of the lease of other.');
    const [lease] = (await call('GET /v2/leases?agent=other')).body.data;
    expect(lease).toMatchObject({ purpose: 'a visit', max_uses: 3 });
    await goTo(page, `agents/other/${lease.id}`, '0 of 3');
    await looked(page, 'lease');
    await page.evaluate(click('Renew'));
    await page.shows('Renewed');
    await page.evaluate(click('End'));
    await page.evaluate(confirm);
    await page.shows('revoked');
    const { body } = await call(`GET /v2/leases/${lease.id}`);
    expect(body).toMatchObject({ state: 'revoked', renewed_at: expect.any(String) });
  });

  test('show who may call what, for the chosen agents if there are more than 20', async () => {
    const { page, call, upstream } = await openedPages(open);
    await call('PUT /v2/domains/bob.example.com', { body: { action: 'grant', grant: 'theirs' } });
    await goTo(page, 'agents', 'bob.example.com');
    const rows = async () =>
      page.evaluate(
        `[...document.querySelectorAll('.wide tr')].map((it) => [...it.cells].map((cell) => cell.textContent))`,
      );
    expect(await rows()).toEqual([
      ['Host', 'ci', 'other', 'no token, on this machine'],
      [upstream.authority, 'yes: desk', '–', 'yes: desk'],
      ['bob.example.com', '–', 'yes: bob/theirs', 'yes: bob/theirs'],
    ]);
    await looked(page, 'agents-matrix');
    await call('PATCH /v2/agents/ci', { body: { disabled: true } });
    for (let count = 0; count < 20; count += 1)
      await call('POST /v2/agents', { body: { name: `x${count}` } });
    await goTo(page, 'passkeys', 'Add a passkey');
    await goTo(page, 'agents', 'at most 20');
    await page.shows('bob.example.com');
    const [headings] = (await rows()) as readonly string[][];
    expect(headings).toHaveLength(22);
    await page.evaluate(submit('Show', { names: 'ci, x19' }));
    await page.shows('ci\tx19');
    expect(await rows()).toEqual([
      ['Host', 'ci', 'x19', 'no token, on this machine'],
      [upstream.authority, '–', '–', 'yes: desk'],
      ['bob.example.com', '–', '–', 'yes: bob/theirs'],
    ]);
  });

  test('are shown to an auditor without anything that changes them', async () => {
    const { page } = await openedPages(open, 'auditor');
    await goTo(page, 'agents', 'no token, on this machine');
    expect(await goTo(page, 'agents/nobody', 'Try again')).not.toContain('Leases');
    await goTo(page, 'agents/ci', 'Last requests');
    const buttons = await page.evaluate(
      `[...document.querySelectorAll('main button, main form')].map((it) => it.textContent)`,
    );
    expect(buttons).toEqual([]);
  });
});
