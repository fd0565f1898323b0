import type { Config } from '../config/config.ts';
import type { Policies } from '../config/rules-resolve.ts';
import { SidekeyError } from '../lib/errors.ts';
import { orMeant } from '../lib/text.ts';
import type { Domain } from '../proxy/policy/domain-map.ts';

/** Changes of the config that a command asks for, before the config takes effect. */

const anyPort = { host: '127.0.0.1', port: 0 };

/** Returns the config of a proxy in this process, on any free port. */
export function onOwnPort(config: Config): Config {
  return {
    ...config,
    // No rule of the kernel knows this port.
    proxy: { ...config.proxy, listen: anyPort, localCallers: 'same_user', transparent: null },
    workers: 1,
  };
}

/** Accepts redirected connections without a token if the config has no settings for them. */
export function acceptingRedirected(config: Config): Config {
  const { proxy } = config;
  return { ...config, proxy: { ...proxy, transparent: proxy.transparent ?? { token: null } } };
}

/** Settings of the proxy of `sidekey run`. */
export interface ProxySettings {
  /** Default: as the config file says. */
  readonly unmatched: Config['proxy']['unmatchedHosts'] | undefined;
  /** Policies that each request with a credential must pass besides the rules of its domain. */
  readonly policies: readonly string[];
}

/**
 * Returns the config of the proxy of `sidekey run`, which writes nothing to the command's standard output.
 *
 * @throws SidekeyError `input_invalid` for an unknown policy
 */
export function configOfRun(config: Config, { unmatched, policies }: ProxySettings): Config {
  const { webhook, notify } = config.approvals;
  const unknown = policies.find((name) => !config.policies.names.includes(name));
  if (unknown !== undefined) throw unknownPolicy(unknown, config.policies.names);
  const restrict = (domain: Domain) => withPolicies(domain, policies, config.policies);
  const base = onOwnPort(config);
  return {
    ...base,
    proxy: { ...base.proxy, unmatchedHosts: unmatched ?? config.proxy.unmatchedHosts },
    // Only receivers of questions learn the URL of the pages.
    admin: { ...config.admin, listen: webhook !== null || notify.length > 0 ? anyPort : null },
    audit: { ...config.audit, sinks: config.audit.sinks.filter(({ type }) => type !== 'stdout') },
    // After the command has ended there are no exchanges to wait for.
    limits: { ...config.limits, drain: 0 },
    domains: config.domains.map(restrict),
    restrict,
  };
}

function withPolicies(domain: Domain, names: readonly string[], policies: Policies): Domain {
  const additionalRules = names.flatMap((name) => policies.additionalRules(name, domain.pattern) ?? []);
  return domain.action.kind !== 'grant' || additionalRules.length === 0
    ? domain
    : { ...domain, additionalRules };
}

function unknownPolicy(name: string, names: readonly string[]): SidekeyError {
  return new SidekeyError('input_invalid', `The config has no policy of that name${orMeant(name, names)}`, {
    hint: names.length === 0 ? 'add it under policies in the config file' : `one of ${names.join(', ')}`,
  });
}
