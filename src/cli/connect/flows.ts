import { viaAuth0 } from '../../operations/connect/auth0.ts';
import { bySignIn } from '../../operations/connect/by-sign-in.ts';
import {
  assertOwnForm,
  doubtsOf,
  importToken,
  pastedCredential,
  type PastedParts,
  pastedToken,
  readParts,
} from '../../operations/connect/pasted.ts';
import type { ConnectRequest } from '../../operations/connect/request.ts';
import {
  byAwsRole,
  byClientCredentials,
  byGithubInstallation,
  byJwtBearer,
  byTokenExchange,
  fromSource,
} from '../../operations/connect/without-person.ts';
import type { Flow } from '../../domain/provider.ts';
import type { Obtained } from '../../grants/keep.ts';
import { beginDeviceConsent } from '../../grants/oauth/device-consent.ts';
import { inputInvalid } from '../../lib/errors.ts';
import { pause, systemTimers } from '../../lib/timers.ts';
import { relativeTime } from '../../operations/format.ts';
import type { Context } from '../context.ts';
import { readSecretFile } from '../terminal.ts';
import { consentInBrowser } from './browser/consent.ts';

/** A flow of OAuth, or a credential that the user supplies, or its source. */
export type ConnectFlow = Flow | 'token' | 'import' | 'source';

/** Obtains a credential without a code from a browser. Prompts for what the flow needs. */
export async function obtain(
  flow: Exclude<ConnectFlow, 'authorization_code'>,
  context: Context,
  request: ConnectRequest,
): Promise<Obtained> {
  const { provider, name } = request;
  const readKey = () => readKeyFile(context, request.options.key);
  switch (flow) {
    case 'device_code':
      return byDevice(context, request);
    case 'client_credentials':
      return byClientCredentials(request);
    case 'jwt_bearer':
      return byJwtBearer(await readKey(), request);
    case 'token_exchange': {
      const question = 'Paste the token that is to be exchanged (it is not shown)';
      return byTokenExchange(() => askSecret(context, question), request);
    }
    case 'id_jag':
      return bySignIn(request);
    case 'auth0_connection': {
      const says = [
        `Auth0 keeps the account. Sidekey gets its tokens, as the grant ${name}.`,
        'You may close this window.',
      ];
      const page = () => ({ title: `${provider.title} is connected`, says });
      return viaAuth0(request, (settings, consent) =>
        consentInBrowser({ ...request, context, provider: settings }, { ...consent, page }),
      );
    }
    case 'github_installation':
      return byGithubInstallation(readKey, request);
    case 'aws_role':
      return byAwsRole(() => askedParts(context, request), request);
    case 'token': {
      const parts = await askedParts(context, request, (pasted) =>
        assertOwnForm(pasted, request.provider, request.state.config.providers),
      );
      return pastedCredential(parts, request);
    }
    case 'import': {
      const question =
        'Paste the refresh token, or the complete token response in one line (input is hidden)';
      return importToken(await askSecret(context, question), request);
    }
    case 'source':
      return fromSource(request);
  }
}

function askSecret({ ask, readInput }: Context, question: string): Promise<string> {
  return ask === null ? readInput() : ask(question, { secret: true });
}

/** Reads `--key`; `-`: standard input. @throws SidekeyError `input_invalid` if it is missing or unreadable */
async function readKeyFile({ readInput, output }: Context, path: string | undefined): Promise<string> {
  if (path !== undefined) return path === '-' ? readInput() : readSecretFile('--key', path, output);
  throw inputInvalid(
    'The private key is missing.',
    'name its file with --key FILE, or hand it over on standard input with --key -',
  );
}

/** Reads an API key or personal token from input, or prompts for its parts without echo. */
async function askedParts(
  { ask, readInput, output }: Context,
  { provider }: ConnectRequest,
  check?: (parts: PastedParts) => void,
): Promise<PastedParts> {
  const token = pastedToken(provider);
  const parts: Record<string, string> = {};
  if (ask === null) {
    Object.assign(parts, readParts(await readInput(), token));
  } else {
    if (token.url !== null) output.say(`The ${token.label} is made at ${token.url}`);
    for (const step of token.steps) output.say(`  · ${step}`);
    for (const { name, label, secret } of token.parts)
      parts[name] = await ask(`Paste the ${label}${secret ? ' (it is not shown)' : ''}`, { secret });
  }
  check?.(parts);
  for (const doubt of doubtsOf(parts, token)) output.say(`Note: ${doubt}`);
  return parts;
}

/** `connect NAME --device`: consent on another device (RFC 8628). Prints URL and code, and polls. */
async function byDevice(
  { output, now }: Context,
  { provider, scopes, signal, parts: { fetch } }: ConnectRequest,
): Promise<Obtained> {
  const { codes, tokens } = await beginDeviceConsent(provider, scopes, { fetch, now, signal });
  const { userCode, verificationUri, verificationUriComplete: complete, expiresAt } = codes;
  const direct =
    complete === null
      ? ''
      : `\nor go to this address, and see that it shows the same code:\n\n  ${complete}\n`;
  output.note(
    {
      provider: provider.name,
      verification_uri: verificationUri,
      verification_uri_complete: complete,
      user_code: userCode,
      expires_at: new Date(expiresAt).toISOString(),
    },
    `On any device, go to:\n\n  ${verificationUri}\n\nand type the code:\n\n  ${userCode}\n${direct}\nWaiting for ${provider.title}; the code ends ${relativeTime(expiresAt, now())}.`,
  );
  return tokens({ signal, pause: (ms, by) => pause(systemTimers, ms, by) });
}
