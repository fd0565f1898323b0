/** Ways of token endpoints to answer a refresh, found in reports about other clients, and what follows. */

/** One answer of the endpoint. */
export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Absent: new tokens, and the refresh token that was sent is used up. */
  readonly error?: Readonly<Record<string, unknown>>;
  /** Milliseconds between the use of the refresh token and the answer. `refresh_timeout` is 3 s. */
  readonly afterMs?: number;
}

export interface TransportCase {
  readonly name: string;
  /**
   * Answers to the requests of the first refresh, in order; then new tokens. `{origin}` is the endpoint's.
   */
  readonly answers: readonly Answer[];
  /** Scopes of the grant; default: `read write`. */
  readonly scope?: string;
  /** Members of the provider definition. */
  readonly provider?: Readonly<Record<string, unknown>>;
  /** Parameters besides the usual ones, and paths other than `/token`, of each request of both refreshes. */
  readonly requests: readonly Readonly<Record<string, string>>[];
  /** Refusal of the first refresh; absent: both refreshes get new tokens. */
  readonly refused?: { readonly message: string; readonly hint: string };
}

const refusal = (error: string, error_description?: string): Answer => ({
  status: 400,
  error: { error, ...(error_description === undefined ? {} : { error_description }) },
});
const redirect = (status: number, location?: string): Answer => ({
  status,
  error: {},
  headers: location === undefined ? {} : { location },
});

const scope = { scope: 'read write' };
const resource = { resource: 'https://mcp.acme.test/mcp' };
const withResource = { dialect: { authorization_parameters: resource } };
const otherScopes = 'ask for other scopes: the provider "desk"';
const client = 'check client_id, client_secret and token_endpoint of the provider "desk"';
const moved = (address: string) =>
  `where that is the right address: set providers.desk.token_endpoint to ${address}`;

