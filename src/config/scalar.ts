import { BlockList, isIP } from 'node:net';
import { z } from 'zod';
import { isName } from '../grants/grant.ts';
import { parseCidr } from '../policy/address.ts';
import { canonicalHost, isAddress } from '../policy/host.ts';
import { isPattern, parsePattern, type DomainPattern } from '../policy/pattern.ts';
import { durationPattern, formatDuration, longestDuration, parseDuration } from './duration.ts';
import {
  environmentName,
  isReference,
  parseSecretReference,
  type SecretReference,
} from './secret-reference.ts';
import { formatSize, parseSize, sizePattern } from './size.ts';

/**
 * The single values of the config file: each a schema that takes what a person writes and gives what the program
 * uses. A message is the end of a sentence and never repeats the value.
 */

interface Told {
  /** What it is for; editors show it. */
  readonly description: string;
  readonly examples?: readonly unknown[];
  /** For editors; the check itself is `read`. */
  readonly pattern?: string;
  /** What is said where something else than a text stands: the end of `must be …`. */
  readonly kind?: string;
}

/** A text that `read` turns into a value, or into what is wrong with it. */
export function text<T>(
  { kind, ...told }: Told,
  read: (text: string) => NoInfer<T> | { readonly problem: string },
): z.ZodType<T, string> {
  return z
    .string({
      error: ({ input }) =>
        kind === undefined || input === undefined || input === null ? undefined : `must be ${kind}`,
    })
    .transform((value, context): T => {
      const result = read(value);
      if (!isProblem(result)) return result;
      context.addIssue({ code: 'custom', message: result.problem });
      return z.NEVER;
    })
    .meta(told);
}

function isProblem(result: unknown): result is { readonly problem: string } {
  return typeof result === 'object' && result !== null && 'problem' in result;
}

/** A path of a file or folder. Nothing is expanded in it, so what looks like an expansion is a mistake. */
export function pathText(description: string): z.ZodType<string, string> {
  return text<string>({ description }, readPath);
}

/** What `pathText` checks. */
export function readPath(value: string): string | { readonly problem: string } {
  if (value === '') return { problem: 'is an empty path' };
  if (/\p{Cc}/u.test(value)) return { problem: 'has a control character' };
  if (/^~|^\$|\$\{/.test(value)) return { problem: 'is a path in which nothing is expanded; write it out' };
  return value;
}

/** A time, in milliseconds. */
export function duration(description: string, least = 0, most = longestDuration): z.ZodType<number, string> {
  const told = {
    description,
    examples: ['10s', '5m'],
    pattern: durationPattern.source,
    kind: 'a time with its unit, such as 10s',
  };
  return text<number>(told, (value) => {
    const milliseconds = parseDuration(value);
    if (milliseconds === null)
      return { problem: 'is no duration such as 250ms, 10s, 5m or 1h, of 24 days at most' };
    if (milliseconds > most) return { problem: `is more than ${formatDuration(most)}` };
    return milliseconds < least ? { problem: `is less than ${formatDuration(least)}` } : milliseconds;
  });
}

/** A number of bytes, written as a number or with a unit. */
export function size(description: string, least = 0): z.ZodType<number, string | number> {
  const told = { description, examples: ['64KiB', '10MB'], pattern: sizePattern.source };
  const withUnit = text<number>(told, (value) => {
    const bytes = parseSize(value);
    if (bytes === null) return { problem: 'is no size such as 64KiB, 10MB or 100MiB' };
    return bytes < least ? { problem: `is less than ${formatSize(least)}` } : bytes;
  });
  return z
    .union([z.int().min(least), withUnit], {
      error: 'must be a size such as 64KiB, or a whole number of bytes',
    })
    .meta({ description });
}

/** A name of a grant or a provider. */
export function name(description: string): z.ZodType<string, string> {
  return text<string>({ description, pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' }, (value) =>
    isName(value)
      ? value
      : { problem: 'is no name: letters, digits, dots, dashes and underscores, 64 at most' },
  );
}

/** A name of an environment variable. */
export function variable(description: string): z.ZodType<string, string> {
  return text<string>({ description, pattern: environmentName.source }, (value) =>
    environmentName.test(value) ? value : { problem: 'is no name of an environment variable' },
  );
}

/** `env:NAME`, `file:PATH`, `command:…`. */
export function secretReference(description: string): z.ZodType<SecretReference, string> {
  const told = { description, examples: ['env:ACME_CLIENT_SECRET'], pattern: '^(env|file|command):.+$' };
  return text<SecretReference>(told, (value) => {
    const reference = parseSecretReference(value);
    return isReference(reference) ? reference : { problem: reference.problem };
  });
}

/** A key of a map is checked where it stands and kept as written: what it means is found out once all are known. */
export const keyOf = (of: z.ZodType<unknown, string>, description: string): z.ZodType<string, string> =>
  z
    .string()
    .superRefine((value, context) => {
      const checked = of.safeParse(value);
      if (!checked.success) {
        context.addIssue({ code: 'custom', message: checked.error.issues[0]?.message ?? 'is not valid' });
      }
    })
    .meta({ description });

/** `host`, `host:port` or `*.suffix`. */
export function domainPattern(description: string): z.ZodType<DomainPattern, string> {
  const told = { description, examples: ['api.example.com', 'api.example.com:8443', '*.example.com'] };
  return text<DomainPattern>(told, (value) => {
    const pattern = parsePattern(value);
    return isPattern(pattern) ? pattern : { problem: pattern.problem };
  });
}

/** A host name, canonical; not an address. */
export function hostName(description: string): z.ZodType<string, string> {
  return text<string>({ description }, (value) => {
    const host = canonicalHost(value);
    if (host === null) return { problem: 'is no host name' };
    return isAddress(host) ? { problem: 'is an address; a host name is meant here' } : host;
  });
}

/** What a CA may be held to: a host name, canonical; or an address, or a block of addresses. */
export function permittedName(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['acme.test', '10.1.2.0/24'] }, (value) => {
    if (parseCidr(value) !== null) return value;
    return (
      canonicalHost(value) ?? { problem: 'is no host name, no address and no block such as 10.1.2.0/24' }
    );
  });
}

