import type { Providers } from '../../config/providers.ts';
import {
  type AwsKeys,
  clockOf,
  type HeldCredential,
  type OAuth2Credential,
} from '../../domain/credential.ts';
import type { PastedToken, Provider, TokenPart } from '../../domain/provider.ts';
import { readCredential } from '../../grants/credential-input.ts';
import { jwtExpiry, looksLikeJwt } from '../../grants/token-expiry.ts';
import {
  checkedKeys,
  checkedRegion,
  checkedString,
  checkedToken,
  shapes,
} from '../../grants/credential-shape.ts';
import type { Obtained } from '../../grants/keep.ts';
import { scopesIn } from '../../grants/oauth/scopes.ts';
import { inputInvalid, SidekeyError } from '../../lib/errors.ts';
import { readJson } from '../../lib/json.ts';
import { fillTemplate, parseTemplate } from '../../proxy/schemes/parameters.ts';
import { refreshGapOf } from '../credential-entry.ts';
import { type ConnectRequest, renewNow } from './request.ts';

/** Keys and tokens that a person pastes, or a program writes. */

/** Pasted values by part name. */
export type PastedParts = Readonly<Record<string, string>>;

/** `connect NAME --token`: returns pasted parts as a credential. @throws SidekeyError `input_invalid` */
export function pastedCredential(
  parts: PastedParts,
  { provider, options: { region } }: ConnectRequest,
): Obtained {
  const credential = credentialOf(parts, pastedToken(provider));
  if (region === undefined) return { credential, scopes: [] };
  if (credential.type === 'aws')
    return { credential: { ...credential, region: checkedRegion(region) }, scopes: [] };
  throw inputInvalid(`The keys of ${provider.title} have no region.`, 'leave --region out');
}

/**
 * Refuses a key in the form of another provider, because its verification would disclose it to a foreign
 * service. Refuses several words, and quotes or the name of a variable around a key.
 *
 * @throws SidekeyError `input_invalid`
 */
