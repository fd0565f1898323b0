import { homedir } from 'node:os';
import { type SigningKey, sourceForms } from '../../domain/credential.ts';
import { checkedRegion, checkedString } from '../../grants/credential-shape.ts';
import type { Obtained } from '../../grants/keep.ts';
import { typePrefix } from '../../grants/oauth/assertions.ts';
import { joinScopes } from '../../grants/oauth/scopes.ts';
import { readSigningKey } from '../../grants/oauth/signing-key.ts';
import { fitted } from '../../grants/source-values.ts';
import { roleArnForm } from '../../grants/sources/cloud-source.ts';
import { absoluteSource, parseSource } from '../../grants/sources/source.ts';
import { inputInvalid } from '../../lib/errors.ts';
import { readSpan } from '../format.ts';
import { keysIn, type PastedParts } from './pasted.ts';
import { keptReference } from './provider-settings.ts';
import { type ConnectOptions, type ConnectRequest, firstToken } from './request.ts';

/** Flows in which a client, a key or another token gets a token, without the consent of a person. */

/** `connect NAME --client-credentials`: the client of the config requests a token (RFC 6749 §4.4). */
export function byClientCredentials(request: ConnectRequest): Promise<Obtained> {
  return firstToken(request, { kind: 'client_credentials', ...asked(request) });
}

/** Returns the scope and the further parameters of each token request. @throws as `parametersOf` */
function asked({ scopes, provider, options }: ConnectRequest) {
  const scope = scopes.length === 0 ? null : joinScopes(scopes, provider.dialect);
  return { scope, parameters: parametersOf(options.param ?? []) };
}

/**
 * `connect NAME --jwt-bearer --key FILE`: assertions signed with a private key (RFC 7523, section 2.1). The
 * file of a service account has its issuer.
 *
 * @param keyText PEM, a JWK, or the JSON of a service account, as Google exports it
 */
export function byJwtBearer(keyText: string, request: ConnectRequest): Promise<Obtained> {
  const { provider, options } = request;
  const { key, account } = readKey(keyText, options);
  const { tokenEndpoint } = provider;
  const tokenUri = account?.tokenUri ?? tokenEndpoint;
  // A key must not sign for another service, so the file's token endpoint must match.
  if (tokenUri !== null && tokenUri !== tokenEndpoint && tokenUri !== options.assertionAudience) {
    throw inputInvalid(
      `The service account is for another token endpoint (${URL.canParse(tokenUri) ? tokenUri : 'no URL'}) than the provider ${provider.name} has (${tokenEndpoint ?? 'none'}).`,
      'connect the provider that it belongs to; where the two are one, name the one of the file with --assertion-audience',
    );
  }
  const issuer = options.issuer ?? account?.clientEmail ?? provider.clientId;
  if (issuer === null) {
    throw inputInvalid(
      'The issuer of the assertions is missing.',
      'name it with --issuer, as the provider has it registered: a client id, or the address of an account',
    );
  }
  return firstToken(request, {
    kind: 'jwt_bearer',
    key,
    issuer,
    subject: options.subject ?? null,
    audience: options.assertionAudience ?? null,
    ...asked(request),
  });
}

const knownTypes = ['access_token', 'refresh_token', 'id_token', 'jwt', 'saml1', 'saml2'];

/**
 * `connect NAME --token-exchange`: exchanges a subject token (RFC 8693). Reads a reference for each exchange.
 *
 * @param readSubject reads the token if no option has its reference; it is stored
 */
