import { randomUUID } from 'node:crypto';
import type { AuditEvent, AuditLog } from '../domain/event.ts';
import type { SealedCredential } from '../domain/credential.ts';
import type { Probe, Provider } from '../domain/provider.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Hint, hintOf } from '../lib/hint.ts';
import { readDetails } from './oauth/identity.ts';
import { describeFault, findSidekeyError } from './oauth/description.ts';
import { jsonObject, memberAt } from './oauth/http.ts';
import { readBounded } from '../lib/body.ts';
import { withoutStop } from '../lib/text.ts';
import { parseAbsoluteTarget } from '../proxy/policy/authority.ts';
import { applyScheme } from '../proxy/schemes/apply.ts';
import type { AppliedRequest } from '../proxy/schemes/scheme.ts';
import { secretsOf } from '../proxy/schemes/credential.ts';
import { createNonces } from '../proxy/schemes/dpop-proof.ts';
import { needsProof, readProofAnswer } from '../proxy/schemes/dpop.ts';
import { pathWithout } from '../proxy/schemes/path.ts';
import { pathPrefixesOf, placementAt } from '../proxy/schemes/placement.ts';
import { sha256 } from '../proxy/schemes/sigv4/signature.ts';
import type { UpstreamClient } from '../proxy/upstream/client.ts';

type Details = NonNullable<SealedCredential['details']>;

type Verified =
  | { readonly kind: 'works'; readonly status: number; readonly details: Details }
  /** The provider rejects the credential. */
  | { readonly kind: 'refused'; readonly status: number }
  /** Another status, which proves nothing. */
  | { readonly kind: 'unclear'; readonly status: number }
  | { readonly kind: 'unreachable'; readonly reason: string; readonly hint?: Hint | undefined }
  /** The provider definition has no request with the credential. */
  | { readonly kind: 'no_request' };

const maxResponseBytes = 1_048_576;

/**
 * Sends the provider's probe with a credential. Placement, audience check and address guard are those of the
 * proxy.
 *
 * @throws SidekeyError `policy_violation`: the credential may not be sent there, or fits no request
 */
export async function verify(
  provider: Provider,
  sealed: SealedCredential,
  { upstream, signal }: Pick<VerifyRequest, 'upstream' | 'signal'>,
): Promise<Verified> {
  const { probe } = provider;
  const target = probe === null ? null : parseAbsoluteTarget(probe.url);
  if (probe === null || target === null) return { kind: 'no_request' };
  const json = probe.json === null ? null : JSON.stringify(probe.json);
  const facts = {
    method: methodOf(probe),
    hasBody: json !== null,
    bodyHash: json === null ? null : sha256(Buffer.from(json)),
    body: json === null ? null : Buffer.from(json),
    now: Date.now(),
    chunkBytes: 0,
  };
  const plan = placementAt(provider.inject, target);
  if (plan instanceof SidekeyError) throw plan;
  if (plan.kind === 'own') return { kind: 'no_request' };
  const sent = ['Accept', 'application/json', ...Object.entries(probe.headers).flat()];
  if (json !== null) sent.push('Content-Type', 'application/json');
  const { origin } = new URL(probe.url);
  const nonces = createNonces();
  const write = () =>
    applyScheme(
      { path: target.path, fields: sent },
      { sealed, placement: plan, authority: target.authority, facts: { ...facts, nonce: nonces.of(origin) } },
    );
  const send = async ({ path, fields, rewriteBody }: AppliedRequest): Promise<Response> => {
    const headers: [string, string][] = [];
    for (let i = 0; i + 1 < fields.length; i += 2) headers.push([fields[i] ?? '', fields[i + 1] ?? '']);
    const body = json === null ? null : await written(Buffer.from(json), rewriteBody);
    // Concatenated: as a relative reference, a path that starts with `//` would name another host.
    return upstream.fetch(`${origin}${path}`, {
      method: methodOf(probe),
      headers,
      redirect: 'manual',
      signal,
      ...(body === null ? {} : { body }),
    });
  };
  // Outside of the try: an audience violation is an error instead of an unknown result.
  const first = write();
  const hasProof = needsProof(sealed.credential, plan);
  try {
    let response = await send(first);
    const { status: told, headers } = response;
    const values = (name: string) => [headers.get(name)].filter((value) => value !== null);
    if (hasProof && readProofAnswer(nonces, origin, told, values) === 'again') {
      await response.body?.cancel();
      response = await send(write());
    }
    const { status } = response;
    const answer = await readBounded(response.body, maxResponseBytes);
    if (status === 401 || status === 403) return { kind: 'refused', status };
    if (status < 200 || status > 299) return { kind: 'unclear', status };
    const says = jsonObject(answer?.toString('utf8') ?? '');
    if (probe.okField !== null && (says === null || memberAt(says, probe.okField) !== true))
      return { kind: 'refused', status };
    const details = says === null ? {} : readDetails(says, probe.accountFields, secretsOf(sealed.credential));
    return { kind: 'works', status, details };
  } catch (error) {
    signal.throwIfAborted();
    const ours = findSidekeyError(error);
    return { kind: 'unreachable', reason: ours?.message ?? describeFault(error), hint: ours?.hint };
  }
}