/** An IP address, without brackets, port or zone. */
export function address(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['10.1.2.3', 'fd00::1'] }, (value) =>
    isIP(value) === 0 || value.includes('%') ? { problem: 'is no IP address' } : value,
  );
}

const mapped = new BlockList();
mapped.addSubnet('::ffff:0:0', 96, 'ipv6');

/** No private block is wider: 10.0.0.0/8 and fc00::/7 are the widest there are. */
const widest = { ipv4: 8, ipv6: 7 } as const;

/** A block of addresses, or one. A block so wide that it turns the guard off is refused. */
export function addressBlock(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['10.1.2.0/24', '192.168.1.10', 'fd00::/8'] }, (value) => {
    const block = parseCidr(value);
    if (block === null) return { problem: 'is no address and no block such as 10.1.2.0/24' };
    if (block.prefix < widest[block.family]) {
      return {
        problem: 'would turn the guard off; list the blocks that are needed, /8 (IPv6: /7) at widest',
      };
    }
    if (block.family === 'ipv6') {
      const list = new BlockList();
      list.addSubnet(block.address, block.prefix, 'ipv6');
      if (list.check('::ffff:0:0', 'ipv6') || mapped.check(block.address, 'ipv6')) {
        return { problem: 'covers IPv4 addresses in IPv6 form; list them as IPv4' };
      }
    }
    return value;
  });
}

/** RFC 3986 characters of a URI, so that nothing is dropped or rewritten by a URL parser. */
const uriText = /^[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+$/;

/** An OAuth endpoint (RFC 6749 §3.1, §3.2): https, without a fragment. It is kept as written. */
export function endpoint(description: string): z.ZodType<string, string> {
  return text<string>({ description, pattern: '^https://' }, (value) => readUrl(value));
}

/** The same, where `{name}` may stand in the path for what is known later. */
export function endpointTemplate(description: string, name: string): z.ZodType<string, string> {
  return text<string>({ description, pattern: '^https://' }, (value) => {
    const read = readUrl(value.replaceAll(`{${name}}`, name));
    return typeof read === 'string' ? value : read;
  });
}

/** RFC 8414 §2: an https URL without query and fragment, compared as written. */
export function issuer(description: string): z.ZodType<string, string> {
  return text<string>({ description, pattern: '^https://' }, (value) =>
    value.includes('?') ? { problem: 'has a query, which an issuer has not' } : readUrl(value),
  );
}

function readUrl(value: string): string | { readonly problem: string } {
  const url = uriText.test(value) ? URL.parse(value) : null;
  if (url === null) return { problem: 'is no URL' };
  if (url.protocol !== 'https:') return { problem: 'is not https; secrets and tokens travel there' };
  if (url.username !== '' || url.password !== '') return { problem: 'has user information' };
  if (value.includes('#')) return { problem: 'has a fragment' };
  // Two programs that read the host differently would talk to different servers.
  const [, host = ''] = /^https:\/\/(\[[^\]]*\]|[^/:?]*)/i.exec(value) ?? [];
  return canonicalHost(host) === null ? { problem: 'has a host that is not one' } : value;
}
