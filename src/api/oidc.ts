import type { HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import { dirname } from 'node:path';
import { z } from 'zod';
import type { OidcConfig } from '../config/admin.ts';
import { readSecret } from '../config/secret-reference.ts';
import { SidekeyError } from '../lib/errors.ts';
import { keepSignIn } from '../operations/kept-sign-in.ts';
import { createOpenId, type OpenIdClient } from '../grants/oauth/open-id.ts';
import { bodyOf, checked, jsonOf } from './body.ts';
import { addressOf } from './caller.ts';
import { personOf } from './oidc-person.ts';
import type { ServiceParts } from './parts.ts';
import { assertSameOrigin, signIn } from './web-session.ts';

/**
 * Sign-in at the issuer of `admin.oidc`. The page keeps the sealed state of a sign-in in the storage of its
 * origin, so nobody can fill the store of Sidekey, and no other browser can complete the sign-in.
 */

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

/** The query of the callback, and the stored state of the page. */
const answer = z.strictObject({ parameters: z.string().max(65_536), flow: z.string().max(16_384) });

/** Returns the routes of the sign-in. */
export function oidcSignIn(parts: ServiceParts): Hono<{ Bindings: HttpBindings }> {
  const { vault, now, url } = parts;
  const app = new Hono<{ Bindings: HttpBindings }>();
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
    return context.json({ issuer: oidc?.issuer ?? null, keeps: (oidc?.keepSignInMs ?? null) !== null });
  });

  app.post('/sign-in/oidc', async (context) => {
    const { req } = context;
    assertSameOrigin(req.raw.headers, 'POST');
    const body = checked(request, jsonOf(await bodyOf(req.raw)), 'body') as z.output<typeof request>;
    const { oidc } = (await parts.config()).admin;
    if (oidc === null)
      throw new SidekeyError('not_found', 'The config file has no admin.oidc.', {
        hint: 'sign in with a passkey or a link of the operator, who can set admin.oidc (docs/sign-in.md)',
      });
    if (req.header('origin') !== new URL(url()).origin) {
      // The issuer's response would go to an origin without the state.
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
    return context.json({ url: location, flow: sealed.toString('base64url') });
  });

  app.post(path, async (context) => {
    const { headers } = context.req.raw;
    assertSameOrigin(headers, 'POST');
    const body = checked(answer, jsonOf(await bodyOf(context.req.raw)), 'body') as z.output<typeof answer>;
    const kept = await begunOf(body.flow);
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
    const parameters = new URLSearchParams(body.parameters);
    const callback = { flow: kept.flow, parameters, clientSecret, needed };
    const signedIn = await openId.finish(clientOf(oidc), callback);
    const person = await personOf(signedIn.claims, oidc, addressOf(context.env), parts);
    await keepSignIn(signedIn, person, { ...parts, config });
    const session = await signIn(person, `at ${new URL(oidc.issuer).host}`, headers, parts);
    return context.json({ session, return_to: kept.returnTo });
  });

  /** Returns the state of a sign-in; null if it is invalid, or if the sign-in took too long. */
  async function begunOf(sealed: string) {
    await vault.refresh();
    try {
      const text = vault.open(sealContext, Buffer.from(sealed, 'base64url')).toString('utf8');
      const kept = begun.parse(JSON.parse(text));
      return kept.endsAt > now() ? kept : null;
    } catch {
      return null;
    }
  }

  app.onError((error, { req }) => {
    const { code } = error instanceof SidekeyError ? error : new SidekeyError('internal');
    if (req.path === path)
      parts.log.warn({ err: error, code }, 'a sign-in at the issuer of admin.oidc was refused');
    throw error;
  });
  return app;
}

/** Returns a path of this service in its normal form; the first page if the text leads elsewhere. */
function ownPath(text: string, base: string): string {
  const own = URL.parse(text, base);
  const isOwn = own?.origin === new URL(base).origin && text === own.pathname + own.search + own.hash;
  return isOwn && !text.startsWith('//') ? text : '/';
}
