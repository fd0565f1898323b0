import { SidekeyError } from '../../errors.ts';
import type { Provider } from '../../grants/provider.ts';
import { joinScopes } from '../../oauth/scopes.ts';
import { firstToken } from './first-token.ts';
import type { ConnectOptions, Obtain } from './flow.ts';
import { readKeyFile, type ServiceAccount } from './key-file.ts';
import { parametersOf } from './parameters.ts';

/**
 * `connect NAME --jwt-bearer --key FILE`: assertions that a private key signs (RFC 7523 §2.1). A file of a service
 * account says by itself who it is.
 */
export const obtainByJwtBearer: Obtain = async (request) => {
  const { context, provider, scopes, options } = request;
  const { key, account } = await readKeyFile(context, options);
  if (account !== null) assertSameEndpoint(account, provider, options);
  const issuer = options.issuer ?? account?.clientEmail ?? provider.clientId;
  if (issuer === null) {
    throw new SidekeyError(
      'input_invalid',
      'Nothing says who signs: the issuer of the assertions is missing.',
      {
        hint: 'name it with --issuer, as the provider has it registered: a client id, or the address of an account',
      },
    );
  }
  return firstToken(request, {
    kind: 'jwt_bearer',
    key,
    issuer,
    subject: options.subject ?? null,
    audience: options.assertionAudience ?? null,
    scope: scopes.length === 0 ? null : joinScopes(scopes, provider.dialect),
    parameters: parametersOf(options.param),
  });
};

/** A key of one service must not sign for another: the file says where its assertions go. */
function assertSameEndpoint(
  { tokenUri }: ServiceAccount,
  { name, tokenEndpoint }: Provider,
  { assertionAudience }: ConnectOptions,
): void {
  if (tokenUri === tokenEndpoint || tokenUri === assertionAudience) return;
  const shown = URL.canParse(tokenUri) ? tokenUri : 'no URL';
  throw new SidekeyError(
    'input_invalid',
    `The service account is for another token endpoint (${shown}) than the provider ${name} has (${tokenEndpoint ?? 'none'}).`,
    {
      hint: 'connect the provider that it belongs to; where the two are one, name the one of the file with --assertion-audience',
    },
  );
}
