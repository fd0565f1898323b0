import { z } from 'zod';
import { parsePostgresUrl, type PostgresAddress } from '../lib/postgres.ts';
import { optional, prefault, text } from '../lib/text.ts';
import { foreignCredentials, leakGuards } from '../proxy/policy/domain-map.ts';
import { type LimitName, limitTable } from '../proxy/policy/limits.ts';
import { regionOfCluster } from '../proxy/schemes/sigv4/scope.ts';
import { agentIssuersSchema } from './agent-issuers.ts';
import { adminSchema } from './admin.ts';
import { approvalsSchema } from './approvals.ts';
import { auditSchema } from './audit.ts';
import { keySchema } from './key.ts';
import { marks } from './marks.ts';
import { telemetrySchema } from './telemetry.ts';
import { providerSchema } from './provider.ts';
import { fieldPlacement } from './provider-dialect.ts';
import { mintsDefinition } from './provider-mint.ts';
import { proxySchema } from './proxy.ts';
import { outcome, policyDefinition, ruleList, some } from './rules.ts';
import {
  domainPattern,
  duration,
  formatDuration,
  formatSize,
  keyOf,
  name,
  pathText,
  permittedName,
  readPath,
  secretReference,
  size,
} from './scalar.ts';
import { upstreamSchema } from './upstream.ts';
import { vaultsSchema } from './vaults.ts';

// A start checks few values: generating code for that takes longer than the check.
z.config({ jitless: true });

/**
 * The schema of the config file, from which types, messages and `config/sidekey.schema.json` are derived.
 * Unknown keys are errors at every level.
 */

const storeText = text<StoreValues>(
  {
    description: 'Where grants are kept: sqlite:PATH, or postgres://USER@HOST/DATABASE.',
    examples: ['sqlite:../data/sidekey.db', 'postgres://sidekey@db.example.com/sidekey'],
    pattern: '^(sqlite:|postgres(ql)?://).+$',
  },
  (value) => {
    if (/^postgres(ql)?:/i.test(value)) {
      const address = parsePostgresUrl(value);
      return 'problem' in address ? address : { kind: 'postgres', address };
    }
    if (!value.startsWith('sqlite:'))
      return { problem: 'must be sqlite:PATH or postgres://USER@HOST/DATABASE' };
    const path = readPath(value.slice('sqlite:'.length));
    if (typeof path !== 'string') return path;
    if (path.startsWith('//')) return { problem: 'must be sqlite:PATH, without the slashes of a URL' };
    return path === ':memory:'
      ? { problem: 'must be a file; what is in memory is lost' }
      : { kind: 'sqlite', path };
  },
).register(marks, { mark: 'machine' });

type StoreValues =
  | { readonly kind: 'sqlite'; readonly path: string }
  | { readonly kind: 'postgres'; readonly address: PostgresAddress };

const store = z
  .union(
    [
      storeText,
      z.strictObject({
        url: storeText,
        password: secretReference('Where the password of the database user is.').optional(),
        connections: optional(
          z.int().min(1).max(1_000),
          'The most connections of one process for queries, at least 2; one more listens. Default: 2.',
        ),
      }),
    ],
    { error: storeProblem },
  )
  .meta({
    description: 'sqlite:PATH, postgres://USER@HOST/DATABASE, or { url: postgres://…, password: env:NAME }.',
  });

/** Returns the reason why a store is invalid, which the error of a union does not contain. */
function storeProblem({ input }: { readonly input: unknown }): string {
  const read = typeof input === 'string' ? storeText.safeParse(input) : null;
  return read?.error?.issues[0]?.message ?? 'must be sqlite:PATH, postgres://… or { url, password }';
}

