import { hash } from 'node:crypto';
import { expect, test } from 'vitest';
import { pageAnswer } from '../../../../src/cli/connect/browser/browser.ts';

const hostile = `</title><script>alert('x')</script>&"<img src=x onerror=alert(1)>`;

test('markup in the text is escaped', () => {
  const { body } = pageAnswer({ kind: 'failed', title: hostile, says: [hostile] });
  expect(body).not.toMatch(/<script|<img/);
  expect(body.match(/&lt;script&gt;alert\(&#39;x&#39;\)&lt;\/script&gt;&amp;&quot;&lt;img/g)).toHaveLength(3);
});

test('the content security policy allows only the page’s own style', () => {
  const { body, headers } = pageAnswer({ kind: 'done', title: 'a', says: [] });
  const style = /<style>([^]*)<\/style>/.exec(body)?.[1] ?? '';
  expect(headers['content-security-policy']).toContain(
    `style-src 'sha256-${hash('sha256', style, 'base64')}'`,
  );
  expect(body).not.toMatch(/ style=|<script|src=|href=/);
});

test('the status shows success or failure', () => {
  expect(pageAnswer({ kind: 'done', title: 'a', says: [] }).status).toBe(200);
  expect(pageAnswer({ kind: 'failed', title: 'a', says: [] }).status).toBe(400);
});
