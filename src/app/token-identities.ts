import { dirname } from 'node:path';
import { createTokenIdentities, type TokenIdentities } from '../agents/token-identity.ts';
import type { AgentIssuer } from '../config/agent-issuers.ts';
import type { Config } from '../config/config.ts';
import { readRegularFile } from '../config/reload.ts';
import { readSecret } from '../config/secret-reference.ts';
import { SidekeyError, systemCode } from '../lib/errors.ts';
import { askEndpoint, jsonObject, type TokenIo } from '../grants/oauth/http.ts';
import { openUpstreamClient } from './upstream.ts';

interface IdentityOptions {
  /** Config in force. */
  readonly config: () => Config;
  /** Environment of `env:` references. */
  readonly env: NodeJS.ProcessEnv;
  readonly now: () => number;
  /** See `createTokenIdentities`. */
  readonly namesAgents: boolean;
}

const maxKeySetBytes = 65_536;
const timeoutMs = 5_000;

/** Opens the identities of agents with OIDC tokens. Reads no keys before the first token. */
export function openTokenIdentities({ config, env, now, namesAgents }: IdentityOptions): TokenIdentities {
  return createTokenIdentities({
    issuers: () => config().agentIssuers,
    readKeys: (issuer) =>
      issuer.jwksFile === null ? fetchKeys(issuer, config(), env, now) : readKeyFile(issuer.jwksFile),
    now,
    namesAgents,
  });
}

async function readKeyFile(path: string): Promise<string> {
  let content: ReturnType<typeof readRegularFile>;
  try {
    content = readRegularFile(path, maxKeySetBytes);
  } catch (cause) {
    throw unreadable(`${path} cannot be read (${systemCode(cause)})`);
  }
  if (content === null || content.bytes.length > maxKeySetBytes)
    throw unreadable(`${path} is not a file of 64 KiB at most`);
  return content.bytes.toString('utf8');
}

/** Fetches a key set over separate connections, which trust the issuer's `ca`. */
async function fetchKeys(
  { name, issuer, jwksUrl, ca, token }: AgentIssuer,
  { file, upstream, limits }: Config,
  env: NodeJS.ProcessEnv,
  now: () => number,
): Promise<string> {
  const where = `agent_issuers.${name}.token`;
  const bearer = token === null ? null : await readSecret(token, { env, cwd: dirname(file), where });
  const own = { ...upstream, ca: ca === null ? upstream.ca : [...upstream.ca, ca] };
  const client = await openUpstreamClient({ file, upstream: own, limits }, { env, ownPorts: () => [] });
  try {
    const io = { fetch: client.fetch, now };
    if (jwksUrl !== null) return await ask(jwksUrl, bearer, io);
    // The schema requires an issuer if there is no jwks_url.
    const url = `${issuer!.replace(/\/$/, '')}/.well-known/openid-configuration`;
    const document = jsonObject(await ask(url, null, io));
    // OpenID Connect Discovery §4.3.
    if (document?.['issuer'] !== issuer) throw unreadable(`${url} describes another issuer`);
    const { jwks_uri: keysUrl } = document;
    if (typeof keysUrl !== 'string') throw unreadable(`${url} has no jwks_uri`);
    return await ask(keysUrl, null, io);
  } finally {
    await client.close();
  }
}

async function ask(url: string, bearer: string | null, io: TokenIo): Promise<string> {
  const authorization = bearer === null ? {} : { authorization: `Bearer ${bearer}` };
  const headers = { accept: 'application/json', ...authorization };
  const request = { name: 'the issuer', url, method: 'GET', headers, body: null } as const;
  const answer = await askEndpoint(request, { ...io, signal: AbortSignal.timeout(timeoutMs) });
  if (answer.kind === 'error') throw unreadable(answer.description);
  if (answer.kind === 'later') throw unreadable(answer.reason);
  if (answer.status !== 200) throw unreadable(`the issuer answered with HTTP ${answer.status}`);
  return answer.text;
}

function unreadable(reason: string): SidekeyError {
  return new SidekeyError('issuer_unavailable', reason);
}
