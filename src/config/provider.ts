import { z } from 'zod';
import { type Flow, type LoginClient, placeholderPlaces } from '../domain/provider.ts';
import { optional, text } from '../lib/text.ts';
import { isLoopback } from '../proxy/policy/authority.ts';
import { parsePathTemplate } from '../proxy/policy/path.ts';
import { isFieldName, isFieldValue, isReservedFieldName } from '../proxy/policy/text.ts';
import { marks } from './marks.ts';
import { dialectDefinition, dpopDefinition, injectDefinition, member } from './provider-dialect.ts';
import { expiredDefinition } from './provider-expired.ts';
import { mintsDefinition } from './provider-mint.ts';
import { tokenDefinition } from './provider-token.ts';
import {
  domainPattern,
  duration,
  endpoint,
  hostName,
  issuer,
  name,
  plainText,
  secretReference,
  webPage,
} from './scalar.ts';
import { environmentName } from './secret-reference.ts';

/** The schema of providers, in the config file and in the catalog. */

export const scope = text<string>({ description: 'One scope.' }, (value) =>
  /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(value)
    ? value
    : { problem: 'is not a scope (RFC 6749 §3.3): one entry of the list for each' },
);

/**
 * A program may check the format of its credential, so the placeholder has that format, and is recognisable
 * as one. Some formats allow only hexadecimal digits, which spell no word.
 */
const placeholder = text<string>(
  {
    description:
      'Placeholder for the credential: of its form, with the word placeholder in it, or zeros. `{proxy}` is the host and port of Sidekey, `{token}` the token of the program there. Empty: the variable is removed if the program has a grant.',
  },
  (value) => {
    if (value === '' || /\{(?:proxy|token)\}/.test(value)) return value;
    if (!/^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/.test(value))
      return { problem: 'has characters other than ASCII, or spaces around it' };
    return /placeholder|0{12}/i.test(value)
      ? value
      : { problem: 'has neither the word placeholder nor twelve zeros: it must be seen to be no secret' };
  },
);

/** A program that logs in at the provider by itself. See `LoginClient`. */
const loginClient = z
  .strictObject({
    program: plainText('The name of the program.'),
    client_id: plainText('The client that it is at the token endpoint.'),
    access_token: placeholder.optional().meta({
      description: 'The placeholder that it gets as access token. Default: a JWT for a JWT, else plain text.',
    }),
    refresh_token: placeholder.optional().meta({
      description: 'The placeholder that it gets as refresh token. Default: plain text.',
    }),
    answer_fields: z.array(plainText('The name of a member.')).prefault([]).meta({
      description:
        'Members of the answer that it reads besides those of RFC 6749 and the ID token. Never a secret.',
    }),
  })
  .transform((written): LoginClient => ({
    program: written.program,
    clientId: written.client_id,
    accessToken: written.access_token ?? null,
    refreshToken: written.refresh_token ?? null,
    answerFields: written.answer_fields,
  }));

const flows = [
  'authorization_code',
  'device_code',
  'client_credentials',
  'jwt_bearer',
  'token_exchange',
  'id_jag',
  'auth0_connection',
  'github_installation',
  'aws_role',
] as const satisfies readonly Flow[];

/** Names of flows for users. */
export const flowWords: Readonly<Record<Flow, string>> = {
  authorization_code: 'browser',
  device_code: 'device',
  client_credentials: 'client credentials',
  jwt_bearer: 'signed assertion',
  token_exchange: 'token exchange',
  id_jag: 'company sign-in',
  auth0_connection: 'Auth0',
  github_installation: 'app installation',
  aws_role: 'AssumeRole',
};

/** Categories of providers, in display order. */
export const categories = [
  'sample',
  'ai',
  'code',
  'cloud',
  'monitoring',
  'communication',
  'productivity',
  'documents',
  'design',
  'support',
  'crm',
  'marketing',
  'commerce',
  'finance',
  'media',
  'social',
  'data',
  'identity',
  'generic',
] as const;

/** Customer-specific part of a URL or host: `{name}` in the other fields. */
const setting = z.strictObject({
  description: plainText('Meaning, and place to find it: the end of a sentence.'),
  example: plainText('Example; it must make the other fields valid.'),
  default: plainText('Value if none is set.').optional(),
  format: z.enum(['label', 'host', 'segment']).prefault('label').meta({
    description:
      'label: one label of a host name. host: a whole host, with or without a port. segment: one segment of a path.',
  }),
});

/** RFC 8252 §7.3: http is allowed only for loopback. */
const redirectUri = text<string>(
  {
    description:
      'The redirect URI that the client is registered with, where the provider takes no other port.',
    examples: ['http://127.0.0.1:8765/callback'],
  },
  (value) => {
    const url = /^[\x21-\x7e]+$/.test(value) ? URL.parse(value) : null;
    if (url === null || url.hash !== '' || url.username !== '' || url.password !== '')
      return { problem: 'is not a URL' };
    if (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))) return value;
    return { problem: 'is neither https nor a URL of this machine, such as http://127.0.0.1:8765/callback' };
  },
);

