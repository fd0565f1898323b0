import type { IncomingMessage, ServerResponse } from 'node:http';
import { startOidcProvider } from '../oidc-provider.ts';
import { startUpstream } from '../upstream.ts';

/**
 * Starts an API at `/mcp` whose challenge names an authorization server by others (oidc-provider), which
 * gives a refresh token only for `offline_access` with `prompt=consent`. Opening a consent page gives
 * consent.
 */
export async function startApiWithLogin() {
  const tokens: string[] = [];
  const api = await startUpstream((request, response) => {
    const { authorization = '' } = request.headers;
    const metadata = { resource: `${api.url}/mcp`, authorization_servers: [login.upstream.url] };
    if (request.url === '/.well-known/oauth-protected-resource/mcp') {
      response.setHeader('content-type', 'application/json').end(JSON.stringify(metadata));
      return;
    }
    tokens.push(authorization);
    if (authorization !== '') return void response.end('{}');
    const where = `${api.url}/.well-known/oauth-protected-resource/mcp`;
    response
      .writeHead(401, { 'www-authenticate': `Bearer scope="read", resource_metadata="${where}"` })
      .end();
  });
  const login = await startOidcProvider({
    settings: {
      features: {
        registration: { enabled: true },
        resourceIndicators: {
          enabled: true,
          getResourceServerInfo: (_context: unknown, audience: string) => ({
            audience,
            scope: 'read',
            accessTokenFormat: 'opaque',
          }),
          useGrantedResource: () => true,
        },
      },
      scopes: ['openid', 'offline_access', 'read'],
      clientAuthMethods: ['none'],
      ttl: {
        AccessToken: 300,
        AuthorizationCode: 60,
        Grant: 3_600,
        IdToken: 300,
        Interaction: 600,
        RefreshToken: 3_600,
        Session: 600,
      },
    },
    serve(request, response, pass) {
      if (request.url?.startsWith('/interaction/') === true) void consent(request, response);
      else pass();
    },
  });
  const consent = async (request: IncomingMessage, response: ServerResponse) => {
    const { params } = await login.provider.interactionDetails(request, response);
    const given = new login.provider.Grant({ accountId: 'alice', clientId: String(params['client_id']) });
    given.addOIDCScope('openid offline_access read');
    given.addResourceScope(`${api.url}/mcp`, 'read');
    const result = { login: { accountId: 'alice' }, consent: { grantId: await given.save() } };
    await login.provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  };
  return { api, login: login.upstream, tokens };
}
