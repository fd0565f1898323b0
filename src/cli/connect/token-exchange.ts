import { SidekeyError } from '../../errors.ts';
import { checkedString } from '../../grants/credential-shape.ts';
import { joinScopes } from '../../oauth/scopes.ts';
import type { Context } from '../context.ts';
import { firstToken } from './first-token.ts';
import type { Obtain } from './flow.ts';
import { keptReference } from './kept-reference.ts';
import { parametersOf } from './parameters.ts';

/** RFC 8693 §3. */
const typePrefix = 'urn:ietf:params:oauth:token-type:';
const knownTypes = ['access_token', 'refresh_token', 'id_token', 'jwt', 'saml1', 'saml2'];

/**
 * `connect NAME --token-exchange`: somebody else's token is exchanged (RFC 8693), each time anew. It comes from a
 * reference that is read for each exchange, or from standard input, and then it is kept.
 */
export const obtainByTokenExchange: Obtain = async (request) => {
  const { context, provider, scopes, options } = request;
  const { subjectToken, actorToken } = options;
  const actorTokenType = typeOf('--actor-token-type', options.actorTokenType);
  if (actorToken === undefined && actorTokenType !== null) {
    throw new SidekeyError('input_invalid', '--actor-token-type stands without --actor-token.', {
      hint: 'say where the actor’s token is: --actor-token file:PATH',
    });
  }
  return firstToken(request, {
    kind: 'token_exchange',
    subjectTokenType: typeOf('--subject-token-type', options.subjectTokenType) ?? `${typePrefix}access_token`,
    requestedTokenType: typeOf('--requested-token-type', options.requestedTokenType),
    actorToken: actorToken === undefined ? null : { reference: keptReference('--actor-token', actorToken) },
    // RFC 8693 §2.1: required where there is an actor.
    actorTokenType: actorToken === undefined ? null : (actorTokenType ?? `${typePrefix}access_token`),
    scope: scopes.length === 0 ? null : joinScopes(scopes, provider.dialect),
    parameters: parametersOf(options.param),
    subjectToken:
      subjectToken === undefined
        ? { value: await readSubject(context) }
        : { reference: keptReference('--subject-token', subjectToken) },
  });
};

async function readSubject({ ask, readInput }: Context): Promise<string> {
  const text =
    ask === null
      ? await readInput()
      : await ask('Paste the token that is to be exchanged (it is not shown)', { secret: true });
  return checkedString(text.trim(), 'the token that is to be exchanged', 'one line of text');
}

/** A URI, or the last word of one of RFC 8693 §3. */
function typeOf(option: string, text: string | undefined): string | null {
  if (text === undefined) return null;
  if (knownTypes.includes(text)) return `${typePrefix}${text}`;
  if (/^[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+$/.test(text)) return text;
  throw new SidekeyError('input_invalid', `${option} is no type of a token.`, {
    hint: `write one of ${knownTypes.join(', ')}, or a URI as the provider documents it`,
  });
}
