import { z } from 'zod';
import { text } from '../lib/text.ts';
import {
  type Authority,
  canonicalHost,
  type Cidr,
  parseAbsoluteTarget,
  parseCidr,
} from '../proxy/policy/authority.ts';
import { type DomainPattern, isPattern, parsePattern } from '../proxy/policy/domain-map.ts';
import type { ConfigDocument } from './document.ts';
import { marks } from './marks.ts';
import { formatPath, type Path } from './problem.ts';
import {
  address,
  addressBlock,
  domainPattern,
  hostName,
  keyOf,
  pathText,
  secretReference,
} from './scalar.ts';
import type { SecretReference } from './secret-reference.ts';

/** The `upstream` part of the config file: its schema and its settings. */

const proxyUrl = text<Authority>(
  {
    description: 'http://HOST:PORT, or https://HOST:PORT for a proxy that is spoken to over TLS.',
    examples: ['http://proxy.example.com:3128'],
    kind: 'a URL such as http://proxy.example.com:3128',
  },
  (value) => {
    if (!/^https?:\/\//i.test(value)) return { problem: 'must be http://HOST:PORT or https://HOST:PORT' };
    if (value.includes('@')) {
      return {
        problem:
          'has user information; write { url, user, password }, with a password such as env:PROXY_PASSWORD',
      };
    }
    const target = parseAbsoluteTarget(value);
    if (target === null) return { problem: 'is not a URL of a host and a port' };
    return target.path === '/'
      ? target.authority
      : { problem: 'has a path; write the host and the port alone' };
  },
).register(marks, { mark: 'destination' });

const proxyUser = text<string>({ description: 'The user name for the proxy.' }, (value) => {
  if (value === '') return { problem: 'is empty' };
  if (/\p{Cc}/u.test(value)) return { problem: 'has a control character' };
  // RFC 7617 §2: the first colon ends it.
  return value.includes(':') ? { problem: 'has a colon, which no user name can have' } : value;
});

const proxy = z
  .union(
    [
      proxyUrl,
      z
        .strictObject({
          url: proxyUrl,
          user: proxyUser.optional(),
          password: secretReference('Where the password for the proxy is.').optional(),
          remote_dns: z.boolean().prefault(false).meta({
            description:
              'Whether the proxy is given names, because they cannot be looked up here. No address guard holds for them then.',
          }),
        })
        .refine(({ user, password }) => (user === undefined) === (password === undefined), {
          message: 'needs user and password, or neither',
        }),
    ],
    { error: 'must be a URL such as http://proxy.example.com:3128, or { url, user, password, remote_dns }' },
  )
  .meta({ description: 'A proxy that every connection out goes through, by CONNECT.' });

/** Upstreams that bypass the proxy: host patterns or addresses. */
const exception = text<DomainPattern | Cidr>(
  {
    description: 'A host, host:port or *.suffix; an address or a block. Without a port: any port.',
    examples: ['*.corp.example.com', '10.0.0.0/8'],
  },
  (value) => {
    const block = parseCidr(value);
    if (block !== null) return block;
    const pattern = parsePattern(value);
    return isPattern(pattern) ? pattern : { problem: pattern.problem };
  },
);

const clientCertificate = z
  .strictObject({
    cert: pathText('A PEM file with the certificate, and its chain behind it.').optional(),
    key: pathText('A PEM file with its private key, which is not open to every user.').optional(),
    pfx: pathText('A PKCS #12 file with both, in place of cert and key.').optional(),
    passphrase: secretReference('Where the passphrase of the key or of the file is.').optional(),
  })
  .refine(
    ({ cert, key, pfx }) =>
      pfx === undefined ? cert !== undefined && key !== undefined : cert === undefined && key === undefined,
    { message: 'needs cert and key, or pfx' },
  )
  .meta({ description: 'A certificate that Sidekey shows to servers that ask for one.' });

/** The keys of `upstream`. */
export const upstreamSchema = z.strictObject({
  ca: z
    .array(pathText('A PEM file.'))
    .prefault([])
    .meta({ description: 'PEM files with trust anchors, in addition to those of the system.' }),
  host_ca: z
    .record(
      keyOf(hostName('host'), 'A host name.'),
      pathText('A PEM file with trust anchors, in place of all others.'),
    )
    .prefault({})
    .meta({ description: 'The only trust anchors of a host, such as the endpoint of a Kubernetes cluster.' }),
  resolve: z
    .record(keyOf(hostName('host'), 'A host name.'), address('The address to dial for that host.'))
    .prefault({})
    .meta({ description: 'Host names and the addresses to dial for them, like curl --resolve.' }),
  private_addresses: z
    .array(addressBlock('An address or a block of addresses.'))
    .prefault([])
    .meta({ description: 'Addresses that may be dialed, in addition to public ones.' }),
  proxy: proxy.optional(),
  no_proxy: z
    .array(exception)
    .prefault([])
    .meta({ description: 'Hosts and addresses that are dialed directly, and not through upstream.proxy.' }),
  client_certificates: z
    .record(keyOf(domainPattern('host'), 'host, host:port or *.suffix.'), clientCertificate)
    .prefault({})
    .meta({ description: 'Certificates for servers that ask for one. The most specific entry wins.' }),
});

/** The upstream settings. Paths are absolute. */
export interface UpstreamConfig {
  /** Paths of PEM files with trust anchors besides the system's. */
  readonly ca: readonly string[];
  /** Host → path of a PEM file with its only trust anchors. */
  readonly hostCa: ReadonlyMap<string, string>;
  /** Host → address, like `curl --resolve`. */
  readonly resolve: ReadonlyMap<string, string>;
  /** CIDRs that may be dialed besides public addresses. */
  readonly privateAddresses: readonly string[];
  /** Parent proxy of all connections; null: none. */
  readonly proxy: UpstreamProxyConfig | null;
  /** Upstreams that bypass the proxy. */
  readonly noProxy: { readonly hosts: readonly DomainPattern[]; readonly blocks: readonly Cidr[] };
  readonly clientCertificates: readonly ClientCertificateConfig[];
}

export interface UpstreamProxyConfig {
  readonly authority: Authority;
  readonly login: {
    readonly user: string;
    readonly password: SecretReference;
    /** Position of the password in the config file, for messages. */
    readonly origin: string;
  } | null;
  /** True if the proxy resolves names. */
  readonly remoteDns: boolean;
}

export interface ClientCertificateConfig {
  readonly pattern: DomainPattern;
  readonly files: { readonly cert: string; readonly key: string } | { readonly pfx: string };
  readonly passphrase: SecretReference | null;
  /** Its position in the config file, for messages. */
  readonly origin: string;
}

/** Context for paths and positions. */
interface Surroundings {
  readonly absolute: (path: string) => string;
  readonly document: ConfigDocument;
  /** The config file, as messages name it. */
  readonly name: string;
}

/** Converts validated values to settings. */
export function toUpstreamConfig(
  values: z.output<typeof upstreamSchema>,
  { absolute, document, name }: Surroundings,
): UpstreamConfig {
  const originOf = (path: Path): string => {
    const { line, column } = document.position(path, 'key');
    return `${name}:${line}:${column}: ${formatPath(path)}`;
  };
  return {
    ca: values.ca.map(absolute),
    hostCa: byHost(values.host_ca, absolute),
    resolve: byHost(values.resolve, (pinned) => pinned),
    privateAddresses: values.private_addresses,
    proxy: toProxy(values.proxy, originOf(['upstream', 'proxy', 'password'])),
    noProxy: {
      hosts: values.no_proxy.filter((entry): entry is DomainPattern => 'host' in entry),
      blocks: values.no_proxy.filter((entry): entry is Cidr => 'prefix' in entry),
    },
    clientCertificates: Object.entries(values.client_certificates).flatMap(([key, value]) => {
      const pattern = parsePattern(key);
      // The schema rejects invalid patterns.
      if (!isPattern(pattern)) return [];
      const origin = originOf(['upstream', 'client_certificates', key]);
      return { pattern, files: filesOf(value, absolute), passphrase: value.passphrase ?? null, origin };
    }),
  };
}

function byHost(written: Readonly<Record<string, string>>, read: (value: string) => string) {
  return new Map(Object.entries(written).map(([host, value]) => [canonicalHost(host) ?? host, read(value)]));
}

function toProxy(value: z.output<typeof proxy> | undefined, origin: string): UpstreamProxyConfig | null {
  if (value === undefined) return null;
  if ('host' in value) return { authority: value, login: null, remoteDns: false };
  const { url, user, password, remote_dns: remoteDns } = value;
  const login = user === undefined || password === undefined ? null : { user, password, origin };
  return { authority: url, login, remoteDns };
}

/** The schema requires either both files or the single one. */
function filesOf(
  { cert = '', key = '', pfx }: z.output<typeof clientCertificate>,
  absolute: (path: string) => string,
): ClientCertificateConfig['files'] {
  return pfx === undefined ? { cert: absolute(cert), key: absolute(key) } : { pfx: absolute(pfx) };
}
