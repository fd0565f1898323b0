import { keptReference } from '../allowed-domains.ts';
import { askedParts, keysIn } from './token.ts';
import { parametersOf } from '../provider-settings.ts';
import { type ConnectOptions, firstToken, type Obtain } from '../request.ts';
import type { Context } from '../../context.ts';
import { readSecretFile } from '../../terminal.ts';
import { checkedRegion, checkedString } from '../../../grants/credential-shape.ts';
import type { SigningKey } from '../../../domain/credential.ts';
import type { Provider } from '../../../domain/provider.ts';
import { inputInvalid, SidekeyError } from '../../../lib/errors.ts';
import { joinScopes } from '../../../grants/oauth/scopes.ts';
import { readSigningKey } from '../../../grants/oauth/signing-key.ts';

/** `connect NAME --client-credentials`: the client of the config requests a token (RFC 6749 §4.4). */
export const obtainByClientCredentials: Obtain = async (request) => {
  const { provider, scopes, options } = request;
  return firstToken(request, {
    kind: 'client_credentials',
    scope: scopes.length === 0 ? null : joinScopes(scopes, provider.dialect),
    parameters: parametersOf(options.param),
  });
};

/**
 * `connect NAME --jwt-bearer --key FILE`: assertions signed with a private key (RFC 7523, section 2.1). The
 * file of a service account has its issuer.
 */
