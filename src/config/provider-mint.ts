import { z } from 'zod';
import type { MintRow } from '../proxy/policy/domain-map.ts';
import { text } from '../lib/text.ts';
import { fieldNameAsRead, parseGlob } from '../proxy/policy/text.ts';
import { answerField, mintedPlacement } from './provider-dialect.ts';
import { oneOrSome } from './provider-expired.ts';
import { pathGlob, some } from './rules.ts';
import { domainPattern, duration, plainText } from './scalar.ts';

/** Schema of `mints`: which answers hand out credentials, and where these may go. */

const hosts = (description: string) => some(domainPattern('host, host:port or *.suffix'), description);

/** Path of a member, in which `*` stands for any name. */
const mintMember = text<string>(
  { description: 'A member of the answer; dots lead into objects, and * stands for any name.' },
  (value) =>
    /^(?:(?:\*|[A-Za-z0-9_-]+)\.)*[A-Za-z0-9_-]+$/.test(value)
      ? value
      : { problem: 'is not a path of members' },
);

const mint = z
  .strictObject({
    name: text<string>(
      { description: 'A short name, which the names of the grants contain.', examples: ['copilot'] },
      (value) =>
        /^[a-z0-9-]{1,24}$/.test(value)
          ? value
          : { problem: 'is not 1 to 24 lower-case letters, digits and dashes' },
    ),
    hosts: hosts('The hosts of the request. Default: all that get the credential.').optional(),
    service: oneOrSome(
      plainText('A signing name.'),
      'The service of AWS that the host is, or several, by the name in signatures, such as sts.',
    ).optional(),
    path: oneOrSome(pathGlob('A path.'), 'The path of the request, or several.'),
    header: z
      .strictObject({
        name: answerField,
        value: oneOrSome(
          plainText('A text, in which * stands for any characters.'),
          'Its value, or several.',
        ),
      })
      .optional()
      .meta({ description: 'A header field that the request must have, where one path has many purposes.' }),
    member: oneOrSome(
      mintMember,
      'The member of the answer (JSON or XML) with the credential, or several. On the way, each item of a list is looked at.',
    ),
    aws_keys: z
      .strictObject({
        id_member: plainText('The member beside it with the access key ID.'),
        session_member: plainText('The member beside it with the session token.'),
      })
      .optional()
      .meta({ description: 'The credential is a secret access key, and signs requests to AWS.' }),
    expires_member: plainText(
      'The member beside it with its end: ISO 8601, seconds or milliseconds since the epoch, or seconds from now.',
    ).optional(),
    goes_to: hosts('The only hosts that the credential may ever be sent to.'),
    goes_to_member: plainText(
      'The member beside it with a URL, whose host is then the only one; it must be in goes_to.',
    ).optional(),
    as: mintedPlacement.optional(),
    basic_pair: z.boolean().optional().meta({
      description: 'true: the member is the Base64 of a user name, a colon, and the credential.',
    }),
    form: text<string>(
      {
        description:
          'The placeholder, with sidekeyPlaceholder and zeros in it; {name} stands for the part name=… of the credential. Default: a JWT for a JWT, else plain text.',
      },
      (value) =>
        /^[\x21-\x7e]*sidekeyPlaceholder0[\x21-\x7e]*$/.test(value)
          ? value
          : { problem: 'has no room for a placeholder: write sidekeyPlaceholder0000' },
    ).optional(),
    keep: z.array(mintMember).optional().meta({
      description:
        'Other members of the answer to pass on. Never a secret. Numbers, true, false and null always are.',
    }),
    max_ttl: duration('How long it lasts at most, also where the answer names no end.', 1_000).prefault('1h'),
    revoke: z.boolean().optional().meta({
      description: 'true: the revocation of the provider ends this credential, and nothing else.',
    }),
  })
  .transform((written): MintRow => ({
    name: written.name,
    hosts: written.hosts ?? null,
    services: written.service ?? null,
    paths: written.path,
    header:
      written.header === undefined
        ? null
        : {
            name: fieldNameAsRead(written.header.name),
            values: written.header.value.map((value) => parseGlob(value.toLowerCase())),
          },
    members: written.member.map((path) => path.split('.')),
    keys:
      written.aws_keys === undefined
        ? null
        : { id: written.aws_keys.id_member, session: written.aws_keys.session_member },
    expires: written.expires_member ?? null,
    goesTo: written.goes_to.map((pattern) => pattern.text),
    hostMember: written.goes_to_member ?? null,
    as: written.as ?? null,
    isPair: written.basic_pair ?? false,
    form: written.form ?? null,
    keep: written.keep ?? [],
    maxMs: written.max_ttl,
    isRevoked: written.revoke ?? false,
  }));

/** Schema of `mints`. The names of its rows differ: a grant finds its row by the name. */
export const mintsDefinition = some(
  mint,
  'Requests whose answer hands out a credential: it becomes a short grant, and the client gets a placeholder.',
).refine((rows) => new Set(rows.map(({ name }) => name)).size === rows.length, {
  error: 'has a name twice',
});