export async function byTokenExchange(
  readSubject: () => Promise<string>,
  request: ConnectRequest,
): Promise<Obtained> {
  const { subjectToken, actorToken, ...options } = request.options;
  const actorTokenType = typeOf('--actor-token-type', options.actorTokenType);
  if (actorToken === undefined && actorTokenType !== null) {
    throw inputInvalid(
      '--actor-token-type needs --actor-token.',
      'say where the actor’s token is: --actor-token file:PATH',
    );
  }
  return firstToken(request, {
    kind: 'token_exchange',
    subjectTokenType: typeOf('--subject-token-type', options.subjectTokenType) ?? `${typePrefix}access_token`,
    requestedTokenType: typeOf('--requested-token-type', options.requestedTokenType),
    actorToken: actorToken === undefined ? null : { reference: keptReference('--actor-token', actorToken) },
    // RFC 8693 §2.1: required if there is an actor.
    actorTokenType: actorToken === undefined ? null : (actorTokenType ?? `${typePrefix}access_token`),
    ...asked(request),
    subjectToken:
      subjectToken === undefined
        ? {
            value: checkedString(
              (await readSubject()).trim(),
              'the token that is to be exchanged',
              'one line of text',
            ),
          }
        : { reference: keptReference('--subject-token', subjectToken) },
  });
}

/** Returns a URI, or expands the last part of a URI of RFC 8693 §3. */
export function typeOf(option: string, text: string | undefined): string | null {
  if (text === undefined) return null;
  if (knownTypes.includes(text)) return `${typePrefix}${text}`;
  if (/^[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+$/.test(text)) return text;
  throw inputInvalid(
    `${option} is not a token type.`,
    `write one of ${knownTypes.join(', ')}, or a URI as the provider documents it`,
  );
}

/** `connect aws --assume-role ARN`: pasted keys get temporary keys of a role, renewed before they expire. */
export async function byAwsRole(
  askKeys: () => Promise<PastedParts>,
  request: ConnectRequest,
): Promise<Obtained> {
  const { assumeRole: roleArn, externalId, region } = request.options;
  if (roleArn === undefined) {
    throw inputInvalid(
      'connect aws needs --token or --assume-role.',
      `sidekey connect ${request.provider.name} --assume-role ARN, or --token for the key of a user`,
    );
  }
  if (!roleArnForm.test(roleArn)) {
    throw inputInvalid(
      '--assume-role is not the ARN of a role.',
      '--assume-role arn:aws:iam::123456789012:role/NAME',
    );
  }
  if (externalId !== undefined && !/^[\w+=,.@:/-]{2,1224}$/.test(externalId)) {
    throw inputInvalid('--external-id is not valid at AWS.', '2 to 1224 letters, digits and +=,.@:/-');
  }
  return firstToken(request, {
    kind: 'aws_role',
    keys: keysIn(await askKeys()),
    roleArn,
    // CloudTrail records this name beside the role.
    sessionName: 'sidekey',
    externalId: externalId ?? null,
    durationSeconds: null,
    region: region === undefined ? null : checkedRegion(region),
  });
}

/** `connect github-app --app-id ID --installation-id ID --key FILE`: tokens of an app's installation. */
export async function byGithubInstallation(
  readKeyText: () => Promise<string>,
  request: ConnectRequest,
): Promise<Obtained> {
  const { provider, options } = request;
  const { installationId } = options;
  const appId = options.appId ?? provider.clientId ?? undefined;
  if (appId === undefined || !/^[A-Za-z0-9._-]{1,64}$/.test(appId)) {
    throw inputInvalid(
      appId === undefined ? 'The ID of the app is missing.' : '--app-id is not the ID of an app.',
      'name its client id or its App ID with --app-id: the page of the app shows both',
    );
  }
  if (installationId === undefined || !/^[0-9]{1,20}$/.test(installationId)) {
    throw inputInvalid(
      installationId === undefined
        ? 'The ID of the installation is missing.'
        : '--installation-id is not a number.',
      'it is the number at the end of the address of the installation’s page: --installation-id 12345678',
    );
  }
  const { key } = readKey(await readKeyText(), options);
  return firstToken(request, { kind: 'github_installation', key, appId, installationId });
}

/** Fields of a key file besides the key. */
interface ServiceAccount {
  readonly clientEmail: string;
  /** Token endpoint of the assertions. */
  readonly tokenUri: string;
}

/**
 * Reads a key: PEM, a JWK, or the JSON of a service account. The account is null if there is only the key.
 *
 * @throws SidekeyError `input_invalid`
 */
function readKey(
  text: string,
  { keyId, algorithm }: Pick<ConnectOptions, 'keyId' | 'algorithm'>,
): { readonly key: SigningKey; readonly account: ServiceAccount | null } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = null;
  }
  if (typeof parsed !== 'object' || parsed === null || !('private_key' in parsed))
    return { key: readSigningKey(text, { keyId, algorithm }), account: null };
  const fields = parsed as Record<string, unknown>;
  const {
    client_email: clientEmail,
    private_key: privateKey,
    token_uri: tokenUri,
    private_key_id: id,
  } = fields;
  if (typeof clientEmail !== 'string' || typeof privateKey !== 'string' || typeof tokenUri !== 'string') {
    throw inputInvalid(
      'The file of the service account lacks its client_email, private_key or token_uri.',
      'download it again at the provider: a key of the type JSON',
    );
  }
  const ownId = typeof id === 'string' ? id : undefined;
  return {
    key: readSigningKey(privateKey, { keyId: keyId ?? ownId, algorithm }),
    account: { clientEmail, tokenUri },
  };
}

