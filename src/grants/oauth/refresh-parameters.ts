import type { RefreshParameter } from '../../domain/credential.ts';

/** Optional parameters of a refresh that some providers require: `scope` and `resource`. Pure. */

/** Codes of a malformed request, which a provider refuses before it uses up the refresh token. */
const malformed =
  /^(?:invalid_(?:request|scopes?|target|resource|parameter)|missing_\w+|\w+_(?:missing|required)|unnamed_error)$/i;

/**
 * Returns the parameter whose absence caused a refusal; undefined: another cause.
 *
 * @param absent parameters that have a value and were not sent
 */
export function missingParameter(
  { error, description }: { readonly error: string; readonly description: string },
  absent: readonly RefreshParameter[],
): RefreshParameter | undefined {
  if (!malformed.test(error)) return undefined;
  // Some servers say no more than `invalid_request`.
  if (error === 'invalid_request' && description === '') return absent[0];
  // RFC 8707 §2 has `invalid_target`.
  const named = [/target|resource/i.test(error) ? 'resource' : ''];
  // Entra's AADSTS90009 names a resource, but is resolved by the scopes.
  if (/scope/i.test(error) || /\bscopes?\b|\bAADSTS90009\b/i.test(description)) named.push('scope');
  if (/\bresource\b/i.test(description)) named.push('resource');
  return named.flatMap((name) => absent.filter((parameter) => parameter === name))[0];
}
