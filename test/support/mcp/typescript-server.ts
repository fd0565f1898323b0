import { randomUUID } from 'node:crypto';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createMcpExpressApp } from '@modelcontextprotocol/sdk/server/express.js';
import { InvalidGrantError, InvalidTokenError } from '@modelcontextprotocol/sdk/server/auth/errors.js';
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import type {
  AuthorizationParams,
  OAuthServerProvider,
} from '@modelcontextprotocol/sdk/server/auth/provider.js';
import {
  getOAuthProtectedResourceMetadataUrl,
  mcpAuthRouter,
} from '@modelcontextprotocol/sdk/server/auth/router.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { OAuthClientInformationFull, OAuthTokens } from '@modelcontextprotocol/sdk/shared/auth.js';
import { startUpstream } from '../upstream.ts';

interface McpOptions {
  /** Default: true. */
  readonly givesRefreshTokens?: boolean;
}

/** A request with the body that Express parsed. */
interface ParsedRequest extends IncomingMessage {
  readonly body?: { readonly method?: string; readonly params?: { readonly name?: string } };
}

/**
 * Starts an MCP server of the TypeScript SDK at `/mcp`, with its own authorization, behind TLS. The tool
 * `look` needs the scope `read`, and `change` needs `write`. A person consents by opening the address.
 */
export async function startTypescriptMcp(options: McpOptions = {}) {
  const later = Promise.withResolvers<RequestListener>();
  const upstream = await startUpstream((request, response) => {
    void later.promise.then((listener) => listener(request, response));
  });
  const resource = new URL(`${upstream.url}/mcp`);
  const authorization = memoryProvider(options);
  const app = createMcpExpressApp({ host: upstream.authority, allowedHosts: ['api.acme.test'] });
  app.use(
    mcpAuthRouter({
      provider: authorization.provider,
      issuerUrl: new URL(upstream.url),
      scopesSupported: ['read', 'write'],
      resourceServerUrl: resource,
    }),
  );
  const guard = (scope: string) =>
    requireBearerAuth({
      verifier: authorization.provider,
      requiredScopes: [scope],
      resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(resource),
      expectedResource: resource,
    });
  const [reading, writing] = [guard('read'), guard('write')];
  app.all('/mcp', (request: ParsedRequest, response: ServerResponse, next: () => void) =>
    (request.body?.params?.name === 'change' ? writing : reading)(request, response, next),
  );
  app.post('/mcp', (request: ParsedRequest, response: ServerResponse) => void serve(request, response));
  later.resolve(app as RequestListener);
  return { upstream, asked: authorization.asked };
}

interface Issued {
  readonly clientId: string;
  readonly scopes: string[];
  readonly resource: URL | undefined;
}

/** The part of the authorization that the SDK leaves to each server, in memory. */
function memoryProvider({ givesRefreshTokens = true }: McpOptions) {
  const clients = new Map<string, OAuthClientInformationFull>();
  const codes = new Map<string, AuthorizationParams>();
  const issued = new Map<string, Issued>();
  /** `resource` of every authorization and token request. */
  const asked: (string | undefined)[] = [];
  const tokens = (client: OAuthClientInformationFull, scopes: string[], resource?: URL): OAuthTokens => {
    asked.push(resource?.href);
    const [access, refresh] = [randomUUID(), randomUUID()];
    for (const token of [access, refresh])
      issued.set(token, { clientId: client.client_id, scopes, resource });
    return {
      access_token: access,
      token_type: 'Bearer',
      expires_in: 3600,
      scope: scopes.join(' '),
      ...(givesRefreshTokens ? { refresh_token: refresh } : {}),
    };
  };
  const provider: OAuthServerProvider = {
    clientsStore: {
      getClient: (id) => clients.get(id),
      registerClient(client) {
        const full = { ...client, client_id: randomUUID() };
        clients.set(full.client_id, full);
        return full;
      },
    },
    async authorize(_client, parameters, response) {
      const code = randomUUID();
      codes.set(code, parameters);
      asked.push(parameters.resource?.href);
      const back = new URL(parameters.redirectUri);
      back.searchParams.set('code', code);
      if (parameters.state !== undefined) back.searchParams.set('state', parameters.state);
      response.redirect(back.href);
    },
    async challengeForAuthorizationCode(_client, code) {
      return codes.get(code)?.codeChallenge ?? '';
    },
    async exchangeAuthorizationCode(client, code, _verifier, _redirectUri, resource) {
      return tokens(client, take(codes, code).scopes ?? [], resource);
    },
    async exchangeRefreshToken(client, token, scopes, resource) {
      return tokens(client, scopes ?? take(issued, token).scopes, resource);
    },
    async verifyAccessToken(token) {
      const found = issued.get(token);
      if (found === undefined) throw new InvalidTokenError('unknown');
      const expiresAt = Math.floor(Date.now() / 1000) + 3600;
      return {
        token,
        clientId: found.clientId,
        scopes: found.scopes,
        expiresAt,
        ...(found.resource && { resource: found.resource }),
      };
    },
  };
  return { provider, asked };
}

function take<T>(kept: Map<string, T>, key: string): T {
  const found = kept.get(key);
  if (found === undefined || !kept.delete(key)) throw new InvalidGrantError('it was used, or never given');
  return found;
}

async function serve(request: ParsedRequest, response: ServerResponse): Promise<void> {
  const server = new McpServer({ name: 'desk', version: '1.0.0' });
  for (const name of ['look', 'change'])
    server.registerTool(name, {}, () => ({ content: [{ type: 'text', text: `${name}: done` }] }));
  const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
  await server.connect(transport);
  await transport.handleRequest(request, response, request.body);
}
