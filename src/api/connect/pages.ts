import type { HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { randomBytes } from 'node:crypto';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { defaultUser } from '../../domain/grant.ts';
import { caughtFailure, SidekeyError } from '../../lib/errors.ts';
import { markup, type Page, renderPage, scriptValue } from '../../lib/html.ts';
import { packageRoot, packageText } from '../../lib/package-files.ts';
import { untrusted } from '../../lib/text.ts';
import { addressOf } from '../caller.ts';
import type { ServiceParts } from '../parts.ts';
import { clientDocument, clientDocumentPath } from '../../operations/connect/client-document.ts';
import { assertOwnBrowser, beginConsent, connectBySignIn, type Finished, finishConsent } from './consent.ts';
import { type ConnectSession, endSession, failedEnd, isBySignIn, providerOf, recordsOf } from './sessions.ts';
import { publicJwk, signResult } from './signature.ts';

/** Pages of connect sessions: the link with its button, the callback of providers, and the result. */

type Call = Context<{ Bindings: HttpBindings }>;

/** Seconds for which a signed result is valid. */
const resultS = 300;

/** Returns the script of the library that opens a session in a popup. */
function connectScript(): string {
  return import.meta.url.endsWith('.ts')
    ? stripTypeScriptTypes(packageText(join(packageRoot, 'src', 'sdk', 'connect', 'connect.ts')))
    : packageText(join(packageRoot, 'dist', 'connect', 'connect.js'));
}

export function connectPages(parts: ServiceParts): Hono<{ Bindings: HttpBindings }> {
  const app = new Hono<{ Bindings: HttpBindings }>();
  let script: string | undefined;
  app.get('/connect/jwks.json', (context) => context.json({ keys: [publicJwk(parts.vault)] }));
  app.get(clientDocumentPath, (context) => {
    const document = clientDocument(parts.url());
    if (document === null) return context.notFound();
    return context.json(document, 200, { 'cache-control': 'public, max-age=300' });
  });
  app.get('/connect.js', (context) =>
    context.body((script ??= connectScript()), 200, {
      'content-type': 'text/javascript; charset=utf-8',
      'cache-control': 'no-cache',
      'access-control-allow-origin': '*',
      'cross-origin-resource-policy': 'cross-origin',
    }),
  );
  app.get('/connect/callback', callbackPage);
  app.post('/connect/callback', (context) => callback(context, parts));
  // A GET changes nothing: mail scanners open links too.
  app.get('/connect/:token', async (context) => {
    const session = await recordsOf(parts).links.get(context.req.param('token'));
    return session === null ? usedPage(context) : linkPage(context, session, parts);
  });
  app.post('/connect/:token', (context) => begin(context, parts));
  app.onError((error, context) => {
    if (!(error instanceof SidekeyError))
      parts.log.error({ err: error }, 'a page of a connect session failed');
    const failure = error instanceof SidekeyError ? error : new SidekeyError('internal');
    return failedPage(context, 'This did not work', failure.message, failure.status);
  });
  return app;
}

/** Uses up a link: begins the consent in this browser, or ends the session. */
async function begin(context: Call, parts: ServiceParts): Promise<Response> {
  const { req } = context;
  // A page of another origin must not press the button: it would connect its visitor's account.
  if (req.header('sec-fetch-site') !== 'same-origin') {
    return failedPage(context, 'Open the link again', 'The button counts only on the page of the link.', 403);
  }
  const { answer, browser, signed_in: signedIn } = await req.parseBody();
  if (answer !== 'no' && !isBrowserSecret(browser)) {
    const says = 'The page of the link needs JavaScript, and the storage of this browser.';
    return failedPage(context, 'Open the link again', says, 400);
  }
  const token = req.param('token') ?? '';
  const { links } = recordsOf(parts);
  const asked = answer === 'no' ? null : await links.get(token);
  const isSignIn = asked !== null && isBySignIn(await providerOf(asked.provider, parts));
  if (isSignIn) await assertOwnBrowser(asked, signedIn, parts);
  const session = await links.take(token);
  if (session === null) return usedPage(context);
  const fail = async (error: SidekeyError) =>
    endPage(context, { session, end: await endSession(session, failedEnd(error), parts) }, parts);
  if (!isBrowserSecret(browser) || answer === 'no')
    return fail(new SidekeyError('consent_declined', 'You said no; nothing was connected.'));
  if (isSignIn) {
    const done = await connectBySignIn(session, addressOf(context.env), parts).catch(caughtFailure);
    return done instanceof SidekeyError ? fail(done) : endPage(context, done, parts);
  }
  const url = await beginConsent(session, browser, addressOf(context.env), parts).catch(caughtFailure);
  return url instanceof SidekeyError ? fail(url) : context.redirect(url, 303);
}

/**
 * Secret of a browser, in the storage of this origin. Binds a consent to the browser that began it. A cookie
 * would go to every port of the host, and a server on another port could set it.
 */
const browserItem = 'sidekey-browser';

function isBrowserSecret(value: unknown): value is string {
  return typeof value === 'string' && /^[\w-]{43}$/.test(value);
}

/** Returns the script that writes the browser's secret into the form. The first form creates the secret. */
function browserScript(): string {
  const secret = scriptValue(randomBytes(32).toString('base64url'));
  return `document.querySelector('[name=browser]').value = localStorage['${browserItem}'] ??= ${secret};`;
}

/** Writes the secret of the person's session into the form. The pages store it under this name. */
const signedInScript = `document.querySelector('[name=signed_in]').value = localStorage['sidekey-session'] ?? '';`;

/** Returns the page for a provider's response. It forwards the response with the secret of the browser. */
function callbackPage(context: Call): Response {
  const body = markup`<form method="post"><input type="hidden" name="browser"></form>
    <p>This page goes on by itself. It needs JavaScript.</p>`;
  const script = `${browserScript()} document.forms[0].submit();`;
  // The next page may report to the page that opened this popup.
  return pageOf(context, { kind: 'asks', title: 'One moment', body, script, keepsOpener: true });
}

async function callback(context: Call, parts: ServiceParts): Promise<Response> {
  const { searchParams: parameters } = new URL(context.req.url);
  const { browser } = await context.req.parseBody();
  const finished = isBrowserSecret(browser)
    ? await finishConsent(parameters, browser, addressOf(context.env), parts)
    : null;
  if (finished !== null) return endPage(context, finished, parts);
  const says =
    'It was begun in another browser, is answered already, or took too long. Nothing was connected.';
  return failedPage(context, 'No consent waits for this answer', says, 400);
}

const style = `
ul { margin: 0 0 .75rem; padding-left: 1.2rem; }
li span { color: var(--soft); }
form { display: flex; gap: .6rem; margin: 1.25rem 0; flex-wrap: wrap; }
button { padding: .55rem .9rem; border: 1px solid var(--line); border-radius: .4rem; background: var(--ground); color: inherit; font: inherit; cursor: pointer; }
button[value=yes] { background: #1a7f4b; border-color: #1a7f4b; color: #fff; }
button:hover, button:focus-visible { border-color: var(--ink); }
button:focus-visible { outline: 2px solid var(--ink); outline-offset: 2px; }
`;

async function linkPage(context: Call, session: ConnectSession, parts: ServiceParts): Promise<Response> {
  const provider = await providerOf(session.provider, parts);
  const { title, knownScopes, name } = provider;
  const isSignIn = isBySignIn(provider);
  const { scopes, user, by, returnUrl } = session;
  const items = scopes.map((scope) => {
    const what = knownScopes.find((known) => known.name === scope)?.what;
    return markup`<li>${untrusted(scope)}${what === undefined ? [] : [markup` <span>${what}</span>`]}</li>`;
  });
  const asked = items.length === 0 ? [] : [markup`<p>It asks for:</p><ul>${items}</ul>`];
  const back = returnUrl === null ? [] : [markup` Then you return to <b>${new URL(returnUrl).host}</b>.`];
  const whose = user === defaultUser ? [] : [markup` as the user <b>${untrusted(user)}</b>`];
  const body = markup`<p>${untrusted(by.replace(/^key /, ''))} asks to use your account at ${title} (${name})${whose}.${back}</p>
    ${asked}
    <form method="post">
      <input type="hidden" name="browser">${isSignIn ? [markup`<input type="hidden" name="signed_in">`] : []}
      <button name="answer" value="yes">${isSignIn ? 'Connect' : 'Continue to'} ${title}</button>
      <button name="answer" value="no">No</button>
    </form>
    <p>Continue only if you began this yourself: who sent you the link gets the use of your account.</p>`;
  // A provider that recognizes the person redirects the browser back at once.
  const formTargets = ['https:', ...(returnUrl === null ? [] : [new URL(returnUrl).origin])];
  const script = browserScript() + (isSignIn ? signedInScript : '');
  const keepsOpener = session.popupOrigin !== null;
  const page = { title: `Connect ${title}?`, body, style, script, formTargets, keepsOpener };
  return pageOf(context, { kind: 'asks', ...page });
}

/** Returns the last page of a session. It reports to the opener of a popup, or sends the browser back. */
async function endPage(context: Call, { session, end }: Finished, parts: ServiceParts): Promise<Response> {
  const { id, returnUrl, popupOrigin, user, provider, name } = session;
  const isConnected = 'grantId' in end;
  const outcome = isConnected
    ? { status: 'connected', grant_id: end.grantId }
    : { status: 'failed', error: end.error.code };
  const iat = Math.floor(parts.now() / 1_000);
  const facts = { iss: parts.url(), session: id, user, provider, ...outcome, iat, exp: iat + resultS };
  /** Signs the result for one receiver, so that no other can use it. */
  const signatureFor = (aud: string) => signResult(parts.vault, { ...facts, aud });
  const back = returnUrl === null ? null : new URL(returnUrl);
  const { status: _status, ...shown } = outcome;
  if (back !== null) {
    const signature = signatureFor(back.origin);
    for (const [key, value] of Object.entries({ session: id, ...shown, signature }))
      back.searchParams.set(key, value);
  }
  const { title } = await providerOf(provider, parts).catch(() => ({ title: provider }));
  const link = back === null ? [] : [markup`<p><a href="${back.href}">Back to ${back.host}</a></p>`];
  const says = isConnected
    ? markup`<p>The grant is called ${untrusted(name)}.</p>`
    : markup`<p>${untrusted(end.error.detail)} (${end.error.code})</p>`;
  const result: Omit<Page, 'from'> = {
    kind: isConnected ? 'done' : 'failed',
    title: isConnected ? `${title} is connected` : `${title} is not connected`,
    body: markup`${says}${link}<p>You may close this window.</p>`,
  };
  if (popupOrigin === null) {
    // No redirect: browsers apply the form-action of the provider's page to all redirects of its form.
    if (back !== null) context.header('refresh', `0;url=${back.href}`);
    return pageOf(context, result);
  }
  const message = {
    type: 'sidekey.connect',
    session: id,
    ...outcome,
    ...(isConnected ? {} : { detail: end.error.detail }),
    signature: signatureFor(popupOrigin),
  };
  const told = `opener.postMessage(${scriptValue(message)}, ${scriptValue(popupOrigin)}); close();`;
  const otherwise = back === null ? '' : ` else location.replace(${scriptValue(back.href)});`;
  const script = `if (opener) { ${told} }${otherwise}`;
  return pageOf(context, { ...result, script, keepsOpener: true });
}

function usedPage(context: Call): Response {
  const says = 'A link works once, for 15 minutes. Ask whoever sent it for a new one.';
  return failedPage(context, 'This link is used or too old', says, 410);
}

function failedPage(context: Call, title: string, says: string, status: number): Response {
  return pageOf(context, { kind: 'failed', title, body: markup`<p>${untrusted(says)}</p>` }, status);
}

function pageOf(context: Call, page: Omit<Page, 'from'>, status = 200): Response {
  const { headers, body } = renderPage({ ...page, from: 'Sidekey' }, status);
  return context.body(body, status as ContentfulStatusCode, headers);
}
