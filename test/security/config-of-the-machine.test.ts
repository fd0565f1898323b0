/**
 * A caller who may edit the config by the API must not make the machine run, open or read anything, and must
 * not send a secret of the machine elsewhere. A search of the text for `command:` missed keys whose value is
 * a program.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { assertSameMachineKeys, writeConfigAtomically } from '../../src/config/edit.ts';
import { marks } from '../../src/config/marks.ts';
import { configSchema } from '../../src/config/schema.ts';
import { hintOfText } from '../support/hint.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** Returns the paths of all texts: `{}` is a key of a map, `*` its value, `[]` an item of a list. */
function textsOf(schema: z.core.$ZodType, path = ''): readonly (readonly [path: string, mark: string])[] {
  const { def } = schema as unknown as { readonly def: z.core.$ZodTypes['_zod']['def'] };
  const mark = marks.get(schema)?.mark;
  if (mark !== undefined) return [[path, mark]];
  switch (def.type) {
    case 'object':
      return Object.entries(def.shape).flatMap(([key, inner]) =>
        textsOf(inner, path === '' ? key : `${path}.${key}`),
      );
    case 'record':
      return [...textsOf(def.keyType, `${path}{}`), ...textsOf(def.valueType, `${path}.*`)];
    case 'array':
      return textsOf(def.element, `${path}[]`);
    case 'union':
      return def.options.flatMap((option) => textsOf(option, path));
    case 'optional':
    case 'prefault':
      return textsOf(def.innerType, path);
    case 'pipe':
      return textsOf(def.in, path);
    case 'number':
    case 'boolean':
    case 'enum':
    case 'literal':
      return [];
    default:
      // A kind that this test does not know counts as a text.
      return [[path, 'none']];
  }
}

const texts = textsOf(configSchema);
const pathsWith = (mark: string) =>
  [...new Set(texts.flatMap(([path, of]) => (of === mark ? [path] : [])))].toSorted();

/** Keys that make the machine run, open or read something, each with an edit that must be refused. */
const ofMachine = {
  'admin.listen': ['admin: off', 'admin: { listen: 127.0.0.1:1 }'],
  'admin.tls.cert': [
    'admin: { listen: 127.0.0.1:1, tls: { cert: a, key: b } }',
    'admin: { listen: 127.0.0.1:1, tls: { cert: /x, key: b } }',
  ],
  'admin.tls.key': [
    'admin: { listen: 127.0.0.1:1, tls: { cert: a, key: b } }',
    'admin: { listen: 127.0.0.1:1, tls: { cert: a, key: /x } }',
  ],
  'agent_issuers.*.ca': [
    'agent_issuers: { a: { issuer: "https://i.test", audience: x, agents: { b: { subject: c } } } }',
    'agent_issuers: { a: { issuer: "https://i.test", audience: x, ca: /x, agents: { b: { subject: c } } } }',
  ],
  'agent_issuers.*.jwks': [
    'agent_issuers: {}',
    'agent_issuers: { a: { issuer: "https://i.test", audience: x, jwks: /x, agents: { b: { subject: c } } } }',
  ],
  'audit.anchor.file': ['audit: {}', 'audit: { anchor: { file: /x } }'],
  'audit.file': ['audit: {}', 'audit: { file: /x }'],
  'audit.sinks[].address': [
    'audit: { sinks: [{ type: syslog, address: udp://l.test:514 }] }',
    'audit: { sinks: [{ type: syslog, address: "unix:/run/x" }] }',
  ],
  'ca.directory': ['ca: {}', 'ca: { directory: /x }'],
  key: ['key: { source: file }', 'key: { source: command, command: touch /x }'],
  'providers.*.base_urls': [
    'providers: { a: { client_id: b, audience: [a.test] } }',
    'providers: { a: { client_id: b, audience: [a.test], base_urls: { PATH: https://a.test } } }',
  ],
  'providers.*.environment': [
    'providers: { a: { client_id: b, audience: [a.test] } }',
    'providers: { a: { client_id: b, audience: [a.test], environment: { GIT_SSH_COMMAND: "touch /x; placeholder" } } }',
  ],
  'proxy.listen': ['proxy: {}', 'proxy: { listen: 127.0.0.1:1 }'],
  'proxy.tls.cert': ['proxy: {}', 'proxy: { tls: { cert: /x, key: b } }'],
  'proxy.tls.client_ca': [
    'proxy: { tls: { cert: a, key: b } }',
    'proxy: { tls: { cert: a, key: b, client_ca: /x, agents: { a: b } } }',
  ],
  'proxy.tls.key': ['proxy: { tls: { cert: a, key: b } }', 'proxy: { tls: { cert: a, key: /x } }'],
  run: ['run: { isolate: auto }', 'run: { isolate: off }'],
  store: ['store: sqlite:a.db', 'store: sqlite:b.db'],
  'store.url': ['store: { url: "postgres://a@h.test/d" }', 'store: { url: "postgres://a@evil.test/d" }'],
  'upstream.ca[]': ['upstream: { ca: [a.pem] }', 'upstream: { ca: [a.pem, /x] }'],
  'upstream.client_certificates.*.cert': [
    'upstream: { client_certificates: { h.test: { cert: a, key: b } } }',
    'upstream: { client_certificates: { evil.test: { cert: a, key: b } } }',
  ],
  'upstream.client_certificates.*.key': [
    'upstream: { client_certificates: { h.test: { cert: a, key: b } } }',
    'upstream: { client_certificates: { h.test: { cert: a, key: /x } } }',
  ],
  'upstream.client_certificates.*.pfx': [
    'upstream: {}',
    'upstream: { client_certificates: { h.test: { pfx: /x } } }',
  ],
  'upstream.host_ca.*': ['upstream: {}', 'upstream: { host_ca: { h.test: /x } }'],
  'vaults.*.ca': [
    'vaults: { a: { address: "https://v.test", token: env:T } }',
    'vaults: { a: { address: "https://v.test", token: env:T, ca: /x } }',
  ],
} satisfies Record<string, readonly [before: string, after: string]>;

