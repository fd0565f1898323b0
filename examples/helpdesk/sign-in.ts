import type { IncomingMessage, ServerResponse } from 'node:http';
import { SessionNotFound } from 'oidc-provider/lib/helpers/errors.js';
import type { Interaction, Provider } from 'oidc-provider/lib/provider.js';
import { maxBodyBytes, readForm } from './body.ts';
import { consentPage, errorPage, loginPage, pageHeaders } from './pages.ts';
import { scopes } from './provider.ts';
import { bodyTooLarge, methodNotAllowed, replyHtml } from './reply.ts';
import { authenticate, findUser } from './users.ts';

/**
 * The pages between the authorization request and its answer: who are you, and do you allow this?
 * `GET /interaction/ID` shows the page that is due, `POST /interaction/ID` takes its form. The provider's
 * cookie ties the interaction to one browser; SameSite=Lax keeps other sites from posting to it.
 */
export async function signIn(
  provider: Provider,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const method = request.method ?? '';
  if (!['GET', 'HEAD', 'POST'].includes(method)) throw methodNotAllowed(method, ['GET', 'HEAD', 'POST']);
  const form = method === 'POST' ? await readForm(request) : undefined;
  if (form === null) throw bodyTooLarge(maxBodyBytes);

  let interaction: Interaction;
  try {
    interaction = await provider.interactionDetails(request, response);
  } catch (error) {
    if (!(error instanceof SessionNotFound)) throw error;
    const page = errorPage(
      'This sign-in has ended, or it was started in another browser.',
      'session_not_found',
    );
    replyHtml(response, 400, page, pageHeaders());
    return;
  }

  if (interaction.prompt.name === 'login') {
    await login(provider, interaction, form, request, response);
  } else {
    await consent(provider, interaction, form, request, response);
  }
}

async function login(
  provider: Provider,
  interaction: Interaction,
  form: URLSearchParams | undefined,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let error: string | null = null;
  if (form !== undefined) {
    const user = await authenticate(form.get('email') ?? '', form.get('password') ?? '');
    if (user !== null) {
      const result = { login: { accountId: user.id } };
      await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
      return;
    }
    error = 'The email address or the password is wrong.';
  }
  const page = loginPage({
    action: `/interaction/${interaction.uid}`,
    client: await clientName(provider, interaction),
    email: form?.get('email') ?? interaction.params['login_hint'] ?? '',
    error,
  });
  replyHtml(response, error === null ? 200 : 422, page, pageHeaders(interaction.params['redirect_uri']));
}

async function consent(
  provider: Provider,
  interaction: Interaction,
  form: URLSearchParams | undefined,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { params } = interaction;
  const user = findUser(interaction.session?.accountId ?? '');
  const clientId = params['client_id'];
  const returnsTo = params['redirect_uri'];
  if (user === undefined || clientId === undefined || returnsTo === undefined) {
    throw new Error('The provider asks for consent without a user, a client or a redirect URI.');
  }
  const asked = (params['scope'] ?? '').split(' ').filter((scope) => Object.hasOwn(scopes, scope));

  switch (form?.get('decision')) {
    case 'allow': {
      const grant = new provider.Grant({ accountId: user.id, clientId });
      grant.addOIDCScope(asked.join(' '));
      const result = { consent: { grantId: await grant.save() } };
      await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
      return;
    }
    case 'deny': {
      const result = { error: 'access_denied', error_description: 'The person denied the request.' };
      await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
      return;
    }
    default: {
      const page = consentPage({
        action: `/interaction/${interaction.uid}`,
        client: await clientName(provider, interaction),
        user,
        wishes: asked.map((scope) => scopes[scope] ?? scope),
        returnsTo,
        switchAccount: `/authorize?${new URLSearchParams({ ...definedOnly(params), prompt: 'login consent' }).toString()}`,
      });
      replyHtml(response, 200, page, pageHeaders(returnsTo));
    }
  }
}

async function clientName(provider: Provider, { params }: Interaction): Promise<string> {
  const client = await provider.Client.find(params['client_id'] ?? '');
  return client?.clientName ?? params['client_id'] ?? 'an application';
}

function definedOnly(params: Interaction['params']): Record<string, string> {
  const entries = Object.entries(params).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return Object.fromEntries(entries);
}
