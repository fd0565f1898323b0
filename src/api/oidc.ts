import type { HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { getCookie, setCookie } from 'hono/cookie';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { dirname } from 'node:path';
import { z } from 'zod';
import type { OidcConfig } from '../config/oidc.ts';
import { readSecret } from '../config/secret-reference.ts';
import { SidekeyError } from '../lib/errors.ts';
import { markup, renderPage } from '../lib/html.ts';
import { untrusted } from '../lib/text.ts';
import { createOpenId, type OpenIdClient } from '../oauth/open-id.ts';
import { bodyOf, checked, jsonOf } from './body.ts';
import { addressOf } from './caller.ts';
import { cookieName } from './connect/consent.ts';
import { personOf } from './oidc-person.ts';
import type { ServiceParts } from './parts.ts';
import { assertSameOrigin, createWebSessions } from './web-session.ts';

/**
 * Sign-in at the issuer of `admin.oidc`. The state of a sign-in is sealed in a cookie of the browser that begins it, so that
 * nobody can fill the store, and no other browser can end it.
 */

type Call = Context<{ Bindings: HttpBindings }>;

const path = '/sign-in/oidc/callback';
/** Milliseconds for a sign-in. */
const flowMs = 600_000;
const sealContext = 'oidc-sign-in';

const begun = z.strictObject({
  issuer: z.string(),
  clientId: z.string(),
  returnTo: z.string(),
  endsAt: z.number(),
  flow: z.strictObject({ state: z.string(), nonce: z.string(), codeVerifier: z.string() }),
});

const request = z.strictObject({ return_to: z.string().max(1_024) });

/** Returns the routes of the sign-in. */
export function oidcSignIn(parts: ServiceParts): Hono<{ Bindings: HttpBindings }> {
  const { vault, now, url } = parts;
  const app = new Hono<{ Bindings: HttpBindings }>();
  const sessions = createWebSessions(parts);
  const openId = createOpenId({
    now,
    io: async () => ({
      fetch: parts.fetch(),
      signal: AbortSignal.timeout((await parts.config()).limits.refresh_timeout),
    }),
  });
  const clientOf = ({ issuer, clientId, scopes }: OidcConfig): OpenIdClient => ({
    issuer,
    clientId,
    scopes,
    redirectUri: url() + path,
  });

  app.get('/sign-in/oidc', async (context) => {
    const { oidc } = (await parts.config()).admin;
    return context.json({ issuer: oidc?.issuer ?? null });
  });

  app.post('/sign-in/oidc', async (context) => {
    const { req } = context;
    assertSameOrigin(req.raw.headers, 'POST');
    const body = checked(request, jsonOf(await bodyOf(req.raw)), 'body') as z.output<typeof request>;
    const { oidc } = (await parts.config()).admin;
    if (oidc === null) throw new SidekeyError('not_found', 'The config file has no admin.oidc.');
    if (req.header('origin') !== new URL(url()).origin) {
      // The answer of the issuer would come to a host that does not have the cookie.
      throw new SidekeyError('authority_mismatch', `Sign in at ${url()}.`, { hint: `open ${url()}` });
    }
    const client = clientOf(oidc);
    const { url: location, flow } = await openId.begin(client);
    const { issuer, clientId } = client;
    const kept: z.output<typeof begun> = {
      issuer,
      clientId,
      flow,
      returnTo: ownPath(body.return_to, url()),
      endsAt: now() + flowMs,
    };
    await vault.refresh();
    const sealed = Buffer.from(vault.seal(sealContext, Buffer.from(JSON.stringify(kept))));
    setCookie(context, cookieName(flow.state, parts, 'sign-in'), sealed.toString('base64url'), {
      path: '/',
      httpOnly: true,
      // The issuer sends the browser back from another site.
      sameSite: 'Lax',
      secure: url().startsWith('https:'),
      maxAge: flowMs / 1_000,
    });
    return context.json({ url: location });
  });

  app.get(path, async (context) => {
    const { searchParams: parameters } = new URL(context.req.url);
    const kept = await takeBegun(context, parameters);
    const config = await parts.config();
    const { oidc } = config.admin;
    if (oidc === null || kept?.issuer !== oidc.issuer || kept.clientId !== oidc.clientId) {
      throw new SidekeyError('bad_request', 'No sign-in waits for this answer in this browser.', {
        hint: 'begin again, and finish in the same browser within 10 minutes',
      });
    }
    const secretOptions = { env: parts.env, cwd: dirname(config.file), where: 'admin.oidc.client_secret' };
    const clientSecret = oidc.clientSecret && (await readSecret(oidc.clientSecret, secretOptions));
    const named = [oidc.name, ...oidc.roles.flatMap(([, holders]) => Object.keys(holders))];
    const needed = named.includes('email') ? [...named, 'email_verified'] : named;
    const callback = { flow: kept.flow, parameters, clientSecret, needed };
    const claims = await openId.finish(clientOf(oidc), callback);
    const person = await personOf(claims, oidc, addressOf(context.env), parts);
    await sessions.end(context.req.raw.headers);
    const reason = `at ${new URL(oidc.issuer).host}`;
    await parts.audit.append({ event: 'person.signed_in', by: person.name, reason });
    context.header('set-cookie', await sessions.begin(person), { append: true });
    // A redirect would count as one of the issuer, and the browser would not send the new cookie with it.
    context.header('refresh', `0;url=${kept.returnTo}`);
    return pageOf(context, 200, `You are signed in as ${person.name}`, [
      markup`<a href="${kept.returnTo}">Continue</a>`,
    ]);
  });

  /** Returns what this browser began; null: nothing, or it took too long. It is used up. */
  async function takeBegun(context: Call, parameters: URLSearchParams) {
    const name = cookieName(parameters.get('state') ?? '', parts, 'sign-in');
    const sealed = getCookie(context, name);
    if (sealed === undefined) return null;
    setCookie(context, name, '', { path: '/', maxAge: 0, secure: name.startsWith('__Host-') });
    await vault.refresh();
    try {
      const text = vault.open(sealContext, Buffer.from(sealed, 'base64url')).toString('utf8');
      const kept = begun.parse(JSON.parse(text));
      return kept.endsAt > now() ? kept : null;
    } catch {
      return null;
    }
  }

  app.onError((error, context) => {
    if (context.req.path !== path) throw error;
    const failure = error instanceof SidekeyError ? error : new SidekeyError('internal');
    parts.log.warn({ err: error, code: failure.code }, 'a sign-in at the issuer of admin.oidc was refused');
    return pageOf(context, failure.status, 'You are not signed in', [
      untrusted(failure.message),
      `→ ${untrusted(failure.hint)} (${failure.code})`,
      markup`<a href="/">Back</a>`,
    ]);
  });
  return app;
}

/** Returns a path of this service in its normal form; any other text leads to the first page, not to another site. */
function ownPath(text: string, base: string): string {
  const own = URL.parse(text, base);
  const isOwn = own?.origin === new URL(base).origin && text === own.pathname + own.search + own.hash;
  return isOwn && !text.startsWith('//') ? text : '/';
}

function pageOf(
  context: Call,
  status: number,
  title: string,
  parts: readonly Parameters<typeof markup>[1][],
): Response {
  const body = markup`${parts.map((part) => markup`<p>${part}</p>`)}`;
  const kind = status === 200 ? 'done' : 'failed';
  const page = renderPage({ kind, from: 'Sidekey', title, body }, status);
  return context.body(page.body, status as ContentfulStatusCode, page.headers);
}
