import { joinScopes } from '../../oauth/scopes.ts';
import { firstToken } from './first-token.ts';
import type { Obtain } from './flow.ts';
import { parametersOf } from './parameters.ts';

/** `connect NAME --client-credentials`: the client of the config asks for itself (RFC 6749 §4.4). */
export const obtainByClientCredentials: Obtain = async (request) => {
  const { provider, scopes, options } = request;
  return firstToken(request, {
    kind: 'client_credentials',
    scope: scopes.length === 0 ? null : joinScopes(scopes, provider.dialect),
    parameters: parametersOf(options.param),
  });
};