const fieldValue = text<string>({ description: 'A field value: visible ASCII.' }, (value) =>
  isFieldValue(value) ? value : { problem: 'is not a line of visible ASCII' },
);

const fields = {
  title: plainText('The name for people.').optional(),
  category: optional(z.enum(categories), 'Kind of service.'),
  docs: optional(
    z.array(webPage('A page of the provider’s own documentation.')).min(1),
    'Where the facts of this definition come from.',
  ),
  settings: optional(
    z.record(
      text<string>({ description: 'The name, as it stands in braces.' }, (value) =>
        /^[a-z][a-z0-9_]{0,31}$/.test(value)
          ? value
          : { problem: 'is not a name of a setting: lower case and underscores' },
      ),
      setting,
    ),
    'Settings that differ between customers: written {name} in URLs and hosts.',
  ),
  authorization_endpoint: endpoint('Where a person gives consent (RFC 6749 §3.1).').optional(),
  device_authorization_endpoint: endpoint('Where a device flow begins (RFC 8628 §3.1).').optional(),
  token_endpoint: endpoint('Where tokens are issued and refreshed (RFC 6749 §3.2).').optional(),
  revocation_endpoint: endpoint('Where tokens are revoked (RFC 7009).').optional(),
  userinfo_endpoint: endpoint(
    'Where the name of an account is asked for after a consent (OpenID Connect Core §5.3).',
  ).optional(),
  issuer: issuer('The issuer, checked in authorization responses (RFC 9207).').optional(),
  authorization_response_iss_parameter_supported: optional(
    z.boolean(),
    'Whether each authorization response names the issuer (RFC 9207 §3); one that does not is refused then.',
  ),
  client_id: plainText('The client that is registered at the provider.').optional(),
  client_auth: optional(
    z.enum(['basic', 'post', 'none', 'private_key_jwt']),
    'How the client authenticates at the token endpoint. Default: basic with a client_secret, none without. With private_key_jwt (RFC 7523) the client_secret is the private key, as PEM or JWK.',
  ),
  redirect_uri_type: optional(
    z.enum(['loopback', 'localhost', 'https']),
    'Redirect URIs that the provider accepts. loopback (default): http://127.0.0.1 with any port. localhost: http://localhost with the port that is registered. https: only https.',
  ),
  flows: optional(
    z.array(z.enum(flows)).min(1),
    'The ways to a token that the provider offers, the usual one first.',
  ),
  scopes: optional(z.array(scope), 'The scopes to ask for.'),
  known_scopes: optional(
    z.record(scope, plainText('Purpose of the scope.')),
    'Scopes that can be asked for, with what each is for.',
  ),
  audience: z
    .array(domainPattern('host, host:port or *.suffix'))
    .min(1, 'is empty; list the hosts that the credential may be sent to')
    .optional()
    .meta({ description: 'The only hosts that a credential of this provider may ever be sent to.' }),
  domains: optional(
    z.array(domainPattern('host, host:port or *.suffix')).min(1),
    'The entries that connect offers for the domain map. Default: the audience.',
  ),
  inject: injectDefinition.optional(),
  placeholders: optional(
    z.array(z.enum(placeholderPlaces)),
    'Where a placeholder becomes the credential, in addition to the fields that inject sets; header means any field. A caller could read the credential from fields that a service keeps and shows. Default: nowhere; with inject: placeholder everywhere.',
  ),
  dpop: dpopDefinition.optional(),
  method_override_parameters: optional(
    z
      .array(
        text<string>({ description: 'The name of a parameter.', examples: ['verb'] }, (value) =>
          /^[!-~]*[A-Za-z0-9][!-~]*$/.test(value) ? value : { problem: 'is not a name of a parameter' },
        ),
      )
      .min(1),
    'Parameters of a query or a form that the service takes for the method. Names that many services know, such as method, _method and $httpMethod, are looked at in any case.',
  ),
  unexpected_placeholders: optional(
    z.enum(['refuse', 'pass']),
    'Outcome of a request whose body has a placeholder that Sidekey does not replace there; pass is for services that receive complete conversations. Default: refuse.',
  ),
  echo_paths: optional(
    z
      .array(
        text<string>(
          { description: 'The beginning of a path, at any segment.', examples: ['/debug/request'] },
          (value) =>
            /^(\/[A-Za-z0-9._-]+)+\/?$/.test(value)
              ? value
              : { problem: 'is not a beginning of a path, such as /debug' },
        ),
      )
      .min(1),
    'Where the service shows the request that it was sent: what the leak guard looks into.',
  ),
  lease: optional(
    z.strictObject({
      default_ttl: duration('How long a lease of its grants lasts where nothing is said.', 1_000).optional(),
      max_ttl: duration('How long a lease of its grants lasts at most.', 1_000).optional(),
    }),
    'The clocks of leases of this provider’s grants; the least of all maxima counts.',
  ),
  token: tokenDefinition.optional(),
  dialect: dialectDefinition.optional(),
  user_agent: optional(
    fieldValue,
    'The User-Agent of Sidekey’s own requests for tokens, accounts and revocation, and of the probe. Default: sidekey/VERSION.',
  ),
  expired: expiredDefinition.optional(),
  id_jag: optional(
    z.strictObject({
      audience: issuer('The issuer of the service’s authorization server.'),
      resource: endpoint('The identifier of the API (RFC 8707), where the service has one.').optional(),
      pairwise_subjects: z.boolean().prefault(false).meta({
        description:
          'true: the identity provider names a person differently to each client, so the subject of the assertion is not compared with that of the sign-in.',
      }),
    }),
    'The service takes assertions of the identity provider of admin.oidc (ID-JAG): people who signed in there get its tokens without a consent page.',
  ),
  client_registration: optional(
    z.strictObject({
      url: webPage('The page where a client (an “app”) is registered.'),
      steps: z.array(plainText('One step.')).min(1).meta({
        description:
          'Steps there, a sentence each; {redirect_uri} is replaced by the redirect URI of connect.',
      }),
    }),
    'How to register an OAuth client at the provider.',
  ),
  probe: optional(
    z.strictObject({
      url: endpoint('A URL that a GET shows the credential to work at; harmless.'),
      headers: z
        .record(
          text<string>({ description: 'A field name.' }, (value) =>
            isFieldName(value) && !isReservedFieldName(value)
              ? value
              : { problem: 'is not a field that can be set here' },
          ),
          plainText('Its value.'),
        )
        .optional(),
      /** JSON body, such as a GraphQL query. */
      json: optional(z.record(z.string(), z.unknown()), 'Sent as JSON with POST.'),
      ok_field: plainText('A member of the JSON answer that is true where the credential works.').optional(),
      account_fields: z.array(member).optional().meta({
        description: 'Members of the JSON answer that say which account it is, such as user.email.',
      }),
    }),
    'A harmless call that proves the credential.',
  ),
  // A program would run the value of a variable such as GIT_SSH_COMMAND.
  environment: optional(
    z
      .record(
        text<string>({ description: 'The name of the variable.', examples: ['GITHUB_TOKEN'] }, (value) =>
          environmentName.test(value) ? value : { problem: 'is not a name of an environment variable' },
        ),
        placeholder.nullable(),
      )
      .register(marks, { mark: 'machine' }),
    'The environment variables that programs read this credential from, which programs behind Sidekey do not get; each with its placeholder, or null for none.',
  ),
  operations: optional(
    z.array(
      z.strictObject({
        method: z.string().regex(/^[A-Z]+$/),
        host: hostName('The host, where the provider has several.').optional(),
        path: z.string().superRefine((value, context) => {
          const glob = parsePathTemplate(value);
          if ('problem' in glob) context.addIssue({ code: 'custom', message: glob.problem });
        }),
        words: plainText('The words after "asks to": send mail.'),
        scopes: optional(z.array(scope), 'Scopes of which one is enough.'),
        example: plainText('Example: the query of a GET, otherwise the body.').optional(),
      }),
    ),
    'Requests in words, for people who approve them and for skills.',
  ),
  base_urls: optional(
    z
      .record(z.string().regex(environmentName), z.string().regex(/^https:\/\/[^/?#@]+(\/[^?#]*)?$/))
      .register(marks, { mark: 'machine' }),
    'The environment variables in which programs look for the base address of the API, each with the address of the service.',
  ),
  logins: optional(z.array(loginClient).min(1), 'Programs that log in at the token endpoint by themselves.'),
  mints: mintsDefinition.optional(),
  notes: optional(
    z.array(plainText('One sentence.')),
    'Facts for a person to know before, such as tokens that do not renew.',
  ),
} as const;

/** A provider as the config file defines it. */
export const providerSchema = z
  .strictObject({
    ...fields,
    redirect_uri: redirectUri.optional(),
    capture_logins: optional(
      z.boolean(),
      'true: a login of a program in logins becomes a grant, and the program gets placeholders. Default: false.',
    ),
    extends: name('A provider of the catalog that this one is a copy of, under another name.').optional(),
    settings: optional(
      z.record(z.string(), plainText('The value.')),
      'Values for the settings of the provider: the text that replaces {name}.',
    ),
    client_secret: secretReference(
      'Where the client secret is: env:NAME, file:PATH or command:…. Never the secret itself.',
    ).optional(),
  })
  .meta({ description: 'Where consent and tokens come from, and where the credential may go.' });

/** A provider in a file of its own. Only files of the user may refer to a client secret. */
export const catalogProviderSchema = z
  .strictObject({
    ...fields,
    audience: fields.audience.unwrap(),
    client_secret: secretReference('Where the client secret is; in files of your own.').optional(),
  })
  .meta({ title: 'Sidekey provider', description: 'One provider of the catalog.' });

/** A validated provider of the config file. */
export type ProviderDefinition = z.output<typeof providerSchema>;
/** A validated provider of the catalog. */
export type CatalogProvider = z.output<typeof catalogProviderSchema>;
