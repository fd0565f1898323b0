import { hash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';

/**
 * Maximum head size, in bytes, of servers for browsers. Servers on other ports of the host can set cookies,
 * which browsers send to every port: at most 180 of 4 KiB in Chromium and Firefox.
 */
export const browserHeadBytes = 1_048_576;

/** A page for a browser. */
export interface Page {
  /** Kind of the page: `done` and `failed` show a result; `asks` has a form. */
  readonly kind: 'done' | 'failed' | 'asks';
  /** The sender, shown above the title. */
  readonly from: string;
  readonly title: string;
  readonly body: Markup;
  /** Additional CSS. */
  readonly style?: string;
  /** The only script of the page; see `scriptValue`. */
  readonly script?: string;
  /** Additional origins to which a form may be redirected; `https:` means all with TLS. */
  readonly formTargets?: readonly string[];
  /** True for a page in a popup, which keeps its connection to the page that opened it. */
  readonly keepsOpener?: boolean;
}

/** A complete response of an HTTP server. */
export interface PageAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const shell = `
:root { color-scheme: light dark; --ink: #1a2027; --soft: #56616f; --line: #d8dee6; --paper: #fff; --ground: #f2f5f8; --mark: #1a7f4b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9edf2; --soft: #a1adba; --line: #36404d; --paper: #1c2229; --ground: #11151a; --mark: #4cc38a; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-content: center; padding: 1.5rem; background: var(--ground); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
main { width: min(32rem, calc(100vw - 3rem)); padding: 2rem 2.25rem; background: var(--paper); border: 1px solid var(--line); border-top: .3rem solid var(--mark); border-radius: .6rem; overflow-wrap: anywhere; }
.failed { --mark: #c2362b; }
.asks { --mark: #b26a00; }
@media (prefers-color-scheme: dark) { .failed { --mark: #f2766d; } .asks { --mark: #e8a93a; } }
.from { margin: 0 0 1.25rem; color: var(--soft); font-size: .9rem; }
h1 { margin: 0 0 .75rem; font-size: 1.4rem; line-height: 1.3; }
p { margin: 0 0 .75rem; white-space: pre-line; }
p:last-child { margin-bottom: 0; color: var(--soft); }
`;

/**
 * Renders a page as a response. The page loads nothing, runs only its own script, and cannot be framed or
 * cached. It sends no referrer: its address may hold a secret. Only `asks` pages send forms, to their origin.
 */
export function renderPage(it: Page, status: number): PageAnswer {
  const { kind, from, title, body, style = '', script = '', formTargets = [], keepsOpener = false } = it;
  const rules = shell + style;
  const policy = [
    "default-src 'none'",
    `style-src 'sha256-${hash('sha256', rules, 'base64')}'`,
    ...(script === '' ? [] : [`script-src 'sha256-${hash('sha256', script, 'base64')}'`]),
    "base-uri 'none'",
    `form-action ${kind === 'asks' ? ["'self'", ...formTargets].join(' ') : "'none'"}`,
    "frame-ancestors 'none'",
  ];
  const { html } = markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} &middot; Sidekey</title>
<style>${{ html: rules }}</style>
</head>
<body class="${kind}">
<main>
<p class="from">${from}</p>
<h1>${title}</h1>
${body}
</main>
${script === '' ? [] : [markup`<script>${{ html: script }}</script>`]}
</body>
</html>
`;
  const headers = {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': policy.join('; '),
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'cross-origin-opener-policy': keepsOpener ? 'unsafe-none' : 'same-origin',
  };
  return { status, headers, body: html };
}

/** Sends a page. Resolves when it is sent, or the connection is closed. */
export async function sendPage(
  { method }: IncomingMessage,
  response: ServerResponse,
  { status, headers, body }: PageAnswer,
): Promise<void> {
  if (response.destroyed) return;
  const closed = new Promise((resolve) => response.once('close', resolve));
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) });
  response.end(method === 'HEAD' ? undefined : body);
  await closed;
}

/** Escaped HTML. Only `markup` creates it. */
export interface Markup {
  readonly html: string;
}

type Part = string | number | Markup | readonly Markup[];

/** Returns a value as an expression of a script within a page. */
export function scriptValue(value: unknown): string {
  return JSON.stringify(value).replaceAll('<', String.raw`\u003c`);
}

/** Reports whether `Accept` was sent by a browser, which can show a page. */
export function wantsPage(accept: string | undefined): boolean {
  return accept !== undefined && /(?:^|[, ])text\/html/i.test(accept);
}

/** An HTML template tag. Escapes all values except markup. Joins lists of markup with line breaks. */
export function markup(texts: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  return { html: texts.reduce((before, text, index) => before + htmlOf(parts[index - 1] ?? '') + text) };
}

function htmlOf(part: Part): string {
  if (typeof part === 'string' || typeof part === 'number') return escaped(String(part));
  return 'html' in part ? part.html : part.map(({ html }) => html).join('\n');
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Escapes a value for text and for quoted attributes. */
function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? '');
}
