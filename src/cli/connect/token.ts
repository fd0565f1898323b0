import { SidekeyError } from '../../errors.ts';
import type { AwsKeys } from '../../grants/aws-keys.ts';
import type { Credential } from '../../grants/credential.ts';
import {
  checkedKeys,
  checkedRegion,
  checkedString,
  checkedToken,
  shapes,
} from '../../grants/credential-shape.ts';
import { jwtExpiry, looksLikeJwt } from '../../grants/expiry-input.ts';
import type { PastedToken, Provider } from '../../grants/provider.ts';
import { fillTemplate, parseTemplate } from '../../policy/template.ts';
import type { Context } from '../context.ts';
import type { ConnectRequest, Obtain } from './flow.ts';
import { doubtOf, readParts, type PastedParts } from './pasted-parts.ts';

/**
 * `connect NAME --token`: a key or a personal token, pasted. Its parts come from standard input or from a prompt that
 * does not show them, and become what the provider carries.
 */
export const pasteToken: Obtain = async (request) => {
  const { options, provider } = request;
  const parts = await askedParts(request);
  const credential = credentialOf(parts, pastedToken(provider));
  if (options.region === undefined) return { credential, scopes: [] };
  if (credential.type === 'aws') {
    return { credential: { ...credential, region: checkedRegion(options.region) }, scopes: [] };
  }
  throw new SidekeyError('input_invalid', `The keys of ${provider.title} have no region.`, {
    hint: 'leave --region out',
  });
};

/** What a person pastes, by the names of the provider's parts. */
export async function askedParts({
  context,
  provider,
}: Pick<ConnectRequest, 'context' | 'provider'>): Promise<PastedParts> {
  const token = pastedToken(provider);
  const parts =
    context.ask === null ? readParts(await context.readInput(), token) : await askParts(context, token);
  for (const part of token.parts) {
    const doubt = doubtOf(parts[part.name] ?? '', part);
    if (doubt !== null) context.output.say(`Note: ${doubt}`);
  }
  return parts;
}

function pastedToken({ name, token, flows, inject }: Provider): PastedToken {
  if (token !== null) return token;
  if (inject.some(({ as }) => as.kind === 'client_certificate')) {
    throw new SidekeyError(
      'input_invalid',
      `The provider ${name} has a client certificate shown, which no prompt takes.`,
      {
        hint: `cat client.crt client.key | sidekey grant add ${name} --provider ${name}`,
      },
    );
  }
  // A provider of one's own that says nothing of keys, nor of OAuth: the key it has is one value.
  if (flows.length === 0) {
    const part = { name: 'token', what: 'key or token', secret: true, starts: [] };
    return { what: 'key or token', url: null, steps: [], parts: [part], carry: { kind: 'inject' } };
  }
  throw new SidekeyError('input_invalid', `The provider ${name} has no keys that are pasted.`, {
    hint: `sidekey connect ${name}, or hand over a token that you have: sidekey grant add ${name} --provider ${name} < token.json`,
  });
}

async function askParts({ ask, output }: Context, token: PastedToken): Promise<PastedParts> {
  if (token.url !== null) output.say(`The ${token.what} is made at ${token.url}`);
  for (const step of token.steps) output.say(`  · ${step}`);
  const parts: Record<string, string> = {};
  for (const { name, what, secret } of token.parts) {
    parts[name] = (await ask?.(`Paste the ${what}${secret ? ' (it is not shown)' : ''}`, { secret })) ?? '';
  }
  return parts;
}

/** The parts as keys of AWS. */
export function keysIn(parts: PastedParts): AwsKeys {
  const { access_key_id: accessKeyId = '', secret_access_key: secretAccessKey = '' } = parts;
  return checkedKeys({ accessKeyId, secretAccessKey, sessionToken: null });
}

/** The parts as a credential. Each is checked as `grant add` checks it. */
function credentialOf(parts: PastedParts, { carry }: PastedToken): Credential {
  const fill = (template: string): string =>
    fillTemplate(parseTemplate(template) ?? [], (name) => parts[name] ?? '');
  for (const [name, value] of Object.entries(parts)) checkedString(value, `"${name}"`, shapes.api_key);
  switch (carry.kind) {
    case 'inject': {
      const [value = ''] = Object.values(parts);
      const place = 'what was pasted';
      checkedToken(value, place, shapes.api_key);
      if (looksLikeJwt(value)) return { type: 'jwt', value, expiresAt: jwtExpiry(value) };
      return { type: 'api_key', value };
    }
    case 'basic': {
      const username = fill(carry.username);
      if (username.includes(':')) {
        throw new SidekeyError(
          'input_invalid',
          'The user name holds a colon, which RFC 7617 does not allow.',
        );
      }
      return { type: 'basic', username, password: fill(carry.password) };
    }
    case 'aws':
      return { type: 'aws', ...keysIn(parts), region: null };
    case 'headers':
      return {
        type: 'headers',
        headers: carry.headers.map(([name, template]) => [
          name,
          checkedToken(fill(template), `the header ${name}`, shapes.headers),
        ]),
      };
  }
}