const otlp = (url: string, token: string) =>
  `{ type: otlp, url: "https://${url}", headers: { a: ${token} } }`;
const vault = (login: string) => `vaults: { a: { address: "https://v.test", ${login} } }`;
const own = 'token_endpoint: "https://a.test/t", client_id: x, audience: [a.test]';

/** Keys with a reference to a secret. */
const secrets = {
  'admin.oidc.client_secret': [
    'admin: { listen: 127.0.0.1:1, oidc: { issuer: "https://i.test", client_id: a, roles: { operator: { sub: [a] } } } }',
    'admin: { listen: 127.0.0.1:1, oidc: { issuer: "https://i.test", client_id: a, client_secret: env:HOME, roles: { operator: { sub: [a] } } } }',
  ],
  'agent_issuers.*.token': [
    'agent_issuers: { a: { issuer: "https://i.test", jwks_url: "https://i.test/k", audience: x, agents: { b: { subject: c } } } }',
    'agent_issuers: { a: { issuer: "https://i.test", jwks_url: "https://i.test/k", audience: x, token: env:HOME, agents: { b: { subject: c } } } }',
  ],
  'approvals.notify[].token': [
    'approvals: { notify: [{ template: ntfy, url: "https://n.test/t", token: env:A }] }',
    'approvals: { notify: [{ template: ntfy, url: "https://n.test/t", token: env:B }] }',
  ],
  'approvals.notify[].url': [
    'approvals: { notify: [] }',
    'approvals: { notify: [{ template: slack, url: "command:touch /x" }] }',
  ],
  'approvals.webhook.secret': [
    'approvals: { webhook: { url: "https://w.test", secret: env:A } }',
    'approvals: { webhook: { url: "https://w.test", secret: file:b } }',
  ],
  'audit.anchor.secret': [
    'audit: { anchor: { webhook: "https://w.test" } }',
    'audit: { anchor: { webhook: "https://w.test", secret: env:B } }',
  ],
  'audit.sinks[].headers.*': [
    `audit: { sinks: [${otlp('a.test', 'env:A')}] }`,
    `audit: { sinks: [${otlp('a.test', 'env:B')}] }`,
  ],
  'audit.sinks[].secret': [
    'audit: { sinks: [{ type: webhook, url: "https://a.test" }] }',
    'audit: { sinks: [{ type: webhook, url: "https://a.test", secret: env:B }] }',
  ],
  'providers.*.client_secret': [
    `providers: { a: { ${own}, client_secret: env:A } }`,
    `providers: { a: { ${own}, client_secret: "command:touch /x" } }`,
  ],
  'proxy.transparent.token': ['proxy: { transparent: true }', 'proxy: { transparent: { token: env:A } }'],
  'store.password': [
    'store: { url: "postgres://a@h.test/d", password: env:A }',
    'store: { url: "postgres://a@h.test/d", password: env:B }',
  ],
  'telemetry.traces.headers.*': [
    'telemetry: { traces: { url: "https://a.test" } }',
    'telemetry: { traces: { url: "https://a.test", headers: { a: env:A } } }',
  ],
  'upstream.client_certificates.*.passphrase': [
    'upstream: { client_certificates: { h.test: { pfx: a } } }',
    'upstream: { client_certificates: { h.test: { pfx: a, passphrase: env:A } } }',
  ],
  'upstream.proxy.password': [
    'upstream: { proxy: "http://p.test:1" }',
    'upstream: { proxy: { url: "http://p.test:1", user: a, password: env:A } }',
  ],
  'vaults.*.approle.secret_id': [
    vault('approle: { role_id: a, secret_id: env:A }'),
    vault('approle: { role_id: a, secret_id: env:B }'),
  ],
  'vaults.*.jwt.jwt': [vault('jwt: { role: a, jwt: env:A }'), vault('jwt: { role: a, jwt: env:B }')],
  // The default of the key is a file.
  'vaults.*.kubernetes.jwt': ['vaults: {}', vault('kubernetes: { role: a }')],
  'vaults.*.token': [vault('token: env:A'), vault('token: env:B')],
} satisfies Record<string, readonly [before: string, after: string]>;

