import type { AuthenticationResponseJSON } from '@simplewebauthn/server';
import type { HttpBindings } from '@hono/node-server';
import type { Hono } from 'hono';
import { z } from 'zod';
import { SidekeyError } from '../lib/errors.ts';
import { markup, type PageAnswer, renderPage } from '../lib/html.ts';
import { asTyped } from '../lib/log.ts';
import { bodyOf, checked, jsonOf } from './body.ts';
import { addressOf, signInFailure } from './caller.ts';
import { exchangeLoginCode } from './login.ts';
import type { ServiceParts } from './parts.ts';
import { createPasskeys } from './passkeys.ts';
import { assertSameOrigin, createWebSessions, takeSignInLink } from './web-session.ts';

/** `AuthenticationResponseJSON` of WebAuthn level 3. */
const assertion = z.looseObject({ id: z.string(), response: z.looseObject({ clientDataJSON: z.string() }) });

const loginCode = z.strictObject({ code: z.string().max(128), verifier: z.string().max(128) });

/**
 * Pages that sign people in and out. A link is used up by a `POST` alone, because programs that forward links open them.
 *
 * @param app the service, whose other routes are independent of these
 */
export function addSignIn(
  app: Pick<Hono<{ Bindings: HttpBindings }>, 'get' | 'post'>,
  parts: ServiceParts,
): void {
  const { audit } = parts;
  const sessions = createWebSessions(parts);
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
      const hint = 'use another one, or a link: sidekey person link NAME';
      const error = new SidekeyError('api_auth_required', 'This passkey signs nobody in here.', { hint });
      throw signInFailure(addressOf(env), parts, error);
    }
    await sessions.end(headers);
    await audit.append({ event: 'person.signed_in', by: person.name, reason: 'by a passkey' });
    return new Response(null, {
      status: 204,
      headers: { 'set-cookie': await sessions.begin(person) },
    });
  });

  app.post('/sign-in/login', async ({ req, env }) => {
    const given = checked(loginCode, jsonOf(await bodyOf(req.raw)), 'body') as z.output<typeof loginCode>;
    const key = await exchangeLoginCode(given, addressOf(env), parts);
    if (key !== null) return Response.json(key, { status: 201 });
    const error = new SidekeyError('api_auth_required', 'This code is not valid any more.', {
      hint: 'run the command again: sidekey login',
    });
    throw signInFailure(addressOf(env), parts, error);
  });

  app.get('/sign-in/:link', () =>
    pageOf('asks', 200, 'Sign in to Sidekey', [
      'This link works once. Sign in only if you asked for it.',
      markup`<form method="post"><button><b>Sign in</b></button></form>`,
    ]),
  );

  app.post('/sign-in/:link', async ({ req }) => {
    // Otherwise a page could sign a person in as somebody else.
    assertSameOrigin(req.raw.headers, 'POST');
    const person = await takeSignInLink(parts, req.param('link'));
    if (person === null) {
      return pageOf('failed', 410, 'This link is not valid any more', [
        'It was used before, or is older than 10 minutes.',
        markup`For a new one: <code>${asTyped('sidekey person link NAME')}</code>`,
      ]);
    }
    await sessions.end(req.raw.headers);
    await audit.append({ event: 'person.signed_in', by: person.name, reason: 'by a link' });
    return redirected('/', await sessions.begin(person));
  });

  app.post('/sign-out', async ({ req }) => {
    const signedIn = await sessions.personOf(req.raw.headers, 'POST');
    const cookie = await sessions.end(req.raw.headers);
    if (signedIn !== null) await audit.append({ event: 'person.signed_out', by: signedIn.person.name });
    return redirected('/', cookie);
  });
}

function redirected(to: string, cookie: string): Response {
  return new Response(null, { status: 303, headers: { location: to, 'set-cookie': cookie } });
}

function pageOf(
  kind: 'asks' | 'failed',
  status: number,
  title: string,
  parts: readonly Parameters<typeof markup>[1][],
): Response {
  const body = markup`${parts.map((part) => markup`<p>${part}</p>`)}`;
  const answer: PageAnswer = renderPage({ kind, from: 'Sidekey', title, body }, status);
  // See `guards` of the service.
  const headers = { ...answer.headers, 'referrer-policy': 'same-origin' };
  return new Response(answer.body, { status: answer.status, headers });
}