const domain = z
  .union(
    [
      z.enum(['tunnel', 'deny']),
      z.strictObject({
        grant: name('The grant whose credential is added.'),
        allow_plain_http: z
          .boolean()
          .prefault(false)
          .meta({ description: 'Also over plain http, where everybody on the way can read the credential.' }),
        eks_cluster: text<string>(
          {
            description: 'The name of the EKS cluster whose endpoint the host is. Tokens are signed for it.',
          },
          (value) =>
            /^[A-Za-z0-9][\w-]{0,99}$/.test(value) ? value : { problem: 'is not a name of an EKS cluster' },
        ).optional(),
        leak_guard: optional(
          z.enum(leakGuards),
          'How responses that show the credential are handled: auto (error pages and echo endpoints are redacted), redact (all are), refuse, off. Default: auto.',
        ),
        leak_limit: optional(
          z.int().min(1).max(1_000_000),
          'How often in an hour responses may show the credential to one agent, before its requests are refused. Default: 5.',
        ),
        foreign_credentials: optional(
          z.enum(foreignCredentials),
          'How credentials that clients send themselves are handled: record (in the audit log), strip or refuse. Default: record, for header fields and the query alone.',
        ),
        also: some(
          z.strictObject({ grant: name('A grant.'), as: fieldPlacement }),
          'Grants whose credentials are added too. If one of them cannot be used, the request is refused.',
        ).optional(),
        mints: mintsDefinition.optional(),
        rules: ruleList.optional(),
        default: outcome(
          'Outcome of a request that no rule matches. Default: deny where there are rules.',
        ).optional(),
        mode: optional(
          z.enum(['enforce', 'report']),
          'report: let everything through, and record what the rules would have done. Default: enforce.',
        ),
      }),
    ],
    { error: 'must be tunnel, deny or { grant: NAME }' },
  )
  .meta({ description: 'tunnel, deny or { grant: NAME }.' });

const pathList = (which: string) => prefault(z.array(pathText(`A path ${which}.`)), [], `Paths ${which}.`);

const limits = z.strictObject(
  Object.fromEntries(
    Object.entries(limitTable).map(([limitName, limit]) => [limitName, limitSchema(limit).optional()]),
  ) as Record<LimitName, z.ZodOptional<z.ZodType<number, string | number>>>,
);

function limitSchema(limit: (typeof limitTable)[LimitName]): z.ZodType<number, string | number> {
  const describe = (initial: string): string => `${sentence(limit.what)} Default: ${initial}.`;
  switch (limit.unit) {
    case 'ms':
      return duration(describe(formatDuration(limit.default)), limit.least);
    case 'bytes':
      return size(describe(formatSize(limit.default)), limit.least);
    case 'count':
      return z
        .int()
        .min(limit.least)
        .meta({ description: describe(String(limit.default)) });
  }
}

function sentence(what: string): string {
  return `${what.charAt(0).toUpperCase()}${what.slice(1)}.`;
}

/** The clients of `docs/clients.md`, which `clients` of the config can turn off. */
export const clientNames = [
  'curl',
  'wget',
  'git',
  'node',
  'npm',
  'yarn',
  'bun',
  'deno',
  'python',
  'pip',
  'uv',
  'yt-dlp',
  'httplib2',
  'aws',
  'gcloud',
  'azure',
  'go',
  'cargo',
  'rust',
  'java',
  'bazel',
  'ruby',
  'php',
  'perl',
  'dotnet',
  'elixir',
  'julia',
  'r',
  'libcurl',
  'aria2',
  'ffmpeg',
  'mercurial',
  'subversion',
  'apt',
  'agents',
  'nix',
  'grpc',
  'docker',
  'chromium',
] as const;

export type ClientName = (typeof clientNames)[number];

