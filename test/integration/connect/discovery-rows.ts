/**
 * Table of servers, mostly from issues of MCP clients: the answers of the API and of the login server, and
 * the outcome of `connect https://…`. `from` names the issue. `$api` and `$login` are the origins.
 */

/** A response; a plain object is a JSON document with status 200. */
export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Responses by path, or by method and path. Anything else gets a page with status 404. */
type Answers = Readonly<Record<string, Answer | Readonly<Record<string, unknown>>>>;

export interface DiscoveryRow {
  readonly name: string;
  readonly from?: string;
  /** Default: `/mcp`. */
  readonly path?: string;
  readonly api: Answers;
  /** Default: a good server. */
  readonly login?: Answers;
  /** `--issuer` */
  readonly issuer?: string;
  readonly finds?: Readonly<Record<string, unknown>>;
  readonly refuses?: { readonly code: string; readonly says: readonly string[]; readonly hint?: string };
}

const wellKnown = '/.well-known/oauth-protected-resource';
const oauthServer = '/.well-known/oauth-authorization-server';
const openId = '/.well-known/openid-configuration';

export const resource = {
  resource: '$api/mcp',
  authorization_servers: ['$login'],
  scopes_supported: ['read', 'write'],
};

export const server = {
  issuer: '$login',
  authorization_endpoint: '$login/authorize',
  token_endpoint: '$login/token',
  registration_endpoint: '$login/register',
  code_challenge_methods_supported: ['S256'],
};

const json = { 'content-type': 'application/json' };
const challenge = (...fields: readonly string[]) => ({
  status: 401,
  headers: { 'www-authenticate': fields.join(', ') },
});
const of = (document: object, headers: Readonly<Record<string, string>>) => ({
  headers,
  body: JSON.stringify(document),
});
const page = { status: 200, headers: { 'content-type': 'text/html' }, body: '<!doctype html>' };
const without = (object: object, ...names: readonly string[]) =>
  Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));

/** The API has the document in the usual place. */
const described = { [`${wellKnown}/mcp`]: resource };