/** Addresses that get a secret which the same map names. */
const destinations = {
  'admin.oidc.issuer': [
    'admin: { listen: 127.0.0.1:1, oidc: { issuer: "https://i.test", client_id: a, client_secret: env:A, roles: { operator: { sub: [a] } } } }',
    'admin: { listen: 127.0.0.1:1, oidc: { issuer: "https://evil.test", client_id: a, client_secret: env:A, roles: { operator: { sub: [a] } } } }',
  ],
  'agent_issuers.*.jwks_url': [
    'agent_issuers: { a: { issuer: "https://i.test", jwks_url: "https://i.test/k", audience: x, token: env:A, agents: { b: { subject: c } } } }',
    'agent_issuers: { a: { issuer: "https://i.test", jwks_url: "https://evil.test/k", audience: x, token: env:A, agents: { b: { subject: c } } } }',
  ],
  'approvals.notify[].url': [
    'approvals: { notify: [{ template: telegram, chat: "1", token: env:A }] }',
    'approvals: { notify: [{ template: telegram, chat: "1", token: env:A, url: "https://evil.test" }] }',
  ],
  'approvals.webhook.url': [
    'approvals: { webhook: { url: "https://w.test", secret: env:A } }',
    'approvals: { webhook: { url: "https://evil.test", secret: env:A } }',
  ],
  'audit.anchor.webhook': [
    'audit: { anchor: { webhook: "https://w.test", secret: env:A } }',
    'audit: { anchor: { webhook: "https://evil.test", secret: env:A } }',
  ],
  'audit.sinks[].url': [
    `audit: { sinks: [${otlp('a.test', 'env:A')}, ${otlp('b.test', 'env:B')}] }`,
    `audit: { sinks: [${otlp('a.test', 'env:B')}, ${otlp('b.test', 'env:A')}] }`,
  ],
  'telemetry.traces.url': [
    'telemetry: { traces: { url: "https://a.test", headers: { a: env:A } } }',
    'telemetry: { traces: { url: "https://evil.test", headers: { a: env:A } } }',
  ],
  // Without a password, but the section has another secret.
  'upstream.proxy': [
    'upstream: { proxy: "http://p.test:1", client_certificates: { h.test: { pfx: a, passphrase: env:A } } }',
    'upstream: { proxy: "http://q.test:1", client_certificates: { h.test: { pfx: a, passphrase: env:A } } }',
  ],
  'upstream.proxy.url': [
    'upstream: { proxy: { url: "http://p.test:1", user: a, password: env:A } }',
    'upstream: { proxy: { url: "https://p.test:1", user: a, password: env:A } }',
  ],
  'vaults.*.address': [
    vault('approle: { role_id: a, secret_id: env:A }'),
    vault('approle: { role_id: a, secret_id: env:A }').replace('v.test', 'evil.test'),
  ],
} satisfies Record<string, readonly [before: string, after: string]>;

