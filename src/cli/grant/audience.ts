import { SidekeyError } from '../../errors.ts';
import type { Provider } from '../../grants/provider.ts';
import { matchesPattern } from '../../policy/domain-map.ts';
import { defaultPort } from '../../policy/authority.ts';
import { isPattern, parsePattern, type DomainPattern } from '../../policy/pattern.ts';

/**
 * The hosts that a new credential may be sent to: what a person names, else what the provider says.
 *
 * @throws SidekeyError `input_invalid` where there is none, or one is no host
 */
export function chooseAudience(named: readonly string[] | undefined, provider: Provider): readonly string[] {
  if (named !== undefined) return [...new Set(named.map(canonical))];
  if (provider.audience.length > 0) return provider.audience;
  throw new SidekeyError('input_invalid', `The provider ${provider.name} says no host for its credentials.`, {
    hint: 'name the hosts that this one may be sent to: --audience HOST',
  });
}

function canonical(text: string): string {
  const pattern = parsePattern(text);
  if (isPattern(pattern)) return pattern.text;
  throw new SidekeyError('input_invalid', `--audience: ${JSON.stringify(text)} ${pattern.problem}.`, {
    hint: 'write host, host:port or *.suffix, such as api.example.com',
  });
}

/** Whether everything that a pattern stands for is within an audience. */
export function isWithin(audience: readonly string[], pattern: DomainPattern): boolean {
  return audience
    .map(parsePattern)
    .filter(isPattern)
    .some((entry) => covers(entry, pattern));
}

function covers(entry: DomainPattern, pattern: DomainPattern): boolean {
  if (!pattern.wildcard) {
    const port = pattern.port ?? defaultPort.https;
    return matchesPattern(entry, { scheme: 'https', host: pattern.host, port });
  }
  const samePort = (entry.port ?? defaultPort.https) === (pattern.port ?? defaultPort.https);
  const below = pattern.host === entry.host || pattern.host.endsWith(`.${entry.host}`);
  return samePort && entry.wildcard && below;
}
