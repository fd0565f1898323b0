import { describe, expect, it } from 'vitest';
import type { BrowserPage } from '../support/chromium.ts';
import { browsers, type Open } from '../support/browsers.ts';
import { examined } from '../support/examined.ts';
import { click, confirm, goTo, openedPages } from '../support/opened-pages.ts';

/** The page "Now" of a service to which the agent ci has sent a request. */
async function livePage(open: Open) {
  const opened = await openedPages(open);
  const { page, call, upstream } = opened;
  await page.shows('/x');
  const send = (path: string, agent = 'ci', more = {}) =>
    call('POST /v2/requests', {
      body: { url: `https://${upstream.authority}${path}`, agent, reason: 'ticket 7', ...more },
    });
  return { ...opened, send };
}

/** An expression that returns the texts of the cells of each row. */
const cells = `[...document.querySelectorAll('.rows [role=row]:not(.head)')].map((row) =>
  [...row.children].map((cell) => cell.textContent.trim()))`;

/** An expression that sets a field of the filter, as a person does. */
const set = (name: string, value: string) => `void (() => {
  const field = document.querySelector('[name=${name}]');
  field.value = ${JSON.stringify(value)};
  for (const event of ['input', 'change']) field.dispatchEvent(new Event(event, { bubbles: true }));
})()`;

/** An expression for a local time, so many milliseconds ago, as a field takes it. */
const local = (ms: number) =>
  `new Date(Date.now() - ${ms} - new Date().getTimezoneOffset() * 60_000).toISOString().slice(0, 16)`;

