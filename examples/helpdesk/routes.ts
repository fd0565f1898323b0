import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Provider } from 'oidc-provider/lib/provider.js';
import { bearerCheck } from './bearer.ts';
import { methodNotAllowed, Refusal, replyJson } from './reply.ts';
import { signIn } from './sign-in.ts';
import { ticketsApi } from './tickets-api.ts';
import type { Tickets } from './tickets.ts';
import type { TokenEndpoint } from './token-endpoint.ts';

/** Serves one request. Rejects with a `Refusal` where it will not, with any other error where it fails. */
export type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

interface Parts {
  /** The host and port that requests must be for. */
  readonly authority: string;
  readonly provider: Provider;
  /** The provider's own request handler. */
  readonly oauth: Handler;
  readonly token: TokenEndpoint;
  readonly tickets: Tickets;
}

const providerPaths =
  /^\/(?:authorize(?:\/[^/]+)?|register|revoke|userinfo|jwks|session\/end\/confirm|\.well-known\/[^/]+)$/;

/** Who serves which path. */
export function createRoutes({ authority, provider, oauth, token, tickets }: Parts): Handler {
  const check = bearerCheck(provider);
  return async (request, response) => {
    const { method = '', url = '' } = request;
    const [path, search] = splitOnce(url, '?');
    if (path === '/health') {
      if (method !== 'GET' && method !== 'HEAD') throw methodNotAllowed(method, ['GET', 'HEAD']);
      return replyJson(response, 200, { status: 'ok', service: 'acme-helpdesk' });
    }
    if (request.headers.host?.toLowerCase() !== authority) {
      throw new Refusal(
        421,
        'misdirected_request',
        `This is ${authority}, and the request asks for another host.`,
      );
    }
    if (path === '/.well-known/oauth-protected-resource') {
      if (method !== 'GET' && method !== 'HEAD') throw methodNotAllowed(method, ['GET', 'HEAD']);
      return replyJson(response, 200, protectedResource(`https://${authority}`));
    }
    if (path === '/token' && method !== 'POST') throw methodNotAllowed(method, ['POST']);
    if (path === '/token') return token.handle(request, response);
    if (providerPaths.test(path)) return oauth(request, response);
    if (path.startsWith('/interaction/')) return signIn(provider, request, response);
    if (path === '/tickets' || path.startsWith('/tickets/')) {
      return ticketsApi(tickets, check, request, response, { path, query: new URLSearchParams(search) });
    }
    throw new Refusal(404, 'not_found', `There is nothing at ${path}.`);
  };
}

/** RFC 9728: where the tokens for the tickets API come from, and what they can be asked for. */
function protectedResource(origin: string): Readonly<Record<string, unknown>> {
  return {
    resource: `${origin}/`,
    authorization_servers: [origin],
    scopes_supported: ['read:tickets', 'write:tickets'],
    bearer_methods_supported: ['header'],
    resource_name: 'Acme Helpdesk',
  };
}

function splitOnce(text: string, separator: string): [before: string, after: string] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