/** Rows about the metadata of the API (RFC 9728). */
const resources: readonly DiscoveryRow[] = [
  {
    name: 'a document at the path of the address',
    api: described,
    finds: { resource: '$api/mcp', scopes: ['read', 'write'], issuer: '$login' },
  },
  {
    name: 'a document that only the challenge of GET names',
    api: { '/mcp': challenge('Bearer resource_metadata="$api/elsewhere"'), '/elsewhere': resource },
    finds: { resource: '$api/mcp' },
  },
  {
    name: 'a challenge that only answers POST',
    from: 'ganhammar/hass-mcp-server#71: GET is answered with 405',
    api: {
      'GET /mcp': { status: 405 },
      'POST /mcp': challenge('Bearer resource_metadata="$api/elsewhere", scope="run"'),
      '/elsewhere': resource,
      [wellKnown]: { ...resource, authorization_servers: ['https://another.example'] },
    },
    finds: { resource: '$api/mcp', issuer: '$login', scopes: ['run'], knownScopes: ['run', 'read', 'write'] },
  },
  {
    name: 'several challenges with quoted commas',
    from: 'RFC 9110 §11.6.1',
    api: {
      '/mcp': challenge(
        'Basic realm="a, Bearer resource_metadata=\\"$api/wrong\\""',
        'Bearer error="invalid_token", error_description="no, \\"never\\"", resource_metadata="$api/elsewhere"',
      ),
      '/elsewhere': resource,
    },
    finds: { resource: '$api/mcp' },
  },
  {
    name: 'a challenge whose address has no quotes',
    api: { '/mcp': challenge('Bearer resource_metadata=$api/elsewhere, scope=run'), '/elsewhere': resource },
    finds: { resource: '$api/mcp', scopes: ['run'] },
  },
  {
    name: 'a challenge whose address has no host',
    api: { '/mcp': challenge('Bearer resource_metadata="/elsewhere"'), '/elsewhere': resource },
    finds: { resource: '$api/mcp' },
  },
  {
    name: 'a challenge with http, behind a server that ends TLS',
    from: 'andrea-magni/MARS#203',
    api: { '/mcp': challenge('Bearer resource_metadata="http://$api/elsewhere"'), ...described },
    finds: { resource: '$api/mcp' },
  },
  {
    name: 'a challenge that leads nowhere',
    from: 'zed-industries/zed#53502: /mcp/mcp',
    api: { '/mcp': challenge(`Bearer resource_metadata="$api${wellKnown}/mcp/mcp"`), ...described },
    finds: { resource: '$api/mcp' },
  },
  {
    name: 'an MCP server that answers without a token, and describes a login',
    api: { '/mcp': { headers: json, body: '{}' }, ...described },
    finds: { resource: '$api/mcp' },
  },
  {
    name: 'an event stream without an end in answer to GET',
    api: { 'GET /mcp': { headers: { 'content-type': 'text/event-stream' }, body: '$open' }, ...described },
    finds: { resource: '$api/mcp' },
  },
  {
    name: 'an address that redirects to its own path with a slash',
    api: {
      '/mcp': { status: 307, headers: { location: '/mcp/' } },
      '/mcp/': challenge('Bearer resource_metadata="$api/elsewhere"'),
      '/elsewhere': { ...resource, resource: '$api/mcp/' },
    },
    finds: { resource: '$api/mcp/' },
  },
  {
    name: 'an address that redirects to the documentation for people',
    from: 'Cloudgeni-ai/opengeni#847: mcp.linear.app',
    path: '/',
    api: {
      '/': { status: 302, headers: { location: '$login/docs' } },
      [wellKnown]: { ...resource, resource: '$api' },
    },
    finds: { resource: '$api' },
  },
  {
    name: 'a root document of exactly the typed address',
    from: 'archestra-ai/archestra#7246',
    api: { [wellKnown]: resource },
    finds: { resource: '$api/mcp' },
  },
  {
    name: 'a root document of the whole API',
    from: 'agentconnect-md/agentconnect#2119: mcp.frontapp.com',
    api: {
      '/mcp': challenge(`Bearer resource_metadata="$api${wellKnown}"`),
      [wellKnown]: { ...resource, resource: '$api' },
    },
    finds: { resource: '$api' },
  },
  {
    name: 'a status other than 404 at the path, and a root document',
    from: 'modelcontextprotocol/typescript-sdk#2783: 401',
    api: { [`${wellKnown}/mcp`]: { status: 401, headers: json, body: '{}' }, [wellKnown]: resource },
    finds: { resource: '$api/mcp' },
  },
  {
    name: 'a page for people with status 200 at the path, and a root document',
    from: 'outline/outline#11572',
    api: { [`${wellKnown}/mcp`]: page, [wellKnown]: resource },
    finds: { resource: '$api/mcp' },
  },
  {
    name: 'a root document of another plugin, and a good one at the path',
    from: 'msrbuilds/elementor-mcp#130',
    api: {
      '/mcp': challenge(`Bearer resource_metadata="$api${wellKnown}"`),
      [wellKnown]: { ...resource, resource: '$api/other' },
      ...described,
    },
    finds: { resource: '$api/mcp' },
  },
  {
    name: 'an identifier with a slash that the address has not',
    from: 'PrimeIntellect-ai/prime-agent#1591',
    api: { [`${wellKnown}/mcp`]: { ...resource, resource: '$api/mcp/' } },
    finds: { resource: '$api/mcp/' },
  },
  {
    name: 'an address with a slash that the identifier has not',
    from: 'modelcontextprotocol/typescript-sdk#2422',
    path: '/mcp/',
    api: described,
    finds: { resource: '$api/mcp' },
  },
  {
    name: 'an address with a query',
    path: '/mcp?tenant=a',
    api: { [`${wellKnown}/mcp?tenant=a`]: { ...resource, resource: '$api/mcp?tenant=a' } },
    finds: { resource: '$api/mcp?tenant=a' },
  },
  {
    name: 'a document as text, with a byte order mark',
    api: { [`${wellKnown}/mcp`]: { headers: { 'content-type': 'text/plain' }, body: '$bom$resource' } },
    finds: { resource: '$api/mcp' },
  },
  {
    name: 'texts in the place of lists',
    api: {
      [`${wellKnown}/mcp`]: {
        ...resource,
        authorization_servers: '$login',
        scopes_supported: 'read write',
      },
    },
    finds: { issuer: '$login', scopes: ['read', 'write'] },
  },
  {
    name: 'a document that another place has',
    api: {
      [`${wellKnown}/mcp`]: { status: 308, headers: { location: '$login/published' } },
    },
    login: { '/published': resource, [oauthServer]: server },
    finds: { resource: '$api/mcp' },
  },
  {
    name: 'a document that redirects to http',
    api: { [`${wellKnown}/mcp`]: { status: 302, headers: { location: 'http://api.acme.test/' } } },
    refuses: { code: 'not_found', says: ['$api says nothing about how to log in'], hint: '--issuer ISSUER' },
  },
  {
    name: 'a document that redirects without an end',
    api: { [`${wellKnown}/mcp`]: { status: 302, headers: { location: `${wellKnown}/mcp` } } },
    refuses: { code: 'not_found', says: ['says nothing'] },
  },
  {
    name: 'an API that answers without a login',
    api: { 'POST /mcp': { headers: json, body: '{}' } },
    refuses: { code: 'not_found', says: ['says nothing'], hint: 'sidekey domain tunnel api.acme.test' },
  },
  {
    name: 'a document of another path',
    from: 'exa-labs/exa-mcp-server#387',
    path: '/mcp/oauth',
    api: { [`${wellKnown}/mcp/oauth`]: resource },
    refuses: {
      code: 'provider_refused',
      says: ['the resource $api/mcp ', 'instead of $api/mcp/oauth.'],
      hint: 'sidekey connect $api/mcp',
    },
  },
  {
    name: 'a document of the whole host, from a part of it',
    from: 'RFC 9728 §7.3: a tenant would get tokens for all',
    api: {
      '/mcp': challenge('Bearer resource_metadata="$api/mcp/doc"'),
      '/mcp/doc': { ...resource, resource: '$api' },
    },
    refuses: { code: 'provider_refused', says: ['the resource $api/ ', 'instead of $api/mcp.'] },
  },
  {
    name: 'a document of a path that only begins alike',
    path: '/mcp2',
    api: { '/mcp2': challenge(`Bearer resource_metadata="$api${wellKnown}/mcp"`), ...described },
    refuses: { code: 'provider_refused', says: ['the resource $api/mcp ', 'instead of $api/mcp2.'] },
  },
  {
    name: 'a document of another host',
    from: 'RFC 9728 §7.3',
    api: { [`${wellKnown}/mcp`]: { ...resource, resource: 'https://bank.example/' } },
    refuses: { code: 'provider_refused', says: ['https://bank.example/', 'instead of $api/mcp.'] },
  },
  {
    name: 'a document with http, behind a server that ends TLS',
    from: 'mesh/mesh-mcp#20',
    api: { [`${wellKnown}/mcp`]: { ...resource, resource: 'http://mcp.me.sh/mcp' } },
    refuses: { code: 'provider_refused', says: ['a value that is not an https URL instead of $api/mcp'] },
  },
  {
    name: 'a document without an identifier',
    from: 'modelcontextprotocol/inspector#1288',
    api: { [`${wellKnown}/mcp`]: without(resource, 'resource') },
    refuses: { code: 'provider_refused', says: ['the resource none instead of $api/mcp'] },
  },
  {
    name: 'a login server with http',
    from: 'mesh/mesh-mcp#19',
    api: { [`${wellKnown}/mcp`]: { ...resource, authorization_servers: ['http://login.example'] } },
    refuses: { code: 'provider_refused', says: ['its authorization server is not an https URL'] },
  },
  {
    name: 'a place that is down',
    api: { [`${wellKnown}/mcp`]: { status: 503 } },
    refuses: { code: 'upstream_unreachable', says: ['HTTP 503'] },
  },
  {
    name: 'a document over the limit',
    api: { [`${wellKnown}/mcp`]: { ...resource, filler: 'x'.repeat(300_000) } },
    refuses: { code: 'provider_refused', says: ['larger than 256 KiB'] },
  },
];