/** Returns the body with the credential added. */
async function written(body: Buffer, rewrite: AppliedRequest['rewriteBody']): Promise<Buffer> {
  if (rewrite === undefined) return body;
  const pieces: Buffer[] = [];
  for await (const piece of rewrite([body])) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** A new credential of a user. */
export interface VerifyRequest {
  readonly state: { readonly audit: Pick<AuditLog, 'append' | 'note'> };
  readonly provider: Provider;
  readonly user: string;
  /** HTTP client behind the address guard. */
  readonly upstream: Pick<UpstreamClient, 'fetch'>;
  readonly signal: AbortSignal;
}

/** Result of verifying a new credential. */
export interface Verification {
  readonly verified: boolean;
  /** One line for the user: the result of the check. */
  readonly says: string;
  /** Account in the response. */
  readonly details?: Details;
}

/**
 * Verifies a new credential.
 *
 * @param how isIssued: the provider issued it for this call, so only HTTP 401 refuses it, as its scopes or
 * kind may not cover the probe. isRotated: it replaces a refresh token that is used up, so a failed check is
 * returned instead of thrown. isWanted: false for `--no-verify`
 * @throws SidekeyError `provider_refused`, `upstream_unreachable`, `audit_unavailable`; as `verify`
 */
export async function assertWorks(
  request: VerifyRequest,
  sealed: SealedCredential,
  {
    isIssued,
    isRotated = false,
    isWanted,
  }: Readonly<Record<'isIssued' | 'isWanted', boolean>> & { readonly isRotated?: boolean },
): Promise<Verification> {
  if (!isWanted) return { verified: false, says: 'not verified: --no-verify' };
  const { name, title } = request.provider;
  const checked = recorded(request, () => verify(request.provider, sealed, request));
  const result = await checked.catch((error: unknown): Verified => {
    if (!isRotated) throw error;
    return { kind: 'unreachable', reason: findSidekeyError(error)?.message ?? 'the check was ended' };
  });
  switch (result.kind) {
    case 'works':
      return {
        verified: true,
        says: `${title} accepts the credential (HTTP ${result.status})`,
        details: result.details,
      };
    case 'no_request':
      return { verified: false, says: `not verified: ${name} has no request to check with` };
    case 'unreachable':
      if (isRotated)
        return { verified: false, says: `not verified: the check failed: ${withoutStop(result.reason)}` };
      throw new SidekeyError(
        'upstream_unreachable',
        `${title} cannot be reached to verify the credential, and nothing was stored: ${withoutStop(result.reason)}.`,
        { hint: hintOf`${result.hint ?? 'try again later'}; or store it without the check: --no-verify` },
      );
    case 'refused':
    case 'unclear':
      if (isRotated || (isIssued && result.status !== 401)) {
        const says = `not verified: ${title} issued the token, and answered the check with HTTP ${result.status}`;
        return { verified: false, says };
      }
      throw result.kind === 'refused'
        ? new SidekeyError(
            'provider_refused',
            `${title} does not accept the credential (HTTP ${result.status}); nothing was stored.`,
            {
              hint: 'check that it is the right one and not revoked; if it may only not make this check: --no-verify',
            },
          )
        : new SidekeyError(
            'provider_refused',
            `${title} answered the check of the credential with HTTP ${result.status}; nothing was stored.`,
            { hint: 'try again later, or store it without the check: --no-verify' },
          );
  }
}

/** Records the access of the probe before the credential is sent. */
async function recorded(request: VerifyRequest, send: () => Promise<Verified>): Promise<Verified> {
  const { probe, inject } = request.provider;
  const target = probe === null ? null : parseAbsoluteTarget(probe.url);
  if (probe === null || target === null) return send();
  const plan = placementAt(inject, target);
  const [path = ''] = target.path.split('?', 1);
  const shown = plan instanceof SidekeyError ? path : pathWithout(path, pathPrefixesOf(plan));
  const access = { method: methodOf(probe), ...target.authority, path: shown, reason: 'verification' };
  return recordAccess(request, access, send, (verified) =>
    'status' in verified ? verified.status : undefined,
  );
}

/**
 * Records an access by Sidekey before a credential is sent, and its outcome.
 *
 * @throws SidekeyError `audit_unavailable`; errors of `send`
 */
export async function recordAccess<T>(
  { provider, user, state }: Pick<VerifyRequest, 'provider' | 'user' | 'state'>,
  access: Pick<AuditEvent, 'method' | 'scheme' | 'host' | 'port' | 'path' | 'reason'>,
  send: () => Promise<T>,
  statusOf: (answer: T) => number | undefined,
): Promise<T> {
  const event = { ...access, exchange: randomUUID(), user, provider: provider.name };
  await state.audit.append({ ...event, event: 'access', outcome: 'allow' });
  let status: number | undefined;
  try {
    const answer = await send();
    status = statusOf(answer);
    return answer;
  } finally {
    state.audit.note({ ...event, event: 'outcome', outcome: status === undefined ? 'failed' : 'ok', status });
  }
}

function methodOf({ json }: Probe): 'GET' | 'POST' {
  return json === null ? 'GET' : 'POST';
}
