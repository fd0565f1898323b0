/** Failures of a token endpoint, each with the hint of a consent and of a refresh. */

const client = /check client_id, client_secret and \w+ of the provider "acme"/;
const scopes = /^ask for other scopes: /;
const lookUp = /^its documentation explains /;

export interface FailureCase {
  readonly cause: string;
  /** Response of the endpoint, or the error of the connection. */
  readonly answer: () => Response;
  /** Hint of a consent. */
  readonly consent: RegExp;
  /** Hint of a refresh; absent: the failure may pass, so it is tried again. */
  readonly refresh?: RegExp;
}

const refusal = (error: string, description?: string) => () =>
  Response.json({ error, error_description: description }, { status: 400 });
const same = (hint: RegExp) => ({ consent: hint, refresh: hint });
const tokens = { access_token: 'the-access-token', token_type: 'Bearer' };
const redirect = (location: string) => () => new Response(null, { status: 302, headers: { location } });

export const failureCases: readonly FailureCase[] = [
  ...[
    'invalid_client',
    'incorrect_client_credentials',
    'bad_client_secret',
    'deleted_client',
    'unauthorized',
  ].map((error) => ({ cause: error, answer: refusal(error), ...same(client) })),
  {
    cause: 'invalid_request that names the client',
    answer: refusal('invalid_request', 'Missing parameter: client_secret'),
    ...same(client),
  },
  ...['invalid_scope', 'insufficient_scope', 'missing_scope'].map((error) => ({
    cause: error,
    answer: refusal(error),
    ...same(scopes),
  })),
  {
    cause: 'invalid_request that names the scope',
    answer: refusal('invalid_request', 'scope is required'),
    ...same(scopes),
  },
  ...['unauthorized_client', 'unsupported_grant_type'].map((error) => ({
    cause: error,
    answer: refusal(error),
    ...same(/^let the client of the provider "acme" use this flow/),
  })),
  {
    cause: 'invalid_target',
    answer: refusal('invalid_target'),
    ...same(/^check the API that the tokens are for/),
  },
  {
    cause: 'redirect_uri_mismatch',
    answer: refusal('redirect_uri_mismatch'),
    ...same(/^register the redirect URI/),
  },
  {
    cause: 'a redirect URI that the provider does not know (Slack)',
    answer: refusal('bad_redirect_uri'),
    ...same(/^register the redirect URI/),
  },
  { cause: 'invalid_dpop_proof', answer: refusal('invalid_dpop_proof'), ...same(/^check that the clock/) },
  ...['access_denied', 'org_internal', 'admin_policy_enforced'].map((error) => ({
    cause: error,
    answer: refusal(error),
    ...same(/administrator/),
  })),
  { cause: 'a code that only the provider explains', answer: refusal('E4711'), ...same(lookUp) },
  {
    cause: 'invalid_request without a description',
    answer: refusal('invalid_request'),
    ...same(/^check what the provider "acme" demands of the request/),
  },
  {
    cause: 'a code that was used (GitHub)',
    answer: refusal('bad_verification_code'),
    consent: /^a code is good once/,
    refresh: lookUp,
  },
  {
    cause: 'invalid_grant',
    answer: refusal('invalid_grant'),
    consent: /^a code is good once/,
    refresh: /new one/,
  },
  {
    cause: 'a token of another type',
    answer: () => Response.json({ ...tokens, token_type: 'mac' }),
    ...same(/add "mac" to providers\.acme\.dialect\.token_response\.token_types/),
  },
  {
    cause: 'a token that no field can have',
    answer: () => Response.json({ ...tokens, access_token: 'a\nb' }),
    ...same(/^tell the operator of the provider/),
  },
  {
    cause: 'a new refresh token, and no access token',
    answer: () => Response.json({ refresh_token: 'next' }),
    ...same(/^set providers\.acme\.dialect\.token_response\.access_token/),
  },
  {
    cause: 'a redirect',
    answer: redirect('https://other.test/token'),
    ...same(/set providers\.acme\.token_endpoint to https:\/\/other\.test\/token/),
  },
  {
    cause: 'a redirect to plain http',
    answer: redirect('http://other.test/token'),
    ...same(/^check providers\.acme\.token_endpoint/),
  },
  {
    cause: 'a page instead of JSON',
    answer: () => new Response('<html>Not found</html>', { status: 404 }),
    consent: /^check providers\.acme\.token_endpoint; if it is right, try again later/,
  },
  {
    cause: 'JSON without an OAuth error',
    answer: () => Response.json({ message: 'This code has been used.' }, { status: 400 }),
    consent: /^see what the provider says/,
  },
  { cause: 'a server error', answer: () => new Response('', { status: 503 }), consent: /^try again later/ },
];
