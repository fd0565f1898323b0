import { matcherFor, type GuardedSecrets } from '../echo/guarded-secrets.ts';
import { replaced } from '../echo/redactor.ts';

/**
 * Response fields without a credential that stood in the path or the query: a redirect repeats the address that was
 * asked for, and who follows it elsewhere would take the credential along. An address without it is asked for again
 * through Sidekey, which puts it in anew.
 *
 * @param fields name, value, name, value…
 * @param instead what takes its place: what the client wrote there
 */
export function conceal(fields: readonly string[], secrets: GuardedSecrets, instead = ''): readonly string[] {
  const matcher = matcherFor(secrets);
  if (matcher === null) return fields;
  return fields.map((text, index) => (index % 2 === 0 ? text : replaced(matcher, text, () => instead)));
}
