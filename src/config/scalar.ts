import { BlockList, isIP } from 'node:net';
import { z } from 'zod';
import { isName } from '../domain/grant.ts';
import { text } from '../lib/text.ts';
import {
  canonicalHost,
  type Cidr,
  isAddress,
  isLoopback,
  parseCidr,
  plainAddress,
} from '../proxy/policy/authority.ts';
import { type DomainPattern, isPattern, parsePattern } from '../proxy/policy/domain-map.ts';
import { marks } from './marks.ts';
import {
  environmentName,
  isReference,
  parseSecretReference,
  type SecretReference,
} from './secret-reference.ts';

/** A path of a file or folder. Expansions are not supported and rejected. */
export function pathText(description: string): z.ZodType<string, string> {
  return text<string>({ description }, readPath).register(marks, { mark: 'machine' });
}

/** Validates a path for `pathText`. */
export function readPath(value: string): string | { readonly problem: string } {
  if (value === '') return { problem: 'is an empty path' };
  if (/\p{Cc}/u.test(value)) return { problem: 'has a control character' };
  if (/^~|^\$|\$\{/.test(value)) return { problem: 'is a path in which nothing is expanded; write it out' };
  return value;
}

/** A time, in milliseconds. */
export function duration(description: string, least = 0, most = longestDuration): z.ZodType<number, string> {
  const meta = {
    description,
    examples: ['10s', '5m'],
    pattern: durationPattern.source,
    kind: 'a time with its unit, such as 10s',
  };
  return text<number>(meta, (value) => {
    const milliseconds = parseDuration(value);
    if (milliseconds === null)
      return { problem: 'is not a duration such as 250ms, 10s, 5m or 1h, of 24 days at most' };
    if (milliseconds > most) return { problem: `is more than ${formatDuration(most)}` };
    return milliseconds < least ? { problem: `is less than ${formatDuration(least)}` } : milliseconds;
  });
}

/** A number of bytes, written as a number or with a unit. */
export function size(description: string, least = 0): z.ZodType<number, string | number> {
  const meta = { description, examples: ['64KiB', '10MB'], pattern: sizePattern.source };
  const withUnit = text<number>(meta, (value) => {
    const bytes = parseSize(value);
    if (bytes === null) return { problem: 'is not a size such as 64KiB, 10MB or 100MiB' };
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
      : { problem: 'is not a name: letters, digits, dots, dashes and underscores, 64 at most' },
  );
}

/** A name of an environment variable. */
export function variable(description: string): z.ZodType<string, string> {
  return text<string>({ description, pattern: environmentName.source }, (value) =>
    environmentName.test(value) ? value : { problem: 'is not a name of an environment variable' },
  ).register(marks, { mark: 'machine' });
}

/** `env:NAME`, `file:PATH`, `command:…`. */
export function secretReference(description: string): z.ZodType<SecretReference, string> {
  const meta = { description, examples: ['env:ACME_CLIENT_SECRET'], pattern: '^(env|file|command):.+$' };
  return text<SecretReference>(meta, (value) => {
    const reference = parseSecretReference(value);
    return isReference(reference) ? reference : { problem: reference.problem };
  }).register(marks, { mark: 'secret' });
}

/** A key of a map that is validated and kept as written; it is resolved when all keys are known. */
export const keyOf = (of: z.ZodType<unknown, string>, description: string): z.ZodType<string, string> =>
  z
    .string()
    .superRefine((value, context) => {
      const checked = of.safeParse(value);
      if (!checked.success)
        context.addIssue({ code: 'custom', message: checked.error.issues[0]?.message ?? 'is not valid' });
    })
    .meta({ description });

/** `host`, `host:port` or `*.suffix`. */
export function domainPattern(description: string): z.ZodType<DomainPattern, string> {
  const meta = { description, examples: ['api.example.com', 'api.example.com:8443', '*.example.com'] };
  return text<DomainPattern>(meta, (value) => {
    const pattern = parsePattern(value);
    return isPattern(pattern) ? pattern : { problem: pattern.problem };
  });
}

/** A host name, canonical; not an address. */
export function hostName(description: string): z.ZodType<string, string> {
  return text<string>({ description }, (value) => {
    const host = canonicalHost(value);
    if (host === null) return { problem: 'is not a host name' };
    return isAddress(host) ? { problem: 'is an address; a host name is meant here' } : host;
  });
}

/** A permitted name of a CA: a canonical host name, an address, or a block of addresses. */
export function permittedName(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['acme.test', '10.1.2.0/24'] }, (value) => {
    if (parseCidr(value) !== null) return value;
    return (
      canonicalHost(value) ?? { problem: 'is not a host name, an address or a block such as 10.1.2.0/24' }
    );
  });
}

