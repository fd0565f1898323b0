import { hashToken, readPresented } from '../../agents/authentication.ts';
import { agentDisabled, agentMissing, identityEnded } from '../../agents/permissions.ts';
import { openTokenIdentities } from '../../app/issuer-keys.ts';
import type { Config } from '../../config/config.ts';
import { inputInvalid, orThrow } from '../../lib/errors.ts';
import type { Context } from '../context.ts';
import { details } from '../display.ts';
import { dateTime, isoTime } from '../format.ts';

/** Claims of one issuer's tokens, or a name in a certificate, that identify an agent. */
interface IdentityRule {
  /** Key of `agent_issuers`; `proxy.tls` for certificates. */
  readonly issuer: string;
  /** Values by claim, with a slash before members of a claim. For a certificate, its name. */
  readonly claims: Readonly<Record<string, string>>;
}

/** Returns the rules of an agent. */
export function identityRules({ agentIssuers, proxy }: Config, agent: string): readonly IdentityRule[] {
  const certificates = Array.from(proxy.tls?.agents ?? [])
    .filter(([, of]) => of === agent)
    .map(([certificate]) => ({ issuer: 'proxy.tls', claims: { certificate } }));
  const tokens = agentIssuers.flatMap(({ name, rules }) =>
    rules
      .filter((rule) => rule.agent === agent)
      .map(({ patterns }) => ({
        issuer: name,
        claims: Object.fromEntries(patterns.map(({ path, pattern }) => [path.join('/'), pattern])),
      })),
  );
  return [...tokens, ...certificates];
}

/** Formats a rule: `github: sub repo:acme/app:ref:refs/heads/main, repository_id 74`. */
export function ruleText({ issuer, claims }: IdentityRule): string {
  const texts = Object.entries(claims).map(([claim, value]) => `${claim} ${value}`);
  return `${issuer}: ${texts.join(', ')}`;
}

/**
 * `sidekey agent check`: verifies a token of an OIDC issuer from standard input, as the proxy does. Fetches
 * the keys of the issuer.
 *
 * @throws SidekeyError the refusal of the proxy; `input_invalid` if the text is not a JWT
 */
export async function checkToken({ withView, readInput, output, env, now }: Context): Promise<void> {
  const presented = readPresented(['Proxy-Authorization', `Bearer ${(await readInput()).trim()}`]);
  if (presented.kind !== 'token' || presented.jwt === undefined) {
    throw inputInvalid('Standard input is not a JWT.', 'sidekey agent check < FILE');
  }
  const { jwt } = presented;
  const identity = await withView(async ({ store, config }) => {
    const identities = openTokenIdentities({ config: () => config, env, now, namesAgents: true });
    const verified = orThrow(await identities.verify(jwt, hashToken(jwt)));
    const agent = (await store?.agents.get(verified.agent)) ?? null;
    if (agent === null) throw agentMissing(verified);
    if (agent.disabledAt !== null) throw agentDisabled(agent);
    if (verified.expiresAt <= now()) throw identityEnded(verified);
    return verified;
  });
  const { agent, issuer, subject, expiresAt } = identity;
  output.result(
    { agent, issuer, subject, expires_at: isoTime(expiresAt) },
    details(output.display, agent, {
      issuer: `agent_issuers.${issuer}`,
      subject,
      'accepted until': dateTime(expiresAt),
    }),
  );
}