export const obtainByJwtBearer: Obtain = async (request) => {
  const { context, provider, scopes, options } = request;
  const { key, account } = await readKeyFile(context, options);
  if (account !== null) assertSameEndpoint(account, provider, options);
  const issuer = options.issuer ?? account?.clientEmail ?? provider.clientId;
  if (issuer === null) {
    throw new SidekeyError('input_invalid', 'The issuer of the assertions is missing.', {
      hint: 'name it with --issuer, as the provider has it registered: a client id, or the address of an account',
    });
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

/** A key must not sign for another service, so the file's token endpoint must match. */
function assertSameEndpoint(
  { tokenUri }: ServiceAccount,
  { name, tokenEndpoint }: Provider,
  { assertionAudience }: ConnectOptions,
): void {
  if (tokenUri === tokenEndpoint || tokenUri === assertionAudience) return;
  const shown = URL.canParse(tokenUri) ? tokenUri : 'no URL';
  throw inputInvalid(
    `The service account is for another token endpoint (${shown}) than the provider ${name} has (${tokenEndpoint ?? 'none'}).`,
    'connect the provider that it belongs to; where the two are one, name the one of the file with --assertion-audience',
  );
}

/** RFC 8693 §3. */
const typePrefix = 'urn:ietf:params:oauth:token-type:';

const knownTypes = ['access_token', 'refresh_token', 'id_token', 'jwt', 'saml1', 'saml2'];

/**
 * `connect NAME --token-exchange`: exchanges a subject token (RFC 8693). Reads a reference for each exchange.
 * Stores a token from standard input.
 */
export const obtainByTokenExchange: Obtain = async (request) => {
  const { context, provider, scopes, options } = request;
  const { subjectToken, actorToken } = options;
  const actorTokenType = typeOf('--actor-token-type', options.actorTokenType);
  if (actorToken === undefined && actorTokenType !== null) {
    throw new SidekeyError('input_invalid', '--actor-token-type needs --actor-token.', {
      hint: 'say where the actor’s token is: --actor-token file:PATH',
    });
  }
  return firstToken(request, {
    kind: 'token_exchange',
    subjectTokenType: typeOf('--subject-token-type', options.subjectTokenType) ?? `${typePrefix}access_token`,
    requestedTokenType: typeOf('--requested-token-type', options.requestedTokenType),
    actorToken: actorToken === undefined ? null : { reference: keptReference('--actor-token', actorToken) },
    // RFC 8693 §2.1: required if there is an actor.
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
  const question = 'Paste the token that is to be exchanged (it is not shown)';
  const text = await (ask === null ? readInput() : ask(question, { secret: true }));
  return checkedString(text.trim(), 'the token that is to be exchanged', 'one line of text');
}

/** Returns a URI, or expands the last part of a URI of RFC 8693 §3. */
function typeOf(option: string, text: string | undefined): string | null {
  if (text === undefined) return null;
  if (knownTypes.includes(text)) return `${typePrefix}${text}`;
  if (/^[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+$/.test(text)) return text;
  throw new SidekeyError('input_invalid', `${option} is not a token type.`, {
    hint: `write one of ${knownTypes.join(', ')}, or a URI as the provider documents it`,
  });
}

/** IAM identifiers; a role name may have a path. */
const arn = /^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]{1,576}$/;

/** `connect aws --assume-role ARN`: pasted keys get temporary keys of a role, renewed before they expire. */
export const obtainByAwsRole: Obtain = async (request) => {
  const { assumeRole: roleArn, externalId, region } = request.options;
  if (roleArn === undefined) {
    throw new SidekeyError('input_invalid', 'No option names the role.', {
      hint: `sidekey connect ${request.provider.name} --assume-role ARN, or --token for the key of a user`,
    });
  }
  if (!arn.test(roleArn)) {
    throw new SidekeyError('input_invalid', '--assume-role is not the ARN of a role.', {
      hint: '--assume-role arn:aws:iam::123456789012:role/NAME',
    });
  }
  if (externalId !== undefined && !/^[\w+=,.@:/-]{2,1224}$/.test(externalId)) {
    throw inputInvalid('--external-id is not valid at AWS.', '2 to 1224 letters, digits and +=,.@:/-');
  }
  return firstToken(request, {
    kind: 'aws_role',
    keys: keysIn(await askedParts(request)),
    roleArn,
    // CloudTrail records this name beside the role.
    sessionName: 'sidekey',
    externalId: externalId ?? null,
    durationSeconds: null,
    region: region === undefined ? null : checkedRegion(region),
  });
};

/** `connect github-app --app-id ID --installation-id ID --key FILE`: tokens of an app's installation. */
export const obtainByGithubInstallation: Obtain = async (request) => {
  const { context, provider, options } = request;
  const appId = options.appId ?? provider.clientId ?? undefined;
  const { installationId } = options;
  if (appId === undefined || !/^[A-Za-z0-9._-]{1,64}$/.test(appId)) {
    throw new SidekeyError(
      'input_invalid',
      appId === undefined ? 'The ID of the app is missing.' : '--app-id is not the ID of an app.',
      { hint: 'name its client id or its App ID with --app-id: the page of the app shows both' },
    );
  }
  if (installationId === undefined || !/^[0-9]{1,20}$/.test(installationId)) {
    throw new SidekeyError(
      'input_invalid',
      installationId === undefined
        ? 'The ID of the installation is missing.'
        : '--installation-id is not a number.',
      {
        hint: 'it is the number at the end of the address of the installation’s page: --installation-id 12345678',
      },
    );
  }
  const { key } = await readKeyFile(context, options);
  return firstToken(request, { kind: 'github_installation', key, appId, installationId });
};

/** Fields of a key file besides the key; null: none. */
interface ServiceAccount {
  readonly clientEmail: string;
  /** Token endpoint of the assertions. */
  readonly tokenUri: string;
}

/**
 * Reads `--key`: PEM, a JWK, or the JSON of a service account, as Google exports it; `-`: standard input. The
 * account is null if the file has only the key.
 *
 * @throws SidekeyError `input_invalid` if the option is missing, or the file cannot be read or has no key
 */
async function readKeyFile(
  { readInput, output }: Pick<Context, 'readInput' | 'output'>,
  { key: path, keyId, algorithm }: Pick<ConnectOptions, 'key' | 'keyId' | 'algorithm'>,
): Promise<{ readonly key: SigningKey; readonly account: ServiceAccount | null }> {
  if (path === undefined) {
    throw new SidekeyError('input_invalid', 'The private key is missing.', {
      hint: 'name its file with --key FILE, or hand it over on standard input with --key -',
    });
  }
  const text = path === '-' ? await readInput() : await readSecretFile('--key', path, output);
  const account = serviceAccountOf(text);
  if (account === null) return { key: readSigningKey(text, { keyId, algorithm }), account };
  const { privateKey, privateKeyId, ...rest } = account;
  return {
    key: readSigningKey(privateKey, { keyId: keyId ?? privateKeyId ?? undefined, algorithm }),
    account: rest,
  };
}

/** Parses the JSON of a service account; null: it has another format. */
function serviceAccountOf(
  text: string,
): (ServiceAccount & { readonly privateKey: string; readonly privateKeyId: string | null }) | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof parsed !== 'object' || parsed === null || !('private_key' in parsed)) return null;
  const fields = parsed as Record<string, unknown>;
  const { client_email: clientEmail, private_key: privateKey, token_uri: tokenUri } = fields;
  if (typeof clientEmail !== 'string' || typeof privateKey !== 'string' || typeof tokenUri !== 'string') {
    throw inputInvalid(
      'The file of the service account lacks its client_email, private_key or token_uri.',
      'download it again at the provider: a key of the type JSON',
    );
  }
  const { private_key_id: id } = fields;
  return { clientEmail, privateKey, tokenUri, privateKeyId: typeof id === 'string' ? id : null };
}
