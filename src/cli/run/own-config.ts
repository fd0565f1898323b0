import type { Config } from '../../config/config.ts';
import type { Policies } from '../../config/define-rules.ts';
import { didYouMean } from '../../did-you-mean.ts';
import { SidekeyError } from '../../errors.ts';
import type { Domain } from '../../policy/domain-map.ts';

/** What a run has in its own way. */
export interface OwnSettings {
  readonly unmatched: Config['proxy']['unmatched'];
  /** Names of policies that every request with a credential has to pass besides the rules of its domain. */
  readonly policies: readonly string[];
}

/**
 * The config as a proxy of its own has it that serves one command, beside whatever else runs: any port that is free, one
 * process, nothing on standard output, which is the command's.
 *
 * @throws SidekeyError `input_invalid` for a policy that is not there
 */
export function ownConfig(config: Config, { unmatched, policies }: OwnSettings): Config {
  const anyPort = { host: '127.0.0.1', port: 0 };
  return {
    ...config,
    proxy: { ...config.proxy, listen: anyPort, unmatched },
    workers: 1,
    // Only the webhook tells anybody where the pages are.
    admin: { ...config.admin, listen: config.approvals.webhook === null ? null : anyPort },
    audit: { ...config.audit, sinks: config.audit.sinks.filter(({ type }) => type !== 'stdout') },
    // When the command has ended nobody is left to wait for.
    limits: { ...config.limits, drain: 0 },
    domains: config.domains.map((domain) => withPolicies(domain, policies, config.policies)),
  };
}

function withPolicies(domain: Domain, names: readonly string[], policies: Policies): Domain {
  const besides = names.map((name) => {
    const rules = policies.besides(name, domain.pattern);
    if (rules === null) throw unknownPolicy(name, policies.names);
    return rules;
  });
  return domain.action.kind !== 'grant' || besides.length === 0 ? domain : { ...domain, besides };
}

function unknownPolicy(name: string, known: readonly string[]): SidekeyError {
  const near = didYouMean(name, known);
  return new SidekeyError(
    'input_invalid',
    `The config has no policy of that name${near === null ? '' : `; did you mean ${near}?`}${near === null ? '.' : ''}`,
    { hint: known.length === 0 ? 'add it under policies in the config file' : `one of ${known.join(', ')}` },
  );
}
