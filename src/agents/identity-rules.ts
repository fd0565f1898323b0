import type { Config } from '../config/config.ts';

/** Claims of the tokens of one issuer, or a name in a certificate, that identify an agent. */
export interface IdentityRule {
  /** Key of `agent_issuers`; of certificates `proxy.tls`. */
  readonly issuer: string;
  /** Values by claim; members of a claim after a slash. Of a certificate, its name. */
  readonly claims: Readonly<Record<string, string>>;
}

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
