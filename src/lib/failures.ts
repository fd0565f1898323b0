import { type Hint, hintOf, remedy } from './hint.ts';

/**
 * Failures that users meet. Each has a code, an HTTP status for clients of the proxy, an exit code for
 * callers of the command line, a sentence, and a hint with the next step. Call sites replace both texts with
 * more specific ones. Codes are public and stable; texts are not. The table generates `docs/errors.md`.
 */

/** Exit codes of the command line. */
export const exitCode = {
  ok: 0,
  failure: 1,
  badInput: 2,
  notAuthenticated: 3,
  noUsableGrant: 4,
  upstreamRefused: 5,
  network: 6,
} as const;

interface Failure {
  /** HTTP status of the refusal. */
  readonly status: number;
  /** Exit code of the command line. */
  readonly exit: number;
  /** `title` of the problem document (RFC 9457 §3.1.3). */
  readonly title: string;
  /** Default sentence. */
  readonly sentence: string;
  /** Default next step. */
  readonly hint: Hint;
}

const table = {
  // Failures of requests through the proxy.
  agent_auth_required: {
    status: 407,
    exit: exitCode.notAuthenticated,
    title: 'Agent authentication required',
    sentence: 'The request has no valid agent token.',
    hint: hintOf`create a token with "${remedy('agent.create', { name: null, grants: null })}", then set HTTPS_PROXY=http://NAME:TOKEN@HOST:PORT`,
  },
  caller_not_same_user: {
    status: 407,
    exit: exitCode.notAuthenticated,
    title: 'Caller of another user',
    sentence: 'The caller runs as another user than the proxy, and shows no agent token.',
    hint: hintOf`create a token with "${remedy('agent.create', { name: null, grants: null })}", then set HTTPS_PROXY=http://NAME:TOKEN@HOST:PORT; or set proxy.local_callers: any, if every program on this machine may use the credentials`,
  },
  domain_not_allowed: {
    status: 403,
    exit: exitCode.badInput,
    title: 'Domain not allowed',
    sentence: 'No domain of the config allows this host.',
    hint: hintOf`${remedy('domain.tunnel', { host: null })} (no credential), or ${remedy('domain.allow', { host: null, grant: null })}`,
  },
  browser_refused: {
    status: 403,
    exit: exitCode.badInput,
    title: 'Not for web pages',
    sentence: 'A base address of Sidekey is for programs, and this request may come from a web page.',
    hint: 'use 127.0.0.1 or localhost as the host of the base address; or set proxy.authentication: required, and use a token as the key',
  },
  rule_denied: {
    status: 403,
    exit: exitCode.badInput,
    title: 'Denied by a rule',
    sentence: 'A rule of the domain denies this request.',
    hint: hintOf`"${remedy('domain.explain', { method: null, url: null })}" names the rule`,
  },
  approval_denied: {
    status: 403,
    exit: exitCode.badInput,
    title: 'Approval denied',
    sentence: 'A person denied this request.',
    hint: 'ask that person, or send another request',
  },
  approval_over: {
    status: 409,
    exit: exitCode.failure,
    title: 'Answered already, or too late',
    sentence: 'The request was answered before, or waited too long.',
    hint: remedy('approval.list'),
  },
  approval_missing: {
    status: 403,
    exit: exitCode.badInput,
    title: 'Not approved',
    sentence: 'A rule requires a person to approve this request, and no one did.',
    hint: hintOf`send the request again, and approve it with "${remedy('approval.answer')}"`,
  },
  placeholder_misused: {
    status: 403,
    exit: exitCode.badInput,
    title: 'Placeholder out of place',
    sentence: 'A placeholder is in a place where no credential is allowed.',
    hint: hintOf`"${remedy('grant.placeholder', { grant: null })}" shows where it is allowed`,
  },
  foreign_credential: {
    status: 403,
    exit: exitCode.badInput,
    title: 'Credential of another account',
    sentence: 'The request has a credential of its own, which the domain does not allow.',
    hint: 'leave it out, Sidekey adds the credential of the grant; or set foreign_credentials: record on the domain',
  },
  policy_violation: {
    status: 403,
    exit: exitCode.badInput,
    title: 'Policy violation',
    sentence: 'The request breaks a condition of its credential.',
    hint: hintOf`"${remedy('domain.explain', { method: null, url: null })}" names the condition`,
  },
  lease_expired: {
    status: 403,
    exit: exitCode.noUsableGrant,
    title: 'Lease expired',
    sentence: 'The lease of this agent has expired.',
    hint: hintOf`${remedy('lease.create')}, or ${remedy('lease.renew')}`,
  },
  grant_missing: {
    status: 403,
    exit: exitCode.noUsableGrant,
    title: 'No such grant',
    sentence: 'No grant fits this request.',
    hint: hintOf`"${remedy('grant.list')}" shows the grants; "${remedy('connect', { provider: null })}" makes one`,
  },
  grant_expired: {
    status: 403,
    exit: exitCode.noUsableGrant,
    title: 'Grant expired',
    sentence: 'The credential of the grant has expired and cannot be refreshed.',
    hint: hintOf`${remedy('connect', { provider: null })}, or ${remedy('grant.import', { name: null, replace: true })}`,
  },
  grant_revoked: {
    status: 403,
    exit: exitCode.noUsableGrant,
    title: 'Grant revoked',
    sentence: 'The grant was revoked.',
    hint: hintOf`connect it again: ${remedy('connect', { provider: null })}`,
  },
  address_blocked: {
    status: 403,
    exit: exitCode.badInput,
    title: 'Address blocked',
    sentence: 'The host resolves to an address that is not public.',
    hint: 'list the address in upstream.private_addresses if Sidekey may reach it',
  },
  insecure_transport: {
    status: 403,
    exit: exitCode.badInput,
    title: 'Insecure transport',
    sentence: 'The credential may not be sent over plain http.',
    hint: 'use https',
  },
  grant_ambiguous: {
    status: 409,
    exit: exitCode.badInput,
    title: 'More than one grant fits',
    sentence: 'More than one grant fits this request.',
    hint: 'name one in the field Sidekey-Grant, or in the domain',
  },
  not_found: {
    status: 404,
    exit: exitCode.badInput,
    title: 'Not found',
    sentence: 'Nothing of this name exists.',
    hint: 'check the name',
  },
  method_not_allowed: {
    status: 405,
    exit: exitCode.badInput,
    title: 'Method not allowed',
    sentence: 'The resource does not have this method.',
    hint: 'the field Allow of the response lists the methods',
  },
  body_too_large: {
    status: 413,
    exit: exitCode.badInput,
    title: 'Body too large',
    sentence: 'The body is larger than the limit.',
    hint: 'raise the limit of the config that the message names',
  },
  authority_mismatch: {
    status: 421,
    exit: exitCode.badInput,
    title: 'Authority mismatch',
    sentence: 'The request names another host than its connection.',
    hint: 'open a connection for each host',
  },
  reauth_required: {
    status: 424,
    exit: exitCode.noUsableGrant,
    title: 'Grant needs a new consent',
    sentence: 'The provider requires a person to consent again.',
    hint: remedy('connect', { provider: null }),
  },
  too_many_leaks: {
    status: 403,
    exit: exitCode.badInput,
    title: 'Too many leaks of the credential',
    sentence: 'The service has repeated the credential too often in its responses.',
    hint: 'wait for the time in Retry-After, or raise leak_limit of the domain',
  },
  rate_limited: {
    status: 429,
    exit: exitCode.failure,
    title: 'Rate limited',
    sentence: 'A limit of a rule, or of the upstream, is reached.',
    hint: 'wait for the time in Retry-After',
  },
  bad_request: {
    status: 400,
    exit: exitCode.badInput,
    title: 'Bad request',
    sentence: 'The request is not well-formed HTTP.',
    hint: 'correct the request; sending it again does not help',
  },
  refresh_failed: {
    status: 502,
    exit: exitCode.upstreamRefused,
    title: 'Token refresh failed',
    sentence: 'The provider gave no new token.',
    hint: hintOf`try again later; "${remedy('health.status')}" says what the provider answered`,
  },
  source_failed: {
    status: 502,
    exit: exitCode.upstreamRefused,
    title: 'Source gave no credential',
    sentence: 'The source of the grant gave no credential.',
    hint: hintOf`log in to the program that the source names, or "${remedy('grant.source', { grant: null, source: null })}" for another source`,
  },
  upstream_unreachable: {
    status: 502,
    exit: exitCode.network,
    title: 'Upstream unreachable',
    sentence: 'No connection to the upstream could be opened.',
    hint: 'check the host name and the network',
  },
  upstream_tls: {
    status: 502,
    exit: exitCode.network,
    title: 'Upstream TLS failure',
    sentence: 'The certificate or the TLS handshake of the upstream is not valid.',
    hint: 'add the CA of a private host to upstream.ca',
  },
  upstream_protocol: {
    status: 502,
    exit: exitCode.network,
    title: 'Upstream protocol error',
    sentence: 'The upstream sent a response that is not well-formed.',
    hint: 'tell the operator of the upstream',
  },
  credential_leaked: {
    status: 502,
    exit: exitCode.upstreamRefused,
    title: 'Credential in the response',
    sentence: 'The response contains the credential.',
    hint: 'send another request, or set leak_guard: redact on the domain',
  },
  upstream_timeout: {
    status: 504,
    exit: exitCode.network,
    title: 'Upstream timeout',
    sentence: 'The upstream did not answer in time.',
    hint: 'try again; raise the time-outs under "limits" for a slow upstream',
  },
  audit_unavailable: {
    status: 503,
    exit: exitCode.failure,
    title: 'Audit log unavailable',
    sentence: 'The audit log cannot be written, so no request is sent.',
    hint: 'make the audit file writable and free space on its disk',
  },
  overloaded: {
    status: 503,
    exit: exitCode.failure,
    title: 'Overloaded',
    sentence: 'A limit of concurrent work is reached.',
    hint: 'try again in a few seconds',
  },
  store_unavailable: {
    status: 503,
    exit: exitCode.failure,
    title: 'Store unavailable',
    sentence: 'The store cannot be read or written.',
    hint: 'check that its file is there and writable, and that its disk has space',
  },
  issuer_unavailable: {
    status: 503,
    exit: exitCode.network,
    title: 'Issuer unavailable',
    sentence: 'The keys of the issuer of this token cannot be read.',
    hint: 'check that the proxy reaches the issuer, or set jwks_url or jwks of agent_issuers',
  },
  internal: {
    status: 500,
    exit: exitCode.failure,
    title: 'Internal error',
    sentence: 'Sidekey failed.',
    hint: 'the log of Sidekey names the place; report it as a bug',
  },

  // Failures of the command line only.
  input_invalid: {
    status: 400,
    exit: exitCode.badInput,
    title: 'Invalid input',
    sentence: 'An argument or an input is not valid.',
    hint: 'run the command with --help',
  },
  confinement_missing: {
    status: 500,
    exit: exitCode.badInput,
    title: 'Not confined',
    sentence: 'This machine cannot confine a command.',
    hint: hintOf`install bubblewrap, or run the command in a container: ${remedy('health.examine')}`,
  },
  confinement_failed: {
    status: 500,
    exit: exitCode.failure,
    title: 'Confinement failed',
    sentence: 'The command was not started, because a part of its confinement failed.',
    hint: hintOf`${remedy('health.examine')} shows what this machine can do`,
  },
  inside_run: {
    status: 403,
    exit: exitCode.badInput,
    title: 'Inside of a run',
    sentence: 'This is a confined run, which Sidekey’s own commands cannot change.',
    hint: 'ask the person who started it',
  },
  not_ready: {
    status: 503,
    exit: exitCode.failure,
    title: 'Not ready',
    sentence: 'The proxy cannot serve requests now.',
    hint: hintOf`run: ${remedy('health.status')}`,
  },
  config_invalid: {
    status: 500,
    exit: exitCode.badInput,
    title: 'Invalid configuration',
    sentence: 'The config file is not valid.',
    hint: 'correct the line that the message names',
  },
  config_missing: {
    status: 500,
    exit: exitCode.badInput,
    title: 'No configuration',
    sentence: 'A config file does not exist.',
    hint: hintOf`check its path, or write one: ${remedy('start')} creates the first one`,
  },
  secret_missing: {
    status: 500,
    exit: exitCode.badInput,
    title: 'Secret missing',
    sentence: 'A secret that the config refers to does not exist.',
    hint: 'set the variable, file or command that the message names',
  },
  key_invalid: {
    status: 500,
    exit: exitCode.badInput,
    title: 'Master key unusable',
    sentence: 'The master key cannot be used.',
    hint: 'restore the key from your backup',
  },
  key_mismatch: {
    status: 500,
    exit: exitCode.badInput,
    title: 'Wrong master key',
    sentence: 'The master key is not the one that sealed this data.',
    hint: 'point "key" of the config to the key that made the store',
  },
  node_revoked: {
    status: 503,
    exit: exitCode.notAuthenticated,
    title: 'Node revoked',
    sentence: 'This node was revoked: it has no master key any more.',
    hint: hintOf`make a token on another node with "${remedy('node.enroll', { name: null })}", then join here: ${remedy('node.join')}`,
  },
  store_newer: {
    status: 503,
    exit: exitCode.failure,
    title: 'Store written by a newer version',
    sentence: 'A newer version of Sidekey wrote this store.',
    hint: 'install that version',
  },
  store_damaged: {
    status: 503,
    exit: exitCode.failure,
    title: 'Store damaged',
    sentence: 'The store is damaged.',
    hint: 'restore it from a backup',
  },
  record_tampered: {
    status: 503,
    exit: exitCode.failure,
    title: 'Sealed record does not open',
    sentence: 'A sealed record was changed.',
    hint: 'restore the store from a backup',
  },
  ca_mismatch: {
    status: 500,
    exit: exitCode.badInput,
    title: 'CA unusable',
    sentence: 'The CA files cannot be used.',
    hint: 'restore the folder of the CA from a backup, or remove it: the next start makes a new CA',
  },
  clock_wrong: {
    status: 500,
    exit: exitCode.failure,
    title: 'Clock is wrong',
    sentence: 'The clock of this machine is wrong.',
    hint: 'set the clock',
  },
  permissions_unsafe: {
    status: 500,
    exit: exitCode.badInput,
    title: 'Unsafe file permissions',
    sentence: 'Other users can read a secret file, or change a file that Sidekey trusts.',
    hint: 'remove the permissions of other users, as the message says',
  },
  file_unwritable: {
    status: 500,
    exit: exitCode.failure,
    title: 'Cannot write',
    sentence: 'A file cannot be written.',
    hint: 'make the file and its folder writable for this user',
  },
  port_in_use: {
    status: 500,
    exit: exitCode.failure,
    title: 'Port in use',
    sentence: 'Another program uses the port.',
    hint: 'stop that program, or set another port',
  },
  redirect_loop: {
    status: 508,
    exit: exitCode.failure,
    title: 'Redirected to itself',
    sentence: 'The rules that redirect connections to Sidekey redirect its own ones too.',
    hint: hintOf`run Sidekey as a user of its own, and load the rules of "${remedy('transparent.rules', { user: null })}"`,
  },
  listen_failed: {
    status: 500,
    exit: exitCode.failure,
    title: 'Cannot listen',
    sentence: 'Sidekey cannot listen on the address.',
    hint: 'set an address of this machine',
  },
  service_failed: {
    status: 500,
    exit: exitCode.failure,
    title: 'Service manager failed',
    sentence: 'The service manager of the system refused.',
    hint: remedy('service.logs'),
  },
  listener_open: {
    status: 500,
    exit: exitCode.badInput,
    title: 'Listener open to others',
    sentence: 'The listener would be open to other machines without agent tokens.',
    hint: 'set proxy.authentication to required, or listen on 127.0.0.1',
  },
  already_exists: {
    status: 409,
    exit: exitCode.badInput,
    title: 'Already exists',
    sentence: 'Something of this name exists.',
    hint: 'choose another name, or replace it with --replace',
  },
  provider_unknown: {
    status: 500,
    exit: exitCode.badInput,
    title: 'Unknown provider',
    sentence: 'No provider of this name is defined.',
    hint: remedy('provider.list'),
  },
  provider_refused: {
    status: 502,
    exit: exitCode.upstreamRefused,
    title: 'Refused by the provider',
    sentence: 'The provider refused the request.',
    hint: 'check the client of the provider in the config',
  },
  consent_declined: {
    status: 403,
    exit: exitCode.upstreamRefused,
    title: 'Consent declined',
    sentence: 'The person, or the provider, said no to the consent.',
    hint: 'begin again, and allow it; an administrator may have to allow it first',
  },
  consent_missing: {
    status: 424,
    exit: exitCode.failure,
    title: 'No consent',
    sentence: 'No consent was given.',
    hint: hintOf`begin again: ${remedy('connect', { provider: null })}`,
  },
  audit_broken: {
    status: 500,
    exit: exitCode.failure,
    title: 'Audit log does not verify',
    sentence: 'The audit log does not verify.',
    hint: remedy('audit.verify'),
  },

  // Failures of requests to the API.
  api_auth_required: {
    status: 401,
    exit: exitCode.notAuthenticated,
    title: 'Authentication required',
    sentence: 'The request has no valid API key, and no valid session.',
    hint: hintOf`create a key with "${remedy('api_key.create', { name: null, role: null })}", and send it as X-API-Key`,
  },
  config_protected: {
    status: 403,
    exit: exitCode.badInput,
    title: 'Protected setting',
    sentence: 'The API cannot change settings that run or open something on the machine.',
    hint: hintOf`edit the config file on its machine: ${remedy('config.edit')}`,
  },
  scope_missing: {
    status: 403,
    exit: exitCode.badInput,
    title: 'Scope missing',
    sentence: 'The key or the person lacks the scope of this request.',
    hint: hintOf`use another key, or create one: ${remedy('api_key.create', { name: null, role: null })}`,
  },
  role_missing: {
    status: 403,
    exit: exitCode.notAuthenticated,
    title: 'No role',
    sentence: 'The account has no role in Sidekey.',
    hint: 'ask the operator of Sidekey to give one of your claims a role',
  },
  precondition_failed: {
    status: 412,
    exit: exitCode.failure,
    title: 'Changed in the meantime',
    sentence: 'Somebody changed it since it was read.',
    hint: 'read it again, and repeat the change with its new ETag',
  },
  precondition_required: {
    status: 428,
    exit: exitCode.badInput,
    title: 'If-Match is required',
    sentence: 'The change must name the state that it is for.',
    hint: 'read it first, and send its ETag as If-Match',
  },
  idempotency_conflict: {
    status: 409,
    exit: exitCode.badInput,
    title: 'Idempotency-Key in use',
    sentence: 'This Idempotency-Key belongs to another request.',
    hint: 'use a new key for each request',
  },
} as const satisfies Record<string, Failure>;

/** Stable name of a failure. */
export type FailureCode = keyof typeof table;

/** The table, for problem documents, documentation and tests. */
export const failures: Readonly<Record<FailureCode, Failure>> = table;