/** An IP address, without brackets, port or zone. */
export function address(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['10.1.2.3', 'fd00::1'] }, (value) =>
    isIP(value) === 0 || value.includes('%') ? { problem: 'is not an IP address' } : value,
  );
}

/** A block of addresses of clients, or one. */
export function clientBlock(description: string): z.ZodType<Cidr, string> {
  return text<Cidr>({ description, examples: ['10.1.2.0/24', '::1'] }, (value) => {
    const block = parseCidr(value);
    if (block === null) return { problem: 'is not an address or a block such as 10.1.2.0/24' };
    // Client addresses are in plain form, so such a block would match none.
    return plainAddress(block.address) === block.address
      ? block
      : { problem: 'is an IPv4 address in IPv6 form; write it as IPv4' };
  });
}

const mapped = new BlockList();
mapped.addSubnet('::ffff:0:0', 96, 'ipv6');

/** Widest allowed blocks, as wide as 10.0.0.0/8 and fc00::/7. */
const widest = { ipv4: 8, ipv6: 7 } as const;

/** A block of addresses. Blocks wide enough to disable the address guard are rejected. */
export function addressBlock(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['10.1.2.0/24', '192.168.1.10', 'fd00::/8'] }, (value) => {
    const block = parseCidr(value);
    if (block === null) return { problem: 'is not an address or a block such as 10.1.2.0/24' };
    if (block.prefix < widest[block.family]) {
      return {
        problem: 'would turn the guard off; list the blocks that are needed, /8 (IPv6: /7) at widest',
      };
    }
    if (block.family === 'ipv6') {
      const list = new BlockList();
      list.addSubnet(block.address, block.prefix, 'ipv6');
      if (list.check('::ffff:0:0', 'ipv6') || mapped.check(block.address, 'ipv6'))
        return { problem: 'covers IPv4 addresses in IPv6 form; list them as IPv4' };
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

/** An endpoint with `{name}` in its path for a value that is known later. */
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
  if (url === null) return { problem: 'is not a URL' };
  if (url.protocol !== 'https:') return { problem: 'is not https; secrets and tokens travel there' };
  if (url.username !== '' || url.password !== '') return { problem: 'has user information' };
  if (value.includes('#')) return { problem: 'has a fragment' };
  // Programs that parse the host differently would connect to different servers.
  const [, host = ''] = /^https:\/\/(\[[^\]]*\]|[^/:?]*)/i.exec(value) ?? [];
  return canonicalHost(host) === null ? { problem: 'has a host that is not one' } : value;
}

/** Address of a listener. */
export interface ListenAddress {
  /** An IP address without brackets, or `localhost`. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

const listenForm = 'ADDRESS:PORT, such as 127.0.0.1:8377';

/** `ADDRESS:PORT`. */
export function listenAddress(description: string): z.ZodType<ListenAddress, string> {
  return text<ListenAddress>(
    { description, examples: ['127.0.0.1:8377', '[::1]:8377'], kind: listenForm },
    (value) => {
      const [, bracketed, plain, portText] = /^(?:\[([^\]]*)\]|([^:[\]]*)):([0-9]{1,5})$/.exec(value) ?? [];
      const port = Number(portText);
      if (portText === undefined) return { problem: `must be ${listenForm}` };
      if (port > 65_535 || /^0./.test(portText))
        return { problem: 'has a port that is not between 0 and 65535' };
      const host = (bracketed ?? plain ?? '').toLowerCase();
      const fits = bracketed === undefined ? host === 'localhost' || isIP(host) === 4 : isIP(host) === 6;
      if (!fits || host.includes('%'))
        return { problem: 'must begin with an IP address (IPv6 in brackets) or localhost' };
      return { host, port };
    },
  ).register(marks, { mark: 'machine' });
}

/**
 * Reports whether only this machine can reach a listener: RFC 1122 §3.2.1.3 (127/8), RFC 4291 §2.5.3 (::1).
 * Other spellings of these addresses count as reachable from other machines.
 */