/** The whole file. */
export const configSchema = z
  .strictObject({
    version: z.literal(1).meta({ description: 'Version of this format: 1.' }),
    proxy: proxySchema.prefault({}).meta({ description: 'The listener, and who may use it.' }),
    workers: optional(
      z.union([z.int().min(1).max(128), z.literal('auto')], {
        error: 'must be a number from 1 to 128, or auto',
      }),
      'How many processes serve on the one port: a number, or auto (as many as there are cores for it). Default: 1; in a container auto.',
    ),
    admin: adminSchema.prefault({}),
    approvals: approvalsSchema.prefault({}).meta({
      description: 'Requests that a rule with the outcome approve holds until a person answers.',
    }),
    store: store.prefault('sqlite:../data/sidekey.db'),
    key: keySchema.prefault({ source: 'file' }),
    ca: z
      .strictObject({
        directory: pathText('The folder of the CA; it is made on the first run.').prefault('../certs'),
        permitted_names: z
          .array(permittedName('A name, with all names below it; an address or a block.'))
          .prefault([])
          .meta({ description: 'The only names that the CA may sign for; none: any.' }),
      })
      .prefault({})
      .meta({ description: 'The certificate authority that agents trust.' }),
    audit: auditSchema.prefault({}).meta({ description: 'The record of every access.' }),
    telemetry: telemetrySchema.prefault({}).meta({ description: 'Traces, for OpenTelemetry.' }),
    run: z
      .strictObject({
        isolate: z.enum(['auto', 'off']).prefault('auto').meta({
          description: 'auto: sidekey run confines its command where the system can. off: it does not.',
        }),
        show: pathList('hidden from confined commands otherwise'),
        write: pathList('that confined commands may write'),
        sockets: pathList('that are Unix sockets, which confined commands may connect to'),
      })
      .prefault({})
      .meta({ description: 'What a command of sidekey run may reach.' })
      .register(marks, { mark: 'machine' }),
    clients: prefault(
      z.partialRecord(z.enum(clientNames), z.enum(['on', 'off'])),
      {},
      'Programs whose variables sidekey run and env do not set (off), except those that other programs need.',
    ),
    tokens: z
      .strictObject({
        refresh_before_expiry: duration('How long before its end a token is refreshed.').prefault('5m'),
        background_refresh: duration(
          'How long after its last use a grant’s token is still refreshed before a request needs it; 0s: only on use.',
        ).prefault('1d'),
      })
      .prefault({})
      .meta({ description: 'The clocks of tokens.' }),
    leases: prefault(
      z.strictObject({
        default_ttl: duration('How long a lease lasts where nothing is said.', 1_000).prefault('15m'),
        max_ttl: duration('How long a lease lasts at most; a longer ask is cut.', 1_000).prefault('1d'),
        revoke: z.enum(['none', 'token']).prefault('none').meta({
          description:
            'token: when a lease ends, the access tokens that it alone used are revoked at the provider.',
        }),
      }),
      {},
      'The clocks of leases. Providers and grants may set shorter ones; the least counts.',
    ),
    agent_issuers: agentIssuersSchema
      .prefault({})
      .meta({ description: 'OIDC issuers whose tokens identify agents, in place of agent tokens.' }),
    upstream: prefault(upstreamSchema, {}, 'How servers are found, and how they are recognized.'),
    vaults: vaultsSchema
      .prefault({})
      .meta({ description: 'Servers of HashiCorp Vault and OpenBao that hold credentials of grants.' }),
    domains: z
      .record(keyOf(domainPattern('host'), 'host, host:port or *.suffix.'), domain)
      .superRefine((entries, context) => {
        for (const [host, entry] of Object.entries(entries)) {
          if (typeof entry === 'string' || entry.eks_cluster === undefined) continue;
          const message = 'is for one endpoint of EKS, such as ID.gr7.eu-west-1.eks.amazonaws.com';
          if (regionOfCluster(host) === null)
            context.addIssue({ code: 'custom', path: [host, 'eks_cluster'], message });
        }
      })
      .prefault({})
      .meta({ description: 'The allowed-domains map. The most specific entry wins.' }),
    policies: z
      .record(keyOf(name('name'), 'The name of the policy.'), policyDefinition)
      .prefault({})
      .meta({ description: 'Rules that many domains share: rules: [{ policy: NAME }].' }),
    providers: z
      .record(keyOf(name('name'), 'The name of the provider.'), providerSchema)
      .prefault({})
      .meta({ description: 'Your own providers; one with the name of a built-in provider replaces it.' }),
    limits: limits.prefault({}).meta({ description: 'Limits and timeouts.' }),
    log: z
      .strictObject({
        level: z
          .enum(['fatal', 'error', 'warn', 'info', 'debug'])
          .prefault('info')
          .meta({ description: 'The least severe messages that are written.' }),
      })
      .prefault({})
      .meta({ description: 'Logging.' }),
  })
  .meta({ title: 'Sidekey configuration' });

/** Validated values, with paths as written. */
export type ConfigValues = z.output<typeof configSchema>;