/** Rows about the metadata of the login server (RFC 8414, OpenID Connect Discovery 1.0). */
const servers: readonly DiscoveryRow[] = [
  ...[`${oauthServer}/t`, `${openId}/t`, `/t${openId}`, `/t${oauthServer}`].map((place) => ({
    name: `a server with a path, at ${place}`,
    from: 'MCP 2025-11-25, authorization server metadata discovery; the last: many servers',
    api: { [`${wellKnown}/mcp`]: { ...resource, authorization_servers: ['$login/t'] } },
    login: { [place]: { ...server, issuer: '$login/t' } },
    finds: { issuer: '$login/t' },
  })),
  {
    name: 'a server that has only OpenID Connect Discovery',
    from: 'modelcontextprotocol/typescript-sdk#616',
    api: described,
    login: { [openId]: server },
    finds: { issuer: '$login' },
  },
  {
    name: 'a page for people before OpenID Connect Discovery',
    from: 'modelcontextprotocol/typescript-sdk#2126',
    api: described,
    login: { [oauthServer]: page, [openId]: server },
    finds: { issuer: '$login' },
  },
  {
    name: 'JSON of another kind before OpenID Connect Discovery',
    api: described,
    login: { [oauthServer]: { error: 'not found' }, [openId]: server },
    finds: { issuer: '$login' },
  },
  {
    name: 'a list in the place of a document',
    api: described,
    login: { [oauthServer]: { headers: json, body: '[1]' } },
    refuses: { code: 'not_found', says: ['$login says nothing'] },
  },
  {
    name: 'an issuer with a slash that the API does not write',
    from: 'modelcontextprotocol/python-sdk#1919; mcp.expo.dev, secure.indeed.com',
    api: described,
    login: { [oauthServer]: { ...server, issuer: '$login/' } },
    finds: { issuer: '$login/' },
  },
  {
    name: 'an issuer without the slash that the API writes',
    from: 'modelcontextprotocol/go-sdk#955: accounts.google.com',
    api: { [`${wellKnown}/mcp`]: { ...resource, authorization_servers: ['$login/'] } },
    finds: { issuer: '$login' },
  },
  {
    name: 'an issuer with a path and a slash',
    from: 'openai/codex#37373',
    api: { [`${wellKnown}/mcp`]: { ...resource, authorization_servers: ['$login/oauth2/'] } },
    login: { [`${oauthServer}/oauth2`]: { ...server, issuer: '$login/oauth2/' } },
    finds: { issuer: '$login/oauth2/' },
  },
  {
    name: 'the address of the document in the place of the issuer',
    api: { [`${wellKnown}/mcp`]: { ...resource, authorization_servers: [`$login${openId}`] } },
    login: { [openId]: server },
    finds: { issuer: '$login' },
  },
  {
    name: 'an old server that is its own login server',
    from: 'MCP 2025-03-26',
    api: { [oauthServer]: { ...server, issuer: '$api' } },
    finds: { issuer: '$api', resource: null },
  },
  {
    name: 'an old server that repeats the document at the path',
    api: {
      [oauthServer]: { ...server, issuer: '$api' },
      [`${oauthServer}/mcp`]: { ...server, issuer: '$api' },
    },
    finds: { issuer: '$api', resource: null },
  },
  {
    name: 'a document of the API that names no login server',
    api: {
      [`${wellKnown}/mcp`]: without(resource, 'authorization_servers'),
      [oauthServer]: { ...server, issuer: '$api' },
    },
    finds: { issuer: '$api', resource: '$api/mcp' },
  },
  {
    name: 'the address of a login server',
    path: '/realms/a',
    api: { [`/realms/a${openId}`]: { ...server, issuer: '$api/realms/a' } },
    finds: { issuer: '$api/realms/a', resource: null },
  },
  {
    name: 'an issuer that is another',
    from: 'login servers behind a domain of the customer; RFC 8414 §3.3',
    api: described,
    login: { [oauthServer]: { ...server, issuer: 'https://tenant.example/' } },
    refuses: {
      code: 'provider_refused',
      says: ['the issuer https://tenant.example/ instead of $login/'],
      hint: 'sidekey connect $api/mcp --issuer https://tenant.example/',
    },
  },
  {
    name: 'an issuer that is another, and trusted',
    api: described,
    login: { [oauthServer]: { ...server, issuer: 'https://tenant.example/' } },
    issuer: 'https://tenant.example',
    finds: { issuer: 'https://tenant.example/', tokenEndpoint: '$login/token' },
  },
  ...['authorization', 'token', 'device_authorization', 'revocation', 'registration'].map((endpoint) => ({
    name: `the ${endpoint} endpoint at another host than the document of a trusted issuer`,
    from: 'RFC 9207: the iss of the trusted server would match',
    api: described,
    login: {
      [oauthServer]: {
        ...server,
        issuer: 'https://tenant.example',
        [`${endpoint}_endpoint`]: 'https://tenant.example/endpoint',
      },
    },
    issuer: 'https://tenant.example',
    refuses: {
      code: 'provider_refused',
      says: ['is not at the issuer https://tenant.example/, and its endpoints are on several hosts'],
    },
  })),
  ...[
    {
      what: 'a challenge that leads',
      api: { '/mcp': challenge('Bearer resource_metadata="https://169.254.169.254/latest"') },
    },
    {
      what: 'a document that redirects',
      api: { [`${wellKnown}/mcp`]: { status: 302, headers: { location: 'https://10.0.0.1/document' } } },
    },
    {
      what: 'a login server that is',
      api: {
        [`${wellKnown}/mcp`]: { ...resource, authorization_servers: ['https://[::ffff:169.254.169.254]'] },
      },
    },
    {
      what: 'a login server that redirects',
      api: described,
      login: { [oauthServer]: { status: 308, headers: { location: 'https://192.168.0.1/document' } } },
    },
  ].map(({ what, ...answers }) => ({
    name: `${what} to a private address`,
    ...answers,
    refuses: { code: 'address_blocked', says: ['address'] },
  })),
  {
    name: 'the eleventh of a list of login servers, which is not asked',
    api: {
      [`${wellKnown}/mcp`]: {
        ...resource,
        authorization_servers: [
          ...Array.from({ length: 10 }, (_, i) => `https://login.acme.test:1/${i}`),
          '$login',
        ],
      },
    },
    issuer: 'https://login.acme.test:1',
    refuses: { code: 'upstream_unreachable', says: ['login.acme.test:1 did not answer'] },
  },
  {
    name: 'an issuer with control characters',
    api: described,
    login: { [oauthServer]: { ...server, issuer: '$login\r\n\u000e' } },
    refuses: { code: 'provider_refused', says: ['the issuer a value that is not an https URL'] },
  },
  {
    name: 'a login server whose path names another host after two slashes',
    api: { [`${wellKnown}/mcp`]: { ...resource, authorization_servers: ['$api//10.0.0.1'] } },
    refuses: { code: 'not_found', says: ['$api says nothing'] },
  },
  {
    name: 'a resource of a hundred thousand characters',
    api: { [`${wellKnown}/mcp`]: { ...resource, resource: `$api/${'a'.repeat(100_000)}` } },
    refuses: {
      code: 'provider_refused',
      says: ['the resource a value that is not an https URL'],
      hint: 'tell its operator',
    },
  },
  {
    name: 'a resource with control characters',
    api: { [`${wellKnown}/mcp`]: { ...resource, resource: '$api/m\ncp\u001b' } },
    refuses: { code: 'provider_refused', says: ['the resource a value that is not an https URL'] },
  },
  {
    name: 'an issuer that is another than the trusted one',
    api: described,
    issuer: 'https://tenant.example',
    refuses: { code: 'provider_refused', says: ['the issuer $login/ instead of https://tenant.example/'] },
  },
  {
    name: 'a good document after one of another issuer',
    api: described,
    login: { [oauthServer]: { ...server, issuer: 'https://tenant.example' }, [openId]: server },
    finds: { issuer: '$login' },
  },
  {
    name: 'a document without an issuer',
    api: described,
    login: { [oauthServer]: without(server, 'issuer') },
    refuses: {
      code: 'provider_refused',
      says: ['the issuer none instead of $login/'],
      hint: 'sidekey connect $api/mcp --issuer $login/',
    },
  },
  {
    name: 'a document without an issuer of a trusted server',
    api: described,
    login: { [oauthServer]: without(server, 'issuer') },
    issuer: '$login',
    finds: { issuer: '$login' },
  },
  {
    name: 'an API that names no login server, and a person who does',
    from: 'BuilderIO/agent-native#5268: mcp-auth.wisprflow.com',
    api: { '/mcp': challenge('Bearer') },
    issuer: '$login',
    finds: { issuer: '$login', resource: null },
  },
  {
    name: 'an issuer that is no https URL',
    api: described,
    issuer: 'http://login.example',
    refuses: { code: 'input_invalid', says: ['--issuer is not an https address'] },
  },
  {
    name: 'several login servers',
    from: 'modelcontextprotocol/modelcontextprotocol#1331',
    api: { [`${wellKnown}/mcp`]: { ...resource, authorization_servers: ['https://one.example', '$login'] } },
    refuses: {
      code: 'input_invalid',
      says: ['several login servers: https://one.example/, $login/'],
      hint: 'sidekey connect $api/mcp --issuer https://one.example/',
    },
  },
  {
    name: 'several login servers, and a chosen one',
    api: { [`${wellKnown}/mcp`]: { ...resource, authorization_servers: ['https://one.example', '$login'] } },
    issuer: '$login/',
    finds: { issuer: '$login' },
  },
  {
    name: 'a document that the login server has elsewhere',
    api: described,
    login: { [oauthServer]: { status: 301, headers: { location: '/moved' } }, '/moved': server },
    finds: { issuer: '$login' },
  },
  {
    name: 'a document with another content type',
    api: described,
    login: { [oauthServer]: of(server, { 'content-type': 'application/octet-stream' }) },
    finds: { issuer: '$login' },
  },
  {
    name: 'no word about PKCE',
    from: 'modelcontextprotocol/typescript-sdk#832: Entra ID, Cognito; csharp-sdk#1700: refuse',
    api: described,
    login: { [oauthServer]: without(server, 'code_challenge_methods_supported') },
    refuses: {
      code: 'provider_refused',
      says: ['does not say that the server checks PKCE'],
      hint: 'sidekey connect $api/mcp --issuer $login',
    },
  },
  {
    name: 'no word about PKCE of a trusted server',
    api: described,
    login: { [oauthServer]: without(server, 'code_challenge_methods_supported') },
    issuer: '$login',
    finds: { issuer: '$login' },
  },
  {
    name: 'no word about PKCE at the first place',
    from: 'modelcontextprotocol/csharp-sdk#1700',
    api: described,
    login: { [oauthServer]: without(server, 'code_challenge_methods_supported'), [openId]: server },
    finds: { issuer: '$login' },
  },
  {
    name: 'only plain PKCE, also of a trusted server',
    from: 'JSONbored/metagraphed#9637',
    api: described,
    login: { [oauthServer]: { ...server, code_challenge_methods_supported: ['plain'] } },
    issuer: '$login',
    refuses: {
      code: 'provider_refused',
      says: ['does not say that the server checks PKCE with S256'],
      hint: 'tell its operator',
    },
  },
  {
    name: 'no word about PKCE where no browser is used',
    api: described,
    login: { [oauthServer]: without(server, 'authorization_endpoint', 'code_challenge_methods_supported') },
    finds: { authorizationEndpoint: null },
  },
  {
    name: 'no token endpoint',
    api: described,
    login: { [oauthServer]: without(server, 'token_endpoint') },
    refuses: { code: 'provider_refused', says: ['it has no token endpoint'] },
  },
  ...['token_endpoint', 'revocation_endpoint', 'device_authorization_endpoint'].flatMap((name) =>
    ['http://login.example/t', 1].map((value) => ({
      name: `an endpoint that is no https URL: ${name} ${value}`,
      api: described,
      login: { [oauthServer]: { ...server, [name]: value } },
      refuses: { code: 'provider_refused', says: [`its ${name} is not an https URL`] },
    })),
  ),
];

