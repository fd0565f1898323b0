import { createHash } from 'node:crypto';
import type { User } from './users.ts';

/** Text that is markup already. */
class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

type Fragment = string | Markup | readonly Markup[];

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const escaped = (text: string): string => text.replace(/[&<>"']/g, (character) => entities[character] ?? '');

/** A template whose every hole is escaped, unless what fills it came from this template itself. */
function html(strings: TemplateStringsArray, ...holes: readonly Fragment[]): Markup {
  const filled = holes.map((hole) => {
    if (typeof hole === 'string') return escaped(hole);
    return hole instanceof Markup ? hole.text : hole.map((part) => part.text).join('');
  });
  return new Markup(strings.map((text, index) => text + (filled[index] ?? '')).join(''));
}

const style = `
  :root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d5dae1; --paper: #fff; --ground: #eef1f5; --brand: #b3261e; --alert: #fdecea; }
  @media (prefers-color-scheme: dark) { :root { --ink: #e8ebf0; --soft: #a3adba; --line: #3a4453; --paper: #1d232c; --ground: #12161c; --brand: #f2766d; --alert: #3a1f1e; } }
  * { box-sizing: border-box; }
  body { margin: 0; min-height: 100vh; display: grid; place-content: center; padding: 1.5rem; background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
  main { width: min(26rem, calc(100vw - 3rem)); padding: 2rem; background: var(--paper); border: 1px solid var(--line); border-radius: .75rem; }
  .brand { margin: 0 0 1.5rem; color: var(--brand); font-weight: 700; letter-spacing: .02em; }
  h1 { margin: 0 0 .5rem; font-size: 1.35rem; line-height: 1.3; }
  p { margin: 0 0 1rem; }
  .soft { color: var(--soft); font-size: .9rem; }
  .alert { padding: .6rem .8rem; border-left: 3px solid var(--brand); background: var(--alert); }
  label { display: block; margin-bottom: 1rem; font-weight: 600; }
  input { display: block; width: 100%; margin-top: .25rem; padding: .6rem .7rem; border: 1px solid var(--line); border-radius: .4rem; background: transparent; color: inherit; font: inherit; }
  ul { margin: 0 0 1.25rem; padding-left: 1.2rem; }
  .actions { display: flex; gap: .75rem; margin-bottom: 1rem; }
  button { flex: 1; padding: .65rem 1rem; border: 1px solid var(--brand); border-radius: .4rem; background: var(--brand); color: var(--paper); font: inherit; font-weight: 600; cursor: pointer; }
  button.plain { background: transparent; color: inherit; border-color: var(--line); }
  input:focus-visible, button:focus-visible, a:focus-visible { outline: 3px solid #5a93e8; outline-offset: 2px; }
  a { color: inherit; }
`;

/** In one piece, because the hash in the header is over every character between the tags. */
const styleElement = new Markup(`<style>${style}</style>`);
const styleHash = createHash('sha256').update(style).digest('base64');

/**
 * Headers of every page: it loads nothing, cannot be framed, and its forms go to this server alone.
 * Browsers hold `form-action` against the redirect that follows a form too, so the client's address is let
 * through.
 */
export function pageHeaders(returnsTo?: string): Record<string, string> {
  const target = returnsTo === undefined ? '' : ` ${formTarget(returnsTo)}`;
  return {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'content-security-policy':
      `default-src 'none'; style-src 'sha256-${styleHash}'; form-action 'self'${target}; ` +
      `frame-ancestors 'none'; base-uri 'none'`,
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  };
}

function formTarget(redirectUri: string): string {
  const { origin, protocol } = new URL(redirectUri);
  return origin === 'null' ? protocol : origin;
}

function page(title: string, body: Markup): string {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title} · Acme Helpdesk</title>
        ${styleElement}
      </head>
      <body>
        <main>
          <p class="brand">ACME Helpdesk</p>
          ${body}
        </main>
      </body>
    </html> `.text;
}

/** What the sign-in page shows. */
export interface LoginPage {
  /** Where the form goes. */
  readonly action: string;
  readonly client: string;
  /** What was typed, or hinted by the client. */
  readonly email: string;
  /** Why the last attempt failed; null on the first. */
  readonly error: string | null;
}

/** The sign-in page. */
export function loginPage({ action, client, email, error }: LoginPage): string {
  return page(
    'Sign in',
    html`<h1>Sign in</h1>
      <p>to continue to <strong>${client}</strong></p>
      ${error === null ? '' : html`<p class="alert" role="alert">${error}</p>`}
      <form method="post" action="${action}">
        <label
          >Email
          <input
            name="email"
            type="text"
            inputmode="email"
            autocomplete="username"
            autocapitalize="none"
            spellcheck="false"
            required
            autofocus
            value="${email}"
        /></label>
        <label
          >Password <input name="password" type="password" autocomplete="current-password" required
        /></label>
        <div class="actions"><button type="submit">Sign in</button></div>
      </form>
      <p class="soft">
        Acme is a sample company. Sign in as alice@acme.test, bob@acme.test or carol@acme.test; the password
        is demo1234.
      </p>`,
  );
}

/** What the consent page shows. */
export interface ConsentPage {
  readonly action: string;
  readonly client: string;
  readonly user: User;
  /** What the client asks for, in words. */
  readonly wishes: readonly string[];
  /** Where the browser goes next. */
  readonly returnsTo: string;
  /** Starts again with another account. */
  readonly switchAccount: string;
}

/** The consent page. */
export function consentPage({ action, client, user, wishes, returnsTo, switchAccount }: ConsentPage): string {
  const { host, protocol } = new URL(returnsTo);
  return page(
    'Allow access',
    html`<h1>Allow ${client} to use your Acme account?</h1>
      <p class="soft">
        Signed in as ${user.name} (${user.email}). <a href="${switchAccount}">Use another account</a>
      </p>
      <p>${client} asks to:</p>
      <ul>
        ${wishes.map((wish) => html`<li>${wish}</li> `)}
      </ul>
      <form method="post" action="${action}">
        <div class="actions">
          <button type="submit" name="decision" value="allow">Allow</button>
          <button type="submit" name="decision" value="deny" class="plain">Deny</button>
        </div>
      </form>
      <p class="soft">You will be sent back to ${host === '' ? protocol : host}.</p>`,
  );
}

/** A page that says what went wrong; `code` is the OAuth error code. */
export function errorPage(message: string, code: string): string {
  return page(
    'Something went wrong',
    html`<h1>This did not work</h1>
      <p class="alert" role="alert">${message}</p>
      <p class="soft">
        Error code: ${code}. Go back to the application that sent you here and start again.
      </p>`,
  );
}
