import { hashToken, readPresented } from '../agents/authentication.ts';
import { agentDisabled, agentMissing, identityEnded } from '../agents/permissions.ts';
import { openTokenIdentities } from '../app/token-identities.ts';
import { inputInvalid, orThrow } from '../lib/errors.ts';
import type { Context } from './context.ts';
import { details } from './display.ts';
import { dateTime, isoTime } from '../operations/format.ts';

/**
 * `sidekey agent check`: verifies a token of an OIDC issuer from standard input, as the proxy does. Fetches
 * the keys of the issuer.
 *
 * @throws SidekeyError the refusal of the proxy; `input_invalid` for another text than a JWT
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