/**
 * `connect NAME --from SOURCE`: reads the source once, to verify its credential. Stores only the source, with
 * absolute paths.
 *
 * @throws SidekeyError `input_invalid`; errors of the source; the reason of the signal
 */
export async function fromSource(request: ConnectRequest): Promise<Obtained> {
  const { options, provider, existing, signal, state, parts } = request;
  const { from: written = '', sourceForm, sourceTtl, verify } = options;
  const from = absoluteSource(written, process.cwd(), state.env['HOME'] ?? homedir());
  const { kind } = parseSource(from, process.platform);
  const form = sourceForms.find((name) => name === sourceForm) ?? null;
  if (sourceForm !== undefined && form === null)
    throw inputInvalid('--source-form is no form of an answer.', `one of ${sourceForms.join(', ')}`);
  const ttlMs = sourceTtl === undefined ? null : readSpan('--source-ttl', sourceTtl);
  const credential = { type: 'source', from, form, ttlMs } as const;
  if (verify === false) return { credential, scopes: [] };
  const audience = existing?.sealed.audience ?? provider.audience;
  const question = { grant: '', revision: 0, credential, audience, isRefused: false, signal };
  const value = await parts.sources.ask(question).finally(() => signal.throwIfAborted());
  const answer = fitted(value.credential, provider);
  return { credential, answer, scopes: [], ...(kind === 'cloud' ? { isRotated: true } : {}) };
}

/** Parameters that flows set, and those that would expose a secret in argv. */
const reservedParameters = new Set(
  `grant_type client_id client_secret client_assertion client_assertion_type assertion scope refresh_token
  subject_token subject_token_type actor_token actor_token_type requested_token_type device_code code
  password`.split(/\s+/),
);

/**
 * Parses `--param NAME=VALUE` for token requests.
 *
 * @throws SidekeyError `input_invalid` if a name is missing, repeated or reserved
 */
function parametersOf(written: readonly string[]): Readonly<Record<string, string>> {
  const parameters: Record<string, string> = {};
  for (const text of written) {
    const at = text.indexOf('=');
    const name = text.slice(0, Math.max(at, 0));
    if (!/^[A-Za-z][A-Za-z0-9_.:-]{0,63}$/.test(name)) {
      // The text may be a misplaced secret.
      throw inputInvalid('--param is not NAME=VALUE.', 'such as --param audience=https://api.example.com');
    }
    if (reservedParameters.has(name))
      throw inputInvalid(
        `--param cannot set ${name}.`,
        'there is another option for it: sidekey connect --help',
      );
    if (Object.hasOwn(parameters, name)) throw inputInvalid(`--param sets ${name} twice.`, 'leave one out');
    parameters[name] = text.slice(at + 1);
  }
  return parameters;
}