export function isLoopbackListen({ host }: Pick<ListenAddress, 'host'>): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

/** Text for users: one line, not empty. */
export function plainText(description: string): z.ZodType<string, string> {
  return text<string>({ description }, (value) =>
    /^[\x20-\x7e’“”–…éü]+$/.test(value) && value === value.trim()
      ? value
      : { problem: 'must be one line of plain text, and not empty' },
  );
}

/** URL of a web page. */
export function webPage(description: string): z.ZodType<string, string> {
  return text<string>({ description, pattern: '^https://' }, (value) => {
    const url = /^[\x21-\x7e]+$/.test(value) ? URL.parse(value) : null;
    if (url?.protocol !== 'https:') return { problem: 'is not an https URL' };
    return url.username === '' && url.password === '' ? value : { problem: 'has user information' };
  });
}

/** URL of a receiver of confidential data about agents and hosts. */
export function receiver(description: string): z.ZodType<string, string> {
  const meta = { description, examples: ['https://siem.example.com/sidekey'] };
  return text<string>(meta, readReceiver).register(marks, { mark: 'destination' });
}

/** Validates a URL for `receiver`: https or loopback, without user information and fragment. */
export function readReceiver(value: string): string | { readonly problem: string } {
  const url = /^[\x21-\x7e]+$/.test(value) ? URL.parse(value) : null;
  if (url === null) return { problem: 'is not a URL' };
  if (url.username !== '' || url.password !== '') return { problem: 'has user information' };
  if (url.hash !== '') return { problem: 'has a fragment' };
  if (canonicalHost(url.hostname) === null) return { problem: 'has a host that is not one' };
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLocal(url.hostname)))
    return { problem: 'is not https, and not on this machine' };
  return value;
}

/** Accepts hosts of a URL, which have 127/8 in canonical form (RFC 1122 §3.2.1.3). */
function isLocal(host: string): boolean {
  return isLoopback(host) || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** Form of durations in the config file: a whole number and a unit, without sign and space. */
const durationPattern = /^(0|[1-9][0-9]{0,15})(ms|s|m|h|d)$/;

/** Maximum duration in milliseconds, about 24.8 days: Node fires a timer above 2^31 - 1 at once. */
export const longestDuration = 2_147_483_647;

const durationUnits = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 } as const;

/** Parses `250ms`, `10s`, `5m`, `1h`, `2d` to milliseconds; null if invalid or over `longestDuration`. */
export function parseDuration(text: string): number | null {
  const [, count, unit] = durationPattern.exec(text) ?? [];
  if (count === undefined || unit === undefined) return null;
  const milliseconds = Number(count) * durationUnits[unit as keyof typeof durationUnits];
  return milliseconds <= longestDuration ? milliseconds : null;
}

/** Formats milliseconds for `parseDuration`, in the largest unit that divides them. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds === 0) return '0s';
  const [unit, length] = Object.entries(durationUnits).find(([, length]) => milliseconds % length === 0) ?? [
    'ms',
    1,
  ];
  return `${milliseconds / length}${unit}`;
}

/** Form of sizes in the config file: a whole number and a unit, without sign and space. */
const sizePattern = /^(0|[1-9][0-9]{0,15})(B|kB|KB|MB|GB|KiB|MiB|GiB)$/;

const units = {
  GiB: 1_073_741_824,
  GB: 1_000_000_000,
  MiB: 1_048_576,
  MB: 1_000_000,
  KiB: 1_024,
  kB: 1_000,
  KB: 1_000,
  B: 1,
} as const;

/** Parses `512B`, `10MB` (decimal), `100MiB` (binary) to bytes; null if invalid or not a safe integer. */
export function parseSize(text: string): number | null {
  const [, count, unit] = sizePattern.exec(text) ?? [];
  if (count === undefined || unit === undefined) return null;
  const bytes = Number(count) * units[unit as keyof typeof units];
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** Formats bytes for `parseSize`, in the largest unit that divides them. */
export function formatSize(bytes: number): string {
  if (bytes === 0) return '0B';
  const [unit, length] = Object.entries(units).find(([, length]) => bytes % length === 0) ?? ['B', 1];
  return `${bytes / length}${unit}`;
}
