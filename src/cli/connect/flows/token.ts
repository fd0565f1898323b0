import { type ConnectRequest, type Obtain, renewNow } from '../request.ts';
import type { Context } from '../../context.ts';
import { refreshGapOf } from '../../../operations/credential-entry.ts';
import { jwtExpiry, looksLikeJwt, readCredential } from '../../../grants/credential-input.ts';
import {
  checkedKeys,
  checkedRegion,
  checkedString,
  checkedToken,
  shapes,
} from '../../../grants/credential-shape.ts';
import { type AwsKeys, clockOf, type Credential, type OAuth2Credential } from '../../../domain/credential.ts';
import { readJson } from '../../../lib/json.ts';
import type { PastedToken, Provider, TokenPart } from '../../../domain/provider.ts';
import { inputInvalid, SidekeyError } from '../../../lib/errors.ts';
import { scopesIn } from '../../../grants/oauth/scopes.ts';
import { fillTemplate, parseTemplate } from '../../../proxy/schemes/parameters.ts';

/** `connect NAME --token`: reads an API key or personal token from input, or a prompt without echo. */
export const pasteToken: Obtain = async (request) => {
  const { options, provider } = request;
  const parts = await askedParts(request, (asked) => assertOwnForm(asked, request));
  const credential = credentialOf(parts, pastedToken(provider));
  if (options.region === undefined) return { credential, scopes: [] };
  if (credential.type === 'aws') {
    return { credential: { ...credential, region: checkedRegion(options.region) }, scopes: [] };
  }
  throw inputInvalid(`The keys of ${provider.title} have no region.`, 'leave --region out');
};

/**
 * Refuses a key in the form of another provider, because its verification would disclose it to a foreign
 * service. Refuses several words.
 *
 * @throws SidekeyError `input_invalid`
 */
function assertOwnForm(parts: PastedParts, { provider, state }: ConnectRequest): void {
  const [part, ...more] = pastedToken(provider).parts;
  const value = parts[part?.name ?? ''];
  if (part === undefined || value === undefined || more.length > 0) return;
  if (/\s/.test(value)) {
    throw new SidekeyError('input_invalid', `A ${part.label} contains no spaces or line breaks.`, {
      hint: 'paste the value alone, without "Bearer" or a name before it',
    });
  }
  if (part.prefixes.length === 0 || part.prefixes.some(({ prefix }) => value.startsWith(prefix))) return;
  const { providers } = state.config;
  const [other] = providers.names
    .flatMap((name) => {
      const token = providers.get(name)?.token;
      const prefixes = token?.parts.length === 1 ? (token.parts[0]?.prefixes ?? []) : [];
      return prefixes.map(({ prefix, wrongKind }) => ({ name, prefix, isOwn: !wrongKind }));
    })
    .filter(({ prefix, isOwn }) => isOwn && prefix.length > 2 && value.startsWith(prefix))
    .toSorted((a, b) => b.prefix.length - a.prefix.length);
  if (other === undefined) return;
  throw inputInvalid(
    `This has the form of a key of ${other.name}, not of ${provider.title} (${other.prefix}…).`,
    `sidekey connect ${other.name} --token`,
  );
}

export async function askedParts(
  { context, provider }: Pick<ConnectRequest, 'context' | 'provider'>,
  check?: (parts: PastedParts) => void,
): Promise<PastedParts> {
  const token = pastedToken(provider);
  const parts =
    context.ask === null ? readParts(await context.readInput(), token) : await askParts(context, token);
  check?.(parts);
  for (const part of token.parts) {
    const doubt = doubtOf(parts[part.name] ?? '', part);
    if (doubt !== null) context.output.say(`Note: ${doubt}`);
  }
  return parts;
}

function pastedToken({ name, token, flows, inject }: Provider): PastedToken {
  if (token !== null) return token;
  if (inject.some(({ as }) => as.kind === 'client_certificate')) {
    throw inputInvalid(
      `The provider ${name} expects a client certificate, which cannot be pasted.`,
      `cat client.crt client.key | sidekey grant import ${name} --provider ${name}`,
    );
  }
  // A provider without a token definition and without OAuth has a key of one part.
  if (flows.length === 0) {
    const part = { name: 'token', label: 'key or token', secret: true, prefixes: [] };
    return { label: 'key or token', url: null, steps: [], parts: [part], inject: { kind: 'inject' } };
  }
  throw new SidekeyError('input_invalid', `The provider ${name} has no keys that are pasted.`, {
    hint: `sidekey connect ${name}, or hand over a token that you have: sidekey grant import ${name} --provider ${name} < token.json`,
  });
}

async function askParts({ ask, output }: Context, token: PastedToken): Promise<PastedParts> {
  if (token.url !== null) output.say(`The ${token.label} is made at ${token.url}`);
  for (const step of token.steps) output.say(`  · ${step}`);
  const parts: Record<string, string> = {};
  for (const { name, label, secret } of token.parts) {
    parts[name] = (await ask?.(`Paste the ${label}${secret ? ' (it is not shown)' : ''}`, { secret })) ?? '';
  }
  return parts;
}

