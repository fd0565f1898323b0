import { randomUUID } from 'node:crypto';
import type { AuditLog } from '../../audit/event.ts';
import type { ConnectRequest } from './request.ts';
import type { Context } from '../context.ts';
import type { SealedCredential } from '../../grants/credential.ts';
import type { Probe, Provider } from '../../grants/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { describeFault, findSidekeyError } from '../../oauth/description.ts';
import { jsonObject, memberAt, readBounded } from '../../oauth/http.ts';
import { withoutStop } from '../../lib/text.ts';
import { parseAbsoluteTarget } from '../../policy/authority.ts';
import { applyScheme } from '../../schemes/apply.ts';
import type { AppliedRequest } from '../../schemes/scheme.ts';
import { createNonces } from '../../schemes/dpop-proof.ts';
import { needsProof, readProofAnswer } from '../../schemes/dpop.ts';
import { pathWithout } from '../../schemes/path.ts';
import { pathPrefixesOf, placementAt } from '../../schemes/placement.ts';
import { sha256 } from '../../schemes/sigv4/signature.ts';
import type { UpstreamClient } from '../../upstream/client.ts';

/** Result of a probe. */
type Verified =
  | { readonly kind: 'works'; readonly status: number }
  /** The provider accepts the request but rejects the credential. */
  | { readonly kind: 'refused'; readonly status: number }
  /** The probe proved nothing; the reason is the end of a sentence. */
  | { readonly kind: 'unknown'; readonly reason: string };

const maxResponseBytes = 1_048_576;

/**
 * Sends the probe of the provider with a credential, with the injection, audience check and address guard of
 * the proxy.
 *
 * @throws SidekeyError `policy_violation` if the credential may not be sent there, or cannot be part of a
 * request
 */
export async function verify(
  provider: Provider,
  sealed: SealedCredential,
  { upstream, signal }: { readonly upstream: UpstreamClient; readonly signal: AbortSignal },
): Promise<Verified> {
  const { probe } = provider;
  if (probe === null) return { kind: 'unknown', reason: 'no harmless call is known that would show it' };
  const target = parseAbsoluteTarget(probe.url);
  if (target === null) return { kind: 'unknown', reason: 'the call that would show it has no valid URL' };
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
  if (plan.kind === 'own')
    return { kind: 'unknown', reason: 'the call that would show it does not carry it' };
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
    // Concatenated: as a relative reference, a path that begins with `//` would name another host.
    return upstream.fetch(`${origin}${path}`, {
      method: methodOf(probe),
      headers,
      redirect: 'manual',
      signal,
      ...(body === null ? {} : { body }),
    });
  };
  // Outside of the try: a refusal by the audience is an error, not an unknown result.
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
    if (status < 200 || status > 299)
      return { kind: 'unknown', reason: `it was answered with HTTP ${status}` };
    if (probe.okField !== null) {
      const says = jsonObject(answer?.toString('utf8') ?? '');
      if (says === null || memberAt(says, probe.okField) !== true) return { kind: 'refused', status };
    }
    return { kind: 'works', status };
  } catch (error) {
    return { kind: 'unknown', reason: findSidekeyError(error)?.message ?? describeFault(error) };
  }
}

/** Returns the body with the credential. */
async function written(body: Buffer, rewrite: AppliedRequest['rewriteBody']): Promise<Buffer> {
  if (rewrite === undefined) return body;
  const pieces: Buffer[] = [];
  for await (const piece of rewrite([body])) pieces.push(piece);
  return Buffer.concat(pieces);
}

interface VerifyRequest extends Pick<ConnectRequest, 'provider' | 'user' | 'upstream' | 'signal'> {
  readonly context: { readonly output: Pick<Context['output'], 'say'> };
  readonly state: { readonly audit: Pick<AuditLog, 'append' | 'note'> };
}

/**
 * `--verify`: refuses a credential that the provider rejects. Warns if the probe proved nothing.
 *
 * @throws SidekeyError `provider_refused`, `audit_unavailable`; as `verify`
 */
export async function assertWorks(request: VerifyRequest, sealed: SealedCredential): Promise<void> {
  const { context, provider } = request;
  const verified = await recorded(request, () => verify(provider, sealed, request));
  switch (verified.kind) {
    case 'works':
      context.output.say(`${provider.title} accepts the credential (HTTP ${verified.status}).`);
      return;
    case 'refused':
      throw new SidekeyError(
        'provider_refused',
        `${provider.title} does not accept the credential (HTTP ${verified.status}); nothing was stored.`,
        { hint: 'see that it is the right one, that it is not revoked, and that it may do this' },
      );
    case 'unknown':
      context.output.say(
        `Note: whether ${provider.title} accepts the credential is not known: ${withoutStop(verified.reason)}.`,
      );
  }
}

/** Records the access before the credential is sent. */
async function recorded(
  { provider, user, state }: Pick<VerifyRequest, 'provider' | 'user' | 'state'>,
  send: () => Promise<Verified>,
): Promise<Verified> {
  const { probe } = provider;
  const target = probe === null ? null : parseAbsoluteTarget(probe.url);
  if (probe === null || target === null) return send();
  const { scheme, host, port } = target.authority;
  const plan = placementAt(provider.inject, target);
  const [path = ''] = target.path.split('?', 1);
  const event = {
    exchange: randomUUID(),
    user,
    provider: provider.name,
    method: methodOf(probe),
    scheme,
    host,
    port,
    path: plan instanceof SidekeyError ? path : pathWithout(path, pathPrefixesOf(plan)),
    reason: 'connect --verify',
  };
  await state.audit.append({ ...event, event: 'access', outcome: 'allow' });
  let verified: Verified | undefined;
  try {
    verified = await send();
    return verified;
  } finally {
    const status = verified === undefined || verified.kind === 'unknown' ? undefined : verified.status;
    state.audit.note({ ...event, event: 'outcome', outcome: status === undefined ? 'failed' : 'ok', status });
  }
}

function methodOf({ json }: Probe): 'GET' | 'POST' {
  return json === null ? 'GET' : 'POST';
}