describe.each(browsers)('the page Now, in %s%s', { timeout: 60_000 }, (_name, _why, open) => {
  const test = it.skipIf(open === null);

  test('has one row for each request, with agent, account, status and duration', async () => {
    const { page, send, upstream } = await livePage(open);
    await send('/allowed', 'ci', { grant: 'desk' });
    await page.shows('/allowed');
    await send('/refused', 'other', { grant: 'desk' });
    await page.shows('/refused');
    await page.shows('desk');
    const took = expect.stringMatching(/^[\d.]+ m?s$/);
    const time = expect.stringMatching(/\d:\d\d/);
    const at = `GET ${upstream.authority.split(':')[0]!}`;
    await expect
      .poll(() => page.evaluate(cells))
      .toEqual([
        [time, expect.stringMatching(/^denied/), `${at}/refused`, 'other', expect.anything(), took],
        [time, '200', `${at}/allowed`, 'ci', 'desk', took],
        [time, '200', `${at}/x`, 'ci', 'desk', took],
      ]);
    if (page.darkened !== undefined) await examined(page as BrowserPage, 'now');
  });

  test('stands still while it is paused, and counts the requests that come', async () => {
    const { page, send } = await livePage(open);
    await page.evaluate(click('Pause'));
    await send('/later');
    await page.shows('Paused, 1 new.');
    expect(JSON.stringify(await page.evaluate(cells))).not.toContain('/later');
    await page.evaluate(click('Resume'));
    await page.shows('/later');
    // The focus in the list pauses too.
    await page.evaluate(`document.querySelector('.rows').focus()`);
    await send('/third');
    await page.shows('Paused, 1 new.');
    await page.evaluate(`document.querySelector('.rows').blur()`);
    await page.shows('/third');
    // An empty list does not pause: the pointer may be there before the first line.
    await page.evaluate(set('text', '/fourth'));
    await page.shows('No request meets these conditions.');
    await page.evaluate(
      `void document.querySelector('p.none').dispatchEvent(new PointerEvent('pointerover', { bubbles: true }))`,
    );
    await send('/fourth');
    await page.shows('/fourth');
  });

  test('shows only the requests that the person asks for', async () => {
    const { page, send, sidekey, upstream } = await livePage(open);
    await send('/by-other', 'other', { grant: 'desk' });
    await page.shows('/by-other');
    const paths = async () =>
      ((await page.evaluate(cells)) as string[][]).map(([, , request = '']) => request.replace(/^[^/]*/, ''));
    await page.evaluate(set('agent', 'other'));
    await expect.poll(paths).toEqual(['/by-other']);
    await page.evaluate(set('agent', ''));
    await page.evaluate(set('text', '/X'));
    await expect.poll(paths).toEqual(['/x']);
    await page.evaluate(set('state', 'denied'));
    await page.shows('No request meets these conditions.');
    await page.evaluate(set('text', ''));
    await page.evaluate(set('state', ''));
    await page.evaluate(`void document.querySelector('[name=notes]').click()`);
    await page.shows('agent.added');
    // An event about the domain names its port too.
    const [host = ''] = upstream.authority.split(':');
    await sidekey.proxy.state.audit.append({ event: 'domain.changed', host: upstream.authority });
    await goTo(page, 'audit', 'domain.changed');
    await goTo(page, 'now', '/by-other');
    const hosts = `[...document.querySelector('[name=host]').options].map(({ value }) => value).filter((value) => value.startsWith('${host}'))`;
    await expect.poll(() => page.evaluate(hosts)).toEqual([host]);
  });

  test('ends the lease or the agent of a request after a confirmation', async () => {
    const { page, call, sidekey, agentToken } = await livePage(open);
    expect(agentToken).not.toBe('');
    await page.evaluate(click(((await page.evaluate(cells)) as string[][])[0]![2]!));
    await page.shows('ticket 7');
    await page.evaluate(click('Disable ci'));
    expect((await call('GET /v2/agents/ci')).body.state).toBe('enabled');
    await page.shows('Disable the agent ci?');
    await page.evaluate(confirm);
    await page.shows('The agent ci is disabled.');
    expect((await call('GET /v2/agents/ci')).body.state).toBe('disabled');
    await sidekey.audited(({ event }) => event === 'agent.disabled');
    await page.evaluate(click('Close'));
    await page.lacks('Whole record');
  });

  test('ends the lease of a request after a confirmation', async () => {
    const { page, call, sidekey } = await livePage(open);
    const [lease] = (await call('GET /v2/leases')).body.data;
    expect(lease).toMatchObject({ agent: 'ci', purpose: 'nightly report' });
    const { audit } = sidekey.proxy.state;
    const request = {
      exchange: 'leased',
      agent: 'ci',
      lease: lease.id,
      method: 'GET',
      host: 'leased.example',
    };
    await audit.append({ event: 'access', ...request, path: '/' });
    await page.shows('GET leased.example/');
    await page.evaluate(click('GET leased.example/'));
    await page.shows('Whole record');
    await page.evaluate(click('End the lease'));
    await page.shows('End this lease?');
    await page.evaluate(confirm);
    await page.shows('The lease has ended.');
    expect((await call(`GET /v2/leases/${lease.id}`)).body.state).toBe('revoked');
  });

  test('leads to the sign-in when the session has ended', async () => {
    const { page, call } = await livePage(open);
    await call('PATCH /v2/people/alice', { body: { disabled: true } });
    // The line after which the stream ends.
    await call('POST /v2/agents', { body: { name: 'third' } });
    await page.shows('Sign in to Sidekey');
  });

  test('draws requests, latencies, refusals and refreshes of a window, also by agent', async () => {
    const { page, send, sidekey } = await livePage(open);
    await send('/again', 'other', { grant: 'desk' });
    const long = { exchange: crypto.randomUUID(), agent: 'ci', method: 'GET', host: 'slow.test', path: '/' };
    await sidekey.proxy.state.audit.append({ event: 'access', ...long, outcome: 'allow' });
    await sidekey.proxy.state.audit.append({
      event: 'outcome',
      ...long,
      outcome: 'ok',
      status: 200,
      duration_ms: 200_000,
    });
    await page.shows('Token refreshes');
    const titles = async () =>
      page.evaluate(`[...document.querySelectorAll('figcaption b')].map(({ textContent }) => textContent)`);
    expect(await titles()).toEqual([
      'Requests per 1 min',
      'Latency',
      'Refusals and failures per 1 min',
      'Token refreshes per 1 min',
    ]);
    // The line of a latency between gaps is a point.
    const pixels = `(() => {
      const canvas = [...document.querySelectorAll('figure')][1].querySelector('canvas');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      const probe = document.body.appendChild(document.createElement('i'));
      probe.style.color = 'var(--bad)';
      const color = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
      probe.remove();
      let count = 0;
      for (let at = 0; at < data.length; at += 4)
        if (color.every((part, index) => Math.abs(data[at + index] - part) < 8) && data[at + 3] > 200) count += 1;
      return count;
    })()`;
    await expect.poll(() => page.evaluate(pixels)).toBeGreaterThan(3);
    await page.evaluate(click('Day'));
    await page.shows('Requests per 24 min');
    // The axis of the latency has room for “200000 ms”.
    const room = `parseFloat(document.querySelectorAll('figure')[1].querySelectorAll('.u-axis')[1].style.width)`;
    await expect.poll(() => page.evaluate(room)).toBeGreaterThan(70);
    expect(await page.evaluate(`document.querySelector('[aria-pressed=true]').textContent`)).toBe('Day');
    await page.evaluate(set('by', 'agent'));
    await page.shows('Median latency');
    const label = `document.querySelector('figure [role=img]').getAttribute('aria-label')`;
    expect(await page.evaluate(label)).toMatch(
      /^Requests per 24 min\. ci: at most \d\. other: at most \d\.$/,
    );
    await page.evaluate(set('agent', 'ci'));
    await expect.poll(() => page.evaluate(label)).toMatch(/^Requests per 24 min\. ci: at most \d\.$/);
    // A window by its ends.
    await page.evaluate(`void (() => {
      const { since, until } = document.querySelector('[name=since]').form.elements;
      since.value = ${local(7_200_000)};
      until.value = ${local(3_600_000)};
      since.form.requestSubmit();
    })()`);
    await page.shows('Requests per 1 min');
    await expect.poll(() => page.evaluate(`document.querySelectorAll('[aria-pressed=true]').length`)).toBe(0);
  });

  test('gets answers about the charts that take longer than the time between two reads', async () => {
    const { page } = await livePage(open);
    await page.shows('Token refreshes');
    await page.evaluate(`void (() => {
      const [timed, fetched] = [setInterval, fetch];
      globalThis.setInterval = (run, ms) => timed(run, ms === 15_000 ? 50 : ms);
      globalThis.answers = 0;
      globalThis.fetch = async (path, init) => {
        if (!path.startsWith('/v2/metrics')) return fetched(path, init);
        await new Promise((resolve) => setTimeout(resolve, 300));
        if (!init.signal.aborted) answers += 1;
        return fetched(path, init);
      };
    })()`);
    await page.evaluate(click('Day'));
    await expect.poll(() => page.evaluate('answers')).toBeGreaterThan(2);
  });

  test('keeps few elements, and draws at most ten times a second, while 2,000 requests pass', async () => {
    const { page, sidekey } = await livePage(open);
    await page.evaluate(`void (() => {
      window.commits = 0;
      window.begin = performance.now();
      new MutationObserver(() => (window.commits += 1))
        .observe(document.querySelector('.rows'), { subtree: true, childList: true, characterData: true });
    })()`);
    const { audit } = sidekey.proxy.state;
    for (let turn = 0; turn < 20; turn += 1) {
      for (let n = 0; n < 100; n += 1) {
        const exchange = `many${turn}-${n}`;
        audit.note({
          event: 'access',
          exchange,
          agent: 'ci',
          method: 'GET',
          host: 'many.example',
          path: `/${turn}/${n}`,
        });
        audit.note({ event: 'outcome', exchange, outcome: 'ok', status: 200, duration_ms: n });
      }
      await sidekey.audited(({ event, exchange }) => event === 'outcome' && exchange === `many${turn}-99`);
    }
    await page.shows('/19/99');
    const [rows, commits, elapsed] = (await page.evaluate(
      `[document.querySelectorAll('.rows [role=row]').length, window.commits, performance.now() - window.begin]`,
    )) as readonly number[];
    expect(rows).toBeLessThan(60);
    expect(commits).toBeLessThanOrEqual(elapsed! / 100 + 2);
  });
});