export const transportCases: readonly TransportCase[] = [
  { name: 'in time', answers: [], requests: [{}, {}] },
  { name: 'after refresh_timeout', answers: [{ afterMs: 3_600 }], requests: [{}, {}] },

  // Scopes. https://github.com/AzureAD/microsoft-authentication-library-for-js/issues/5198
  {
    name: 'AADSTS90009 of Entra',
    answers: [
      refusal(
        'invalid_request',
        "AADSTS90009: Application 'a'(b) is requesting a token for itself. This scenario is supported only if resource is specified using the GUID based App Identifier.",
      ),
    ],
    provider: withResource,
    requests: [{}, scope, scope],
  },
  {
    name: 'AADSTS900144 of Entra for scope',
    answers: [
      refusal(
        'invalid_request',
        "AADSTS900144: The request body must contain the following parameter: 'scope'.",
      ),
    ],
    requests: [{}, scope, scope],
  },
  {
    name: 'AADSTS900144 of Entra for resource',
    answers: [
      refusal(
        'invalid_request',
        "AADSTS900144: The request body must contain the following parameter: 'resource'.",
      ),
    ],
    provider: withResource,
    requests: [{}, resource, resource],
  },
  {
    name: 'AADSTS90014 of Entra',
    answers: [
      refusal('invalid_request', "AADSTS90014: The required field 'scope' is missing from the credential."),
    ],
    requests: [{}, scope, scope],
  },
  {
    name: 'AADSTS70011 of Entra',
    answers: [
      refusal('invalid_scope', "AADSTS70011: The provided request must include a 'scope' input parameter."),
    ],
    requests: [{}, scope, scope],
  },
  {
    name: 'invalid_scope without a description',
    answers: [refusal('invalid_scope')],
    requests: [{}, scope, scope],
  },
  {
    name: 'invalid_request without a description',
    answers: [refusal('invalid_request')],
    requests: [{}, scope, scope],
  },
  {
    name: 'a code of its own for a missing scope',
    answers: [refusal('missing_scope', 'scope is required')],
    requests: [{}, scope, scope],
  },
  {
    name: 'the error of a framework for a missing scope',
    answers: [
      { status: 400, error: { error: 'Bad Request', message: "Required parameter 'scope' is not present." } },
    ],
    requests: [{}, scope, scope],
  },
  {
    name: 'a missing scope, to a provider with another separator and name of scopes',
    answers: [refusal('invalid_request', 'Missing parameter: scope')],
    provider: { dialect: { scope_separator: ',', scope_parameter: 'user_scope' } },
    requests: [{}, { user_scope: 'read,write' }, { user_scope: 'read,write' }],
  },

  // Resources: RFC 8707, AD FS, Entra v1.
  {
    name: 'invalid_target (RFC 8707)',
    answers: [refusal('invalid_target')],
    provider: withResource,
    requests: [{}, resource, resource],
  },
  {
    name: 'a missing resource, where the consent had none',
    answers: [refusal('invalid_target', 'resource parameter is required')],
    requests: [{}, { resource: '{origin}' }, { resource: '{origin}' }],
  },
  {
    name: 'MSIS9601 of AD FS',
    answers: [refusal('invalid_request', "MSIS9601: The 'resource' parameter is missing in the request.")],
    provider: withResource,
    requests: [{}, resource, resource],
  },
  {
    name: 'ACS50001 of Entra',
    answers: [refusal('invalid_request', "ACS50001: The required field 'resource' is missing.")],
    provider: withResource,
    requests: [{}, resource, resource],
  },
  {
    name: 'a missing scope, then a missing resource',
    answers: [
      refusal('invalid_scope', 'scope is required'),
      refusal('invalid_target', 'resource is required'),
    ],
    provider: withResource,
    requests: [{}, scope, { ...scope, ...resource }, { ...scope, ...resource }],
  },

  // Refusals that stay as they are.
  {
    name: 'a missing scope, although it was sent',
    answers: [refusal('invalid_scope', 'no'), refusal('invalid_scope', 'not that scope')],
    requests: [{}, scope],
    refused: {
      message: 'the provider refused the refresh with invalid_scope: not that scope',
      hint: otherScopes,
    },
  },
  {
    name: 'a missing scope, to a grant without known scopes',
    answers: [refusal('invalid_request', 'scope is required')],
    scope: '',
    requests: [{}],
    refused: {
      message: 'the provider refused the refresh with invalid_request: scope is required',
      hint: otherScopes,
    },
  },
  {
    name: 'another missing parameter',
    answers: [refusal('invalid_request', 'client_id is required')],
    requests: [{}],
    refused: { message: 'invalid_request: client_id is required', hint: client },
  },
  {
    name: 'invalid_grant that names the scope, as the refresh token may be used up',
    answers: [refusal('invalid_grant', 'the scope has changed')],
    requests: [{}],
    refused: { message: 'needs a new consent', hint: 'sidekey grant import desk' },
  },
  {
    name: 'invalid_client that names the scope',
    answers: [refusal('invalid_client', 'this client has no scope')],
    requests: [{}],
    refused: { message: 'invalid_client: this client has no scope', hint: client },
  },

  // Redirects. https://github.com/freelawproject/courtlistener/issues/7927
  ...[307, 308].map((status) => ({
    name: `a ${status} within the origin`,
    answers: [redirect(status, '/o/token/?tenant=1')],
    requests: [{}, { path: '/o/token/?tenant=1' }, {}],
  })),
  {
    name: 'a 308 with a whole address and a fragment',
    answers: [redirect(308, '{origin}/token/#top')],
    requests: [{}, { path: '/token/' }, {}],
  },
  ...[301, 302, 303].map((status) => ({
    name: `a ${status} within the origin, which would become a GET`,
    answers: [redirect(status, '/token/?code=secret-of-acme#part')],
    requests: [{}],
    refused: {
      message: `endpoint_moved: the token endpoint answered with a redirect (HTTP ${status}) to {origin}/token/.`,
      hint: moved('{origin}/token/'),
    },
  })),
  ...[307, 308].map((status) => ({
    name: `a ${status} to another origin`,
    answers: [redirect(status, 'https://user:secret-of-acme@auth.acme.test/token?key=secret-of-acme')],
    requests: [{}],
    refused: {
      message: `a redirect (HTTP ${status}) to https://auth.acme.test/token.`,
      hint: moved('https://auth.acme.test/token'),
    },
  })),
  {
    name: 'a second redirect',
    answers: [redirect(307, '/one'), redirect(307, '/two')],
    requests: [{}, { path: '/one' }],
    refused: { message: 'a redirect (HTTP 307) to {origin}/two.', hint: moved('{origin}/two') },
  },
  {
    name: 'a redirect to itself',
    answers: [redirect(308, ''), redirect(308, '/token')],
    requests: [{}, {}],
    refused: { message: 'a redirect (HTTP 308) to {origin}/token.', hint: moved('{origin}/token') },
  },
  {
    name: 'a redirect out of TLS',
    answers: [redirect(308, 'http://api.acme.test/token')],
    requests: [{}],
    refused: { message: 'to http://api.acme.test/token.', hint: 'check providers.desk.token_endpoint' },
  },
  {
    name: 'a redirect that quotes the refresh token in its path',
    answers: [redirect(302, '/login/refresh-0-of-acme')],
    requests: [{}],
    refused: { message: 'to {origin}/login/[redacted].', hint: 'check providers.desk.token_endpoint' },
  },
  {
    name: 'a redirect without an address',
    answers: [redirect(302)],
    requests: [{}],
    refused: {
      message: 'a redirect (HTTP 302) without an address',
      hint: 'check providers.desk.token_endpoint',
    },
  },
  {
    name: 'a redirect at the separate endpoint for refreshes',
    answers: [redirect(301, '/refresh/')],
    provider: { dialect: { refresh_endpoint: '{origin}/refresh' } },
    requests: [{ path: '/refresh' }],
    refused: {
      message: 'a redirect (HTTP 301) to {origin}/refresh/.',
      hint: 'set providers.desk.dialect.refresh_endpoint to {origin}/refresh/',
    },
  },
];