export function assertOwnForm(
  parts: PastedParts,
  provider: Provider,
  providers: Pick<Providers, 'names' | 'get'>,
): void {
  const [part, ...more] = pastedToken(provider).parts;
  const value = parts[part?.name ?? ''];
  if (part === undefined || value === undefined || more.length > 0) return;
  if (/\s/.test(value)) {
    throw inputInvalid(
      `The ${part.label} has spaces or line breaks.`,
      'paste the value alone, without "Bearer" or a name before it',
    );
  }
  if (/^(["'`]).*\1$/.test(value)) {
    throw inputInvalid(
      `The ${part.label} has quotes around it.`,
      'paste the value alone, without the quotes',
    );
  }
  // A line of an .env file. A name of two words: the value of a cookie may begin with SID=.
  if (/^[A-Z][A-Z0-9]*_[A-Z0-9_]*=[^=]/.test(value)) {
    throw inputInvalid(
      `The ${part.label} has the name of a variable before it.`,
      'paste the value alone, without the name and the =',
    );
  }
  if (part.prefixes.length === 0 || part.prefixes.some(({ prefix }) => value.startsWith(prefix))) return;
  const [other] = providers.names
    .flatMap((name) => {
      const [only, ...rest] = providers.get(name)?.token?.parts ?? [];
      return rest.length > 0 ? [] : (only?.prefixes ?? []).map((known) => ({ name, ...known }));
    })
    .filter(({ prefix, wrongKind }) => !wrongKind && prefix.length > 2 && value.startsWith(prefix))
    .toSorted((a, b) => b.prefix.length - a.prefix.length);
  if (other === undefined) return;
  throw inputInvalid(
    `This has the form of a key of ${other.name}, not of ${provider.title} (${other.prefix}…).`,
    `sidekey connect ${other.name} --token`,
  );
}

/** Returns the parts that a provider's key has. @throws SidekeyError `input_invalid` if none is pasted */
export function pastedToken({ name, token, flows, inject }: Provider): PastedToken {
  if (token !== null) return token;
  if (inject.some(({ as }) => as.kind === 'client_certificate')) {
    throw inputInvalid(
      `The provider ${name} expects a client certificate, which cannot be pasted.`,
      `cat client.crt client.key | sidekey grant import ${name} --provider ${name}`,
    );
  }
  if (flows.length > 0) {
    throw inputInvalid(
      `The provider ${name} has no keys that are pasted.`,
      `sidekey connect ${name}, or hand over a token that you have: sidekey grant import ${name} --provider ${name} < token.json`,
    );
  }
  // A provider without a token definition and without OAuth has a key of one part.
  const part = { name: 'token', label: 'key or token', secret: true, prefixes: [] };
  return { label: 'key or token', url: null, steps: [], parts: [part], inject: { kind: 'inject' } };
}

/** Returns warnings about the format of the values, as sentences. */
export function doubtsOf(values: PastedParts, { parts }: PastedToken): readonly string[] {
  return parts.flatMap((part) => doubtOf(values[part.name] ?? '', part) ?? []);
}

/** Returns a warning about the format of a value, as a sentence; null: none. */
export function doubtOf(value: string, { label, prefixes }: TokenPart): string | null {
  const known = prefixes
    .toSorted((a, b) => b.prefix.length - a.prefix.length)
    .find(({ prefix }) => value.startsWith(prefix));
  if (known?.wrongKind === true) return `This looks like ${known.label}, which does not fit here.`;
  const meant = prefixes.filter(({ wrongKind }) => !wrongKind).map(({ prefix }) => prefix);
  if (known !== undefined || meant.length === 0) return null;
  return `The ${label} usually begins with ${meant.join(' or ')}; this does not.`;
}

export function keysIn(parts: PastedParts): AwsKeys {
  const { access_key_id: accessKeyId = '', secret_access_key: secretAccessKey = '' } = parts;
  return checkedKeys({ accessKeyId, secretAccessKey, sessionToken: null });
}

/** Returns the parts as a credential, checked as by `grant import`. @throws SidekeyError `input_invalid` */
export function credentialOf(parts: PastedParts, { inject }: PastedToken): HeldCredential {
  const fill = (template: string): string =>
    fillTemplate(parseTemplate(template) ?? [], (name) => parts[name] ?? '');
  for (const [name, value] of Object.entries(parts)) checkedString(value, `"${name}"`, shapes.api_key);
  switch (inject.kind) {
    case 'inject': {
      const [value = ''] = Object.values(parts);
      checkedToken(value, 'what was pasted', shapes.api_key);
      if (looksLikeJwt(value)) return { type: 'jwt', value, expiresAt: jwtExpiry(value) };
      return { type: 'api_key', value };
    }
    case 'basic': {
      const username = fill(inject.username);
      if (!username.includes(':')) return { type: 'basic', username, password: fill(inject.password) };
      throw new SidekeyError('input_invalid', 'The user name holds a colon, which RFC 7617 does not allow.', {
        hint: 'give the user name without the password',
      });
    }
    case 'aws':
      return { type: 'aws', ...keysIn(parts), region: null };
    case 'headers':
      return {
        type: 'headers',
        headers: inject.headers.map(([name, template]) => [
          name,
          checkedToken(fill(template), `the header ${name}`, shapes.headers),
        ]),
      };
  }
}

/**
 * `connect NAME --import`: imports a refresh token, bare or in a token response. Requests an access token at
 * once if there is none.
 *
 * @throws SidekeyError `input_invalid`; errors of `renewNow`
 */
export async function importToken(text: string, request: ConnectRequest): Promise<Obtained> {
  const { provider, scopes, output, parts } = request;
  const credential = readRefreshToken(text, parts.now);
  const gap = refreshGapOf(credential, provider);
  if (gap !== null) throw inputInvalid(gap.sentence, gap.hint);
  output.say(
    'The other tool must not use this refresh token any more: where the provider rotates refresh tokens, the second use fails.',
  );
  const clock = clockOf(credential, parts.now(), 0);
  // An imported access token is not bound to a key of Sidekey.
  if (clock === 'absent' || clock === 'ended' || provider.dpop !== null) return renewNow(request, credential);
  return { credential, scopes: scopesIn(credential.scope) ?? scopes };
}

function readRefreshToken(text: string, now: () => number): OAuth2Credential {
  const bare = withoutMark(text);
  const isToken = /^[\x21-\x7e]+$/.test(bare) && !/^[{"]/.test(bare);
  const { credential } = readCredential(isToken ? JSON.stringify({ refresh_token: bare }) : text, { now });
  if (credential.type === 'oauth2' && credential.refreshToken !== null) return credential;
  throw inputInvalid(
    'The input contains no refresh token.',
    'an access token or a key alone is stored with sidekey grant import NAME --provider PROVIDER < token.json',
  );
}

/** Removes a byte order mark, and the space around a text. */
function withoutMark(text: string): string {
  return text.replace(/^\uFEFF/, '').trim();
}

/**
 * Parses the parts of a token: the bare value of a single part; else a JSON object or lines `name=value`.
 * Errors name parts, never values.
 *
 * @throws SidekeyError `input_invalid`
 */
export function readParts(text: string, { parts }: PastedToken): PastedParts {
  const bare = withoutMark(text);
  const [only, ...more] = parts;
  const isOne = only !== undefined && more.length === 0;
  const form = isOne
    ? `the ${only.label} by itself`
    : parts.map(({ name }) => `${name}=…`).join(' and ') + ', a line each';
  const invalid = (sentence: string) => inputInvalid(sentence, `write ${form} to standard input`);
  if (bare === '') throw invalid('Standard input is empty.');
  if (isOne && !bare.startsWith('{')) return { [only.name]: bare };
  const written = bare.startsWith('{') ? inJson(bare, invalid) : inLines(bare, invalid);
  if (![...written.keys()].every((name) => parts.some((part) => part.name === name)))
    throw invalid('Standard input names a part that this provider has not.');
  return Object.fromEntries(
    parts.map(({ name }) => {
      const value = written.get(name)?.trim() ?? '';
      if (value === '') throw invalid(`The part ${name} is missing on standard input.`);
      return [name, value];
    }),
  );
}

type Invalid = (sentence: string) => SidekeyError;

function inJson(text: string, invalid: Invalid): ReadonlyMap<string, string> {
  const reading = readJson(text);
  if (!reading.ok || !(reading.value instanceof Map)) throw invalid('Standard input is not valid JSON.');
  return new Map(
    [...reading.value].map(([name, value]) => {
      if (typeof value !== 'string') throw invalid('A part on standard input is not a text.');
      return [String(name), value];
    }),
  );
}

function inLines(text: string, invalid: Invalid): ReadonlyMap<string, string> {
  const parts = new Map<string, string>();
  for (const line of text.split(/\r?\n/).filter((each) => each.trim() !== '')) {
    const [, name, value] = /^\s*([a-z0-9_]+)\s*=(.*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined)
      throw invalid('Standard input has a line that is not NAME=VALUE.');
    if (parts.has(name)) throw invalid('Standard input names a part twice.');
    parts.set(name, value);
  }
  return parts;
}