/** Rows about scopes. */
const scopes: readonly DiscoveryRow[] = [
  {
    name: 'offline_access of the login server',
    from: 'anthropics/claude-ai-mcp#42, SEP-2207',
    api: described,
    login: { [oauthServer]: { ...server, scopes_supported: ['x', 'offline_access'] } },
    finds: { scopes: ['read', 'write', 'offline_access'], asksConsent: true },
  },
  {
    name: 'offline_access of the login server, as text',
    api: described,
    login: { [oauthServer]: { ...server, scopes_supported: 'x offline_access' } },
    finds: { scopes: ['read', 'write', 'offline_access'] },
  },
  {
    name: 'no offline_access',
    from: 'anthropics/claude-code#41610: invalid_scope',
    api: described,
    login: { [oauthServer]: { ...server, scopes_supported: ['x'] } },
    finds: { scopes: ['read', 'write'], asksConsent: false },
  },
  {
    name: 'offline_access of a server that knows no prompt for consent',
    from: 'anthropics/claude-code#94804',
    api: described,
    login: {
      [oauthServer]: { ...server, scopes_supported: ['offline_access'], prompt_values_supported: ['login'] },
    },
    finds: { asksConsent: false },
  },
  {
    name: 'offline_access of Entra ID',
    from: 'anomalyco/opencode#46361: AADSTS90094',
    api: described,
    login: {
      [oauthServer]: {
        ...server,
        authorization_endpoint: 'https://login.microsoftonline.com/t/oauth2/v2.0/authorize',
        scopes_supported: ['openid', 'offline_access'],
      },
    },
    finds: { scopes: ['read', 'write', 'offline_access'], asksConsent: false },
  },
  {
    name: 'scopes of a challenge before those of the document',
    from: 'MCP 2025-11-25, scope selection strategy',
    api: { '/mcp': challenge('Bearer scope="files:read  files:list"'), ...described },
    finds: { scopes: ['files:read', 'files:list'] },
  },
  {
    name: 'scopes of the token server of an image registry',
    api: { '/mcp': challenge('Bearer realm="x",service="registry",scope="repository:a:pull"'), ...described },
    finds: { scopes: ['read', 'write'] },
  },
];

export const discoveryRows = [...resources, ...servers, ...scopes];