export function keysIn(parts: PastedParts): AwsKeys {
  const { access_key_id: accessKeyId = '', secret_access_key: secretAccessKey = '' } = parts;
  return checkedKeys({ accessKeyId, secretAccessKey, sessionToken: null });
}

/** Returns the parts as a credential. Checks them as `grant import` does. */
function credentialOf(parts: PastedParts, { inject }: PastedToken): Credential {
  const fill = (template: string): string =>
    fillTemplate(parseTemplate(template) ?? [], (name) => parts[name] ?? '');
  for (const [name, value] of Object.entries(parts)) checkedString(value, `"${name}"`, shapes.api_key);
  switch (inject.kind) {
    case 'inject': {
      const [value = ''] = Object.values(parts);
      const place = 'what was pasted';
      checkedToken(value, place, shapes.api_key);
      if (looksLikeJwt(value)) return { type: 'jwt', value, expiresAt: jwtExpiry(value) };
      return { type: 'api_key', value };
    }
    case 'basic': {
      const username = fill(inject.username);
      if (username.includes(':')) {
        throw new SidekeyError(
          'input_invalid',
          'The user name holds a colon, which RFC 7617 does not allow.',
        );
      }
      return { type: 'basic', username, password: fill(inject.password) };
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
export const importToken: Obtain = async (request) => {
  const { context, provider, scopes } = request;
  const { ask, now, output } = context;
  const text =
    ask === null
      ? await context.readInput()
      : await ask('Paste the refresh token, or the complete token response in one line (input is hidden)', {
          secret: true,
        });
  const credential = read(text, now);
  const gap = refreshGapOf(credential, provider);
  if (gap !== null) throw new SidekeyError('input_invalid', gap.sentence, { hint: gap.hint });
  output.say(
    'The other tool must not use this refresh token any more: where the provider rotates refresh tokens, the second use fails.',
  );
  const clock = clockOf(credential, now(), 0);
  // An imported access token is not bound to a key of Sidekey.
  if (clock === 'absent' || clock === 'ended' || provider.dpop !== null) return renewNow(request, credential);
  return { credential, scopes: scopesIn(credential.scope) ?? scopes };
};

function read(text: string, now: () => number): OAuth2Credential {
  const bare = text.replace(/^\uFEFF/, '').trim();
  const isToken = /^[\x21-\x7e]+$/.test(bare) && !bare.startsWith('{') && !bare.startsWith('"');
  const { credential } = readCredential(isToken ? JSON.stringify({ refresh_token: bare }) : text, { now });
  if (credential.type === 'oauth2' && credential.refreshToken !== null) return credential;
  throw new SidekeyError('input_invalid', 'The input contains no refresh token.', {
    hint: 'an access token or a key alone is stored with sidekey grant import NAME --provider PROVIDER < token.json',
  });
}

/** Pasted values by part name. */
export type PastedParts = Readonly<Record<string, string>>;

/**
 * Parses the parts of a token: the bare value of a single part; else a JSON object or lines `name=value`.
 * Errors name parts, never values.
 *
 * @throws SidekeyError `input_invalid`
 */
export function readParts(text: string, token: PastedToken): PastedParts {
  const bare = text.replace(/^\uFEFF/, '').trim();
  if (bare === '') throw invalid('Standard input is empty.', token);
  const [only, ...more] = token.parts;
  if (only !== undefined && more.length === 0 && !bare.startsWith('{')) return { [only.name]: bare };
  const written = bare.startsWith('{') ? fromJson(bare, token) : fromLines(bare, token);
  for (const name of written.keys()) {
    if (token.parts.some((part) => part.name === name)) continue;
    throw invalid('Standard input names a part that this provider has not.', token);
  }
  return Object.fromEntries(
    token.parts.map(({ name }) => {
      const value = written.get(name)?.trim() ?? '';
      if (value === '') throw invalid(`The part ${name} is missing on standard input.`, token);
      return [name, value];
    }),
  );
}

function fromJson(text: string, token: PastedToken): Map<string, string> {
  const reading = readJson(text);
  if (!reading.ok || !(reading.value instanceof Map)) {
    throw invalid('Standard input is not valid JSON.', token);
  }
  return new Map(
    [...reading.value].map(([name, value]) => {
      if (typeof value !== 'string') throw invalid('A part on standard input is not a text.', token);
      return [String(name), value];
    }),
  );
}

function fromLines(text: string, token: PastedToken): Map<string, string> {
  const parts = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    if (line.trim() === '') continue;
    const [, name, value] = /^\s*([a-z0-9_]+)\s*=(.*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) {
      throw invalid('Standard input has a line that is not NAME=VALUE.', token);
    }
    if (parts.has(name)) throw invalid('Standard input names a part twice.', token);
    parts.set(name, value);
  }
  return parts;
}

function invalid(sentence: string, { parts }: PastedToken): SidekeyError {
  const [only, ...more] = parts;
  const form =
    more.length === 0 && only !== undefined
      ? `the ${only.label} by itself`
      : parts.map(({ name }) => `${name}=…`).join(' and ') + ', a line each';
  return new SidekeyError('input_invalid', sentence, { hint: `write ${form} to standard input` });
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
