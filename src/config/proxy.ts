import { z } from 'zod';
import type { CertificateFiles } from '../lib/certificate-files.ts';
import { optional, prefault, text } from '../lib/text.ts';
import type { Cidr } from '../proxy/policy/authority.ts';
import { clientBlock, keyOf, listenAddress, name, pathText, secretReference } from './scalar.ts';
import type { SecretReference } from './secret-reference.ts';

/** The `proxy` part of the config file: its schema and its settings. */

const certificateName = text<string>(
  {
    description: 'A URI or a DNS name of the certificate (subjectAltName), exactly.',
    examples: ['spiffe://example.org/ci', 'runner-7.example.com'],
  },
  (value) =>
    /^[a-z][a-z0-9+.-]*:\/\/[\x21-\x7e]{1,500}$/i.test(value) ||
    /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}$/.test(value)
      ? value
      : { problem: 'is neither a URI nor a DNS name' },
);

/** Returns a name as it is compared: a DNS name has no case. */
function asCompared(named: string): string {
  return named.includes('://') ? named : named.toLowerCase();
}

/** The schema of `proxy`. */
export const proxySchema = z.strictObject({
  listen: listenAddress('Where the proxy listens: ADDRESS:PORT; port 0 takes any that is free.').prefault(
    '127.0.0.1:8377',
  ),
  authentication: z.enum(['optional', 'required']).prefault('optional').meta({
    description:
      'Whether callers need an agent token: optional (see local_callers) or required (407 without one).',
  }),
  local_callers: z.enum(['same_user', 'any']).prefault('same_user').meta({
    description:
      'Callers on this machine that need no token where authentication is optional: same_user (programs of the user that runs Sidekey, and of root; Linux), or any (every program of this network namespace).',
  }),
  unmatched: z.enum(['deny', 'tunnel']).prefault('deny').meta({
    description:
      'Hosts that are not in the map: deny, or tunnel (no credential, not inspected, on the audit record).',
  }),
  transparent: prefault(
    z
      .union([
        z.boolean(),
        z.strictObject({
          token: secretReference('Where the token of the agent is whose connections they are.'),
        }),
      ])
      .transform((value) => (typeof value === 'boolean' ? (value ? { token: null } : null) : value)),
    false,
    'Whether connections are accepted that rules of the kernel redirect to the proxy (Linux): true, or the token of an agent. The name in their first bytes is the host.',
  ),
  tls: z
    .strictObject({
      cert: pathText('A PEM file with the certificate of the proxy, and its chain behind it.'),
      key: pathText('A PEM file with its private key, without a passphrase.'),
      client_ca: pathText('A PEM file with the CAs that sign the certificates of agents.').optional(),
      agents: optional(
        z.record(keyOf(name('name'), 'The name of the agent.'), certificateName),
        'Agents that a client certificate identifies, each with a name in it.',
      ),
    })
    .superRefine(({ client_ca: ca, agents = {} }, context) => {
      const names = Object.values(agents).map(asCompared);
      const message =
        (ca === undefined) !== (names.length === 0)
          ? 'must have both client_ca and agents, or neither'
          : new Set(names).size < names.length
            ? 'has two agents with one name'
            : null;
      if (message !== null)
        context.addIssue({ code: 'custom', path: ca === undefined ? ['agents'] : ['client_ca'], message });
    })
    .optional()
    .meta({ description: 'TLS on the port of the proxy, for callers on other machines. Default: none.' }),
  proxy_protocol: prefault(
    z.array(clientBlock('The address of a load balancer, or a block of addresses.')),
    [],
    'Load balancers whose connections begin with a header of the PROXY protocol, which says the address of the client. Default: none.',
  ),
});

/** Settings of the port of the proxy, and who may use it. */
export interface ProxyConfig {
  readonly listen: { readonly host: string; readonly port: number };
  readonly authentication: 'optional' | 'required';
  /** Local callers that need no token where authentication is optional. */
  readonly localCallers: 'same_user' | 'any';
  readonly unmatchedHosts: 'deny' | 'tunnel';
  /** Accepts connections that the kernel redirected, with an agent's token if set; null: refuses them. */
  readonly transparent: { readonly token: SecretReference | null } | null;
  /** Null: no TLS on the port. */
  readonly tls: ProxyTls | null;
  /** Addresses whose connections begin with a header of the PROXY protocol. */
  readonly balancers: readonly Cidr[];
}

export interface ProxyTls {
  readonly files: CertificateFiles;
  /** Agents by the name in their certificate: a URI, which has `://`, or a DNS name in lower case. */
  readonly agents: ReadonlyMap<string, string>;
}

/** Names tokenless callers for `sidekey start`; null if none, as on systems that report no users. */
export function tokenlessCallers(
  { authentication, localCallers }: Pick<ProxyConfig, 'authentication' | 'localCallers'>,
  platform: NodeJS.Platform = process.platform,
): string | null {
  if (authentication === 'required') return null;
  if (localCallers === 'any') return 'callers on this machine';
  return platform === 'linux' ? 'programs of the same user' : null;
}

/** Converts validated values to settings. */
export function toProxyConfig(
  {
    listen,
    authentication,
    local_callers: localCallers,
    unmatched,
    transparent,
    tls,
    proxy_protocol: balancers,
  }: z.output<typeof proxySchema>,
  absolute: (path: string) => string,
): ProxyConfig {
  return {
    listen,
    authentication,
    localCallers,
    unmatchedHosts: unmatched,
    transparent,
    tls:
      tls === undefined
        ? null
        : {
            files: {
              setting: 'proxy.tls',
              cert: absolute(tls.cert),
              key: absolute(tls.key),
              clientCa: tls.client_ca === undefined ? null : absolute(tls.client_ca),
            },
            agents: new Map(
              Object.entries(tls.agents ?? {}).map(([agent, named]) => [asCompared(named), agent]),
            ),
          },
    balancers,
  };
}
