import { SidekeyError } from '../../errors.ts';
import type { Provider } from '../../grants/provider.ts';
import { isPattern, parsePattern, type DomainPattern } from '../../policy/pattern.ts';

/**
 * The hosts that a new credential may be sent to: what a person names, else what the provider says.
 *
 * @throws SidekeyError `input_invalid` where there is none, or one is no host
 */
export function chooseAudience(named: readonly string[] | undefined, provider: Provider): readonly string[] {
  if (named !== undefined) return [...new Set(named.map((text) => hostPattern('--audience', text).text))];
  if (provider.audience.length > 0) return provider.audience;
  throw new SidekeyError('input_invalid', `The provider ${provider.name} says no host for its credentials.`, {
    hint: 'name the hosts that this one may be sent to: --audience HOST',
  });
}

/**
 * A host as an option names it.
 *
 * @throws SidekeyError `input_invalid`
 */
export function hostPattern(option: string, text: string): DomainPattern {
  const pattern = parsePattern(text);
  if (isPattern(pattern)) return pattern;
  throw new SidekeyError('input_invalid', `${option}: ${JSON.stringify(text)} ${pattern.problem}.`, {
    hint: 'write host, host:port or *.suffix, such as api.example.com',
  });
}