const conditions = `name methods[] paths[] query{} query.*[] query.*.values[] content_types[] body_size.min body_size.max
  times[].from times[].to times[].weekdays[] times[].zone clients[] agents[] users[] labels[] upgrades[] graphql.names[]
  jsonrpc.methods[] jsonrpc.tools[] jsonrpc.arguments{} jsonrpc.arguments.*[] jsonrpc.arguments.*.values[]
  json{} json.*[] json.*.values[] form{} form.*[] form.*.values[] limits[].rate limits[].bytes_per_day max_response`;

const places = `header prefix headers{} headers.* basic pair_username path[] query cookie json form aws_sigv4.service
  aws_sigv4.region hmac.sign hmac.headers{} hmac.headers.* hmac.query{} hmac.query.*`;

const mints = `name hosts[] service service[] path path[] header.name header.value header.value[] member member[] aws_keys.id_member
  aws_keys.session_member expires_member goes_to[]
  goes_to_member form keep[] max_ttl`;

const claims = '.subject .claims{} .claims.* .claims.*{} .claims.*.* .claims.*.*{} .claims.*.*.*';

const below = (prefix: string, paths: string, separator = '.') =>
  paths.split(/\s+/).map((path) => `${prefix}${separator}${path}`);

/**
 * Reviewed keys whose texts run, open and read nothing: names, patterns, times, sizes, and texts for people
 * or for a request. The addresses of a provider are among them: docs/api.md says what `config:write` gives.
 */
const harmless = [
  ...below('proxy', 'tls.agents{} tls.agents.* proxy_protocol[]'),
  // A public address in links, claims of people, and addresses for the browser of a person.
  ...below('admin', 'url oidc.client_id oidc.scopes[] oidc.name oidc.keep_sign_in return_urls[]'),
  ...['operator', 'approver', 'auditor', 'user'].flatMap((role) =>
    below(`admin.oidc.roles.${role}`, '{} .*[]', ''),
  ),
  // sendmail gets a message on its standard input. The config chooses neither program nor arguments.
  ...below('approvals', 'timeout notify[].chat notify[].to notify[].from'),
  ...below('ca', 'permitted_names[]'),
  // The name of a sink has no slash.
  ...below(
    'audit',
    'max_size max_age keep keep_size min_free_space anchor.every sinks[].name sinks[].headers{}',
  ),
  ...below('telemetry', 'traces.headers{}'),
  ...below('tokens', 'refresh_before_expiry background_refresh'),
  ...below('leases', 'default_ttl max_ttl'),
  ...below('agent_issuers', '{} .*.issuer .*.trust_domain .*.audience .*.max_age .*.agents{}', ''),
  ...below('agent_issuers.*.agents.*', claims, ''),
  ...below('agent_issuers.*.agents.*[]', claims, ''),
  ...below(
    'upstream',
    'resolve{} resolve.* private_addresses[] proxy.user no_proxy[] client_certificates{} host_ca{}',
  ),
  ...below('vaults', '{} .*.namespace .*.approle.role_id .*.approle.mount', ''),
  ...below('vaults.*', 'kubernetes.role kubernetes.mount jwt.role jwt.mount'),
  ...below(
    'domains',
    '{} .*.grant .*.eks_cluster .*.also[].grant .*.also[].as.header .*.also[].as.prefix .*.also[].as.query',
    '',
  ),
  ...below('domains.*.mints[]', mints),
  ...below('domains.*.mints[].as', places),
  ...below('domains.*.rules[]', `policy ${conditions}`),
  ...below('policies', '{}', ''),
  ...below('policies.*[]', conditions),
  ...below('providers', '{}', ''),
  ...below(
    'providers.*',
    `title docs[] settings{} settings.* authorization_endpoint device_authorization_endpoint token_endpoint
     revocation_endpoint userinfo_endpoint issuer client_id scopes[] known_scopes{} known_scopes.* audience[] domains[]
     inject[].hosts[] inject[].paths[] method_override_parameters[] echo_paths[] lease.default_ttl lease.max_ttl
     token.label token.url token.steps[] token.parts{} token.parts.*.label token.parts.*.prefixes[].prefix
     token.parts.*.prefixes[].label token.prefixes[].prefix token.prefixes[].label token.inject.basic.username
     token.inject.basic.password token.inject.headers{} token.inject.headers.* client_registration.url
     client_registration.steps[] probe.url probe.headers{} probe.headers.* probe.json{} probe.json.* probe.ok_field
     probe.account_fields[] operations[].method operations[].host operations[].path operations[].words operations[].scopes[]
     operations[].example logins[].program
     logins[].client_id logins[].access_token logins[].refresh_token logins[].answer_fields[] notes[] redirect_uri extends
     user_agent expired.field expired.header expired.value expired.value[] expired[].field expired[].header
     expired[].value expired[].value[] id_jag.audience id_jag.resource`,
  ),
  // They move credentials to hosts, as the audience does.
  ...below('providers.*.mints[]', mints),
  ...below('providers.*.mints[].as', places),
  ...below('providers.*.inject', places),
  ...below('providers.*.inject[].as', places),
  ...below(
    'providers.*.dialect',
    `scope_parameter client_id_parameter authorization_parameters{} authorization_parameters.* token_parameters{}
     token_parameters.* token_headers{} token_headers.* refresh_endpoint token_response.root token_response.ok_field
     token_response.error token_response.access_token token_response.refresh_token token_response.expires_in
     token_response.expires_at token_response.scope token_response.token_types[] account_parameters[] account_fields[]
     refresh_token_idle_timeout refresh_token_lifetime revocation.url revocation.token_parameter revocation.ok_field
     insufficient_scope.granted_scopes_header insufficient_scope.accepted_scopes_header
     insufficient_scope.unless_headers{} insufficient_scope.unless_headers.*`,
  ),
  ...below(
    'limits',
    `head_bytes head_timeout body_bytes rule_body_bytes approval_body_bytes signed_body_bytes injected_body_bytes
     placeholder_body_bytes replay_bytes client_body_idle client_idle client_handshake upstream_connect upstream_head
     upstream_idle upstream_wait upstream_keep_alive tunnel_idle refresh_timeout refresh_wait cached_grants drain`,
  ),
];

