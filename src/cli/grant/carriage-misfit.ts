import { SidekeyError } from '../../errors.ts';
import type { Credential } from '../../grants/credential.ts';
import type { Provider } from '../../grants/provider.ts';
import { fieldsFor } from '../../inject/fields-for.ts';

/**
 * Why no request could carry a credential as its provider says. Null: some can, or that is not known before there is a
 * token.
 */
export function carriageMisfit(
  credential: Credential,
  { inject }: Pick<Provider, 'inject'>,
): SidekeyError | null {
  if (credential.type === 'oauth2' && credential.accessToken === null) return null;
  const ways = inject.flatMap(({ as }) => (as.kind === 'own' ? [] : [as]));
  let misfit: SidekeyError | null = null;
  for (const plan of ways) {
    try {
      fieldsFor(credential, plan);
      return null;
    } catch (error) {
      if (!(error instanceof SidekeyError)) throw error;
      misfit ??= error;
    }
  }
  return misfit;
}
