import type { AuthenticationResponseJSON } from '@simplewebauthn/server';
import type { HttpBindings } from '@hono/node-server';
import type { Hono, HonoRequest } from 'hono';
import { z } from 'zod';
import { SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { bodyOf, checked, jsonOf } from './body.ts';
import { addressOf, signInFailure } from './caller.ts';
import { exchangeLoginCode } from './login.ts';
import type { ServiceParts } from './parts.ts';
import { createPasskeys } from './passkeys.ts';
import { type LinkKind, takeSignInLink } from '../operations/sign-in-link.ts';
import { assertSameOrigin, createWebSessions, signIn } from './web-session.ts';

/** `AuthenticationResponseJSON` of WebAuthn level 3. */
const assertion = z.looseObject({ id: z.string(), response: z.looseObject({ clientDataJSON: z.string() }) });

const openLink = z.strictObject({ secret: z.string().max(128) });

/** Words for links of a kind: the reason of the audit event, the time that it is valid, and the next step. */
const linkWords = {
  'sign-in': { how: 'by a link', life: '10 minutes', again: remedy('person.link', { person: null }) },
  open: { how: 'by sidekey open', life: 'a minute', again: remedy('open') },
} as const;

const loginCode = z.strictObject({ code: z.string().max(128), verifier: z.string().max(128) });

/**
 * Signs people in and out. The response body gives the page's own script the secret of a session. Only a
 * `POST` uses up a link, because programs that forward links open them.
 *
 * @param app the service, whose other routes are independent of these
 */
export function addSignIn(app: Pick<Hono<{ Bindings: HttpBindings }>, 'post'>, parts: ServiceParts): void {
  const passkeys = createPasskeys(parts);

  app.post('/sign-in/passkey/options', async ({ req }) => {
    const { headers } = req.raw;
    assertSameOrigin(headers, 'POST');
    return Response.json(await passkeys.requestOptions(headers.get('origin')));
  });

  app.post('/sign-in/passkey', async ({ req, env }) => {
    const { headers } = req.raw;
    assertSameOrigin(headers, 'POST');
    const answer = checked(assertion, jsonOf(await bodyOf(req.raw)), 'body') as AuthenticationResponseJSON;
    const person = await passkeys.personOf(headers.get('origin'), answer);
    if (person === null) {
      const hint = hintOf`use another one, or a link: ${remedy('person.link', { person: null })}`;
      const error = new SidekeyError('api_auth_required', 'This passkey signs nobody in here.', { hint });
      throw signInFailure(addressOf(env), parts, error);
    }
    return Response.json({ session: await signIn(person, 'by a passkey', headers, parts) });
  });

  app.post('/sign-in/login', async ({ req, env }) => {
    const given = checked(loginCode, jsonOf(await bodyOf(req.raw)), 'body') as z.output<typeof loginCode>;
    const key = await exchangeLoginCode(given, addressOf(env), parts);
    if (key !== null) return Response.json(key, { status: 201 });
    const error = new SidekeyError('api_auth_required', 'This code is not valid any more.', {
      hint: hintOf`run the command again: ${remedy('login')}`,
    });
    throw signInFailure(addressOf(env), parts, error);
  });

  const byLink = async (
    { raw }: Pick<HonoRequest, 'raw'>,
    env: HttpBindings,
    kind: LinkKind,
    secret: string,
  ) => {
    const person = await takeSignInLink(parts, secret, kind);
    const { how, life, again } = linkWords[kind];
    if (person !== null) return Response.json({ session: await signIn(person, how, raw.headers, parts) });
    const message = `This link was used before, or is older than ${life}.`;
    const error = new SidekeyError('api_auth_required', message, { hint: hintOf`for a new one: ${again}` });
    throw signInFailure(addressOf(env), parts, error);
  };

  // The page sends the secret in the body: addresses appear in logs of reverse proxies.
  app.post('/sign-in/open', async ({ req, env }) => {
    assertSameOrigin(req.raw.headers, 'POST');
    const { secret } = checked(openLink, jsonOf(await bodyOf(req.raw)), 'body') as z.output<typeof openLink>;
    return byLink(req, env, 'open', secret);
  });

  app.post('/sign-in/:link', async ({ req, env }) => {
    assertSameOrigin(req.raw.headers, 'POST');
    return byLink(req, env, 'sign-in', req.param('link'));
  });

  app.post('/sign-out', async ({ req }) => {
    const { headers } = req.raw;
    assertSameOrigin(headers, 'POST');
    const person = await createWebSessions(parts).end(headers);
    if (person !== null) await parts.audit.append({ event: 'person.signed_out', by: person.name });
    return new Response(null, { status: 204 });
  });
}