describe('every string of the config schema has a mark or is listed as harmless', () => {
  test.each([
    ['machine', Object.keys(ofMachine)],
    ['secret', Object.keys(secrets)],
    ['destination', Object.keys(destinations)],
    ['none', harmless],
  ])('the mark %s', (mark, expected) => {
    expect(pathsWith(mark)).toEqual(expected.toSorted());
  });
});

const file = '/etc/sidekey/sidekey.yaml';
const compare = (before: string, after: string) =>
  assertSameMachineKeys(`version: 1\n${before}\n`, `version: 1\n${after}\n`, file);

function catchError(run: () => void): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return null;
}

/** Returns the key that a refusal names, in the form of the tables. */
const refusedKey = (refusal: unknown) =>
  /cannot change (.*?): such/
    .exec((refusal as Error).message)?.[1]
    ?.replaceAll(/\[\d+\]/g, '[]')
    .replaceAll(/\["[^"]+"\]|\.a(?=\.|$)/g, '.*');

describe('an edit is refused and the refusal names the key', () => {
  test.each(
    [ofMachine, secrets, destinations].flatMap((table) =>
      Object.entries<readonly [string, string]>(table).map(([path, [before, after]]) => ({
        path,
        before,
        after,
      })),
    ),
  )('$path: $after', ({ path, before, after }) => {
    const refusal = catchError(() => compare(before, after));
    expect(refusal).toMatchObject({
      code: 'config_protected',
      hint: hintOfText(new RegExp(file.replaceAll('.', '\\.'))),
    });
    // A list is compared by its items, and the first marked value of the item is named.
    if (!path.includes('[].')) expect(refusedKey(refusal)).toBe(path);
    expect(() => compare(after, after)).not.toThrow();
  });

  test.each([
    [
      'a known reference at another provider',
      `providers: { a: { ${own}, client_secret: env:A } }`,
      `providers: { a: { ${own}, client_secret: env:A }, b: { ${own}, client_secret: env:A } }`,
    ],
    [
      'a known reference in another key',
      'proxy: { transparent: { token: env:A } }',
      `providers: { a: { ${own}, client_secret: env:A } }`,
    ],
    ['a key that is taken out, whose default is another path', 'audit: { file: /var/log/a }', 'audit: {}'],
    ['a section that is taken out', 'key: { source: file, path: /a }', ''],
    [
      'a value in a YAML alias',
      `policies: {}\nproviders: { a: &a { ${own}, client_secret: env:A } }`,
      `providers: { a: &a { ${own}, client_secret: env:A }, b: *a }`,
    ],
    [
      'a second command under one name',
      'key: { source: command, command: pass a }',
      'key: { source: command, command: pass a b }',
    ],
    ['a key of a text that cannot be read', '- [', 'ca: { directory: /x }'],
  ])('%s', (_what, before, after) => {
    expect(() => compare(before, after)).toThrow(expect.objectContaining({ code: 'config_protected' }));
  });
});

describe('an edit is accepted', () => {
  const paths = 'audit: { file: /a/b.jsonl }\nupstream: { ca: [a.pem, b.pem] }';
  test.each([
    [
      'other quotes, order, comments and blocks',
      paths,
      'upstream:\n  # both\n  ca:\n    - "b.pem"\n    - a.pem\naudit:\n  file: >-\n    /a/b.jsonl',
    ],
    [
      'an anchor and its alias',
      'proxy: { tls: { cert: /both.pem, key: /both.pem } }',
      'proxy: { tls: { cert: &both /both.pem, key: *both } }',
    ],
    [
      'a default that is written out',
      '',
      'audit: { file: ../data/audit.jsonl }\nkey: { source: file, path: ../data/master.key }\nproxy: { listen: "127.0.0.1:8377" }',
    ],
    [
      'spaces between the words of a command',
      'key: { source: command, command: pass a }',
      'key: { source: command, command: "pass   a" }',
    ],
    [
      'sinks in another order, and one without a secret',
      `audit: { sinks: [${otlp('a.test', 'env:A')}, ${otlp('b.test', 'env:B')}] }`,
      `audit: { sinks: [{ type: stdout }, ${otlp('b.test', 'env:B')}, ${otlp('a.test', 'env:A')}] }`,
    ],
    ['an address without a secret', 'approvals: {}', 'approvals: { webhook: { url: "https://w.test" } }'],
    [
      'a value that is taken out',
      `upstream: { ca: [a.pem, b.pem] }\nproviders: { a: { ${own}, client_secret: env:A } }`,
      'upstream: { ca: [a.pem] }',
    ],
    [
      'another endpoint of a provider, as docs/api.md says',
      `providers: { a: { ${own}, client_secret: env:A } }`,
      `providers: { a: { ${own.replace('a.test/t', 'b.test/t')}, client_secret: env:A } }`,
    ],
    [
      'domains, rules, limits and times',
      '',
      'domains: { a.test: { grant: a, rules: [{ methods: [GET] }] } }\nlimits: { drain: 1s }\nproxy: { unmatched: tunnel }',
    ],
  ])('with %s', (_what, before, after) => {
    expect(() => compare(before, after)).not.toThrow();
  });
});

test('only an edit by a person at the machine may change the protected keys', async () => {
  const path = join(await tempFolder(), 'sidekey.yaml');
  await writeFile(path, 'version: 1\n', { mode: 0o600 });
  const text = 'version: 1\nca: { directory: /x }\n';
  const write = (isLocal?: boolean) => writeConfigAtomically(path, text, { env: {}, isLocal });
  await expect(write()).rejects.toMatchObject({ code: 'config_protected' });
  // Of two values, YAML parsers take either; merge keys are not read.
  for (const more of ['ca: { directory: ../certs }\n', '<<: { log: { level: warn } }\n']) {
    const twice = writeConfigAtomically(path, `${text}${more}`, { env: {} });
    await expect(twice).rejects.toMatchObject({ code: 'config_invalid' });
  }
  expect(await readFile(path, 'utf8')).toBe('version: 1\n');
  await write(true);
  expect(await readFile(path, 'utf8')).toBe(text);
});
