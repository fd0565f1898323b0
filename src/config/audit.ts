import { z } from 'zod';
import { optional, prefault, text } from '../lib/text.ts';
import { canonicalHost } from '../proxy/policy/authority.ts';
import { marks } from './marks.ts';
import { duration, formatDuration, name, pathText, receiver, secretReference, size } from './scalar.ts';
import type { SecretReference } from './secret-reference.ts';

/** The `audit` part of the config file: its schema and its settings. */

/** A span of days, weeks or years, in milliseconds: longer than a timer can be. */
function span(description: string, least: number): z.ZodType<number, string> {
  const units = { h: 3_600_000, d: 86_400_000, w: 604_800_000, y: 31_536_000_000 } as const;
  const pattern = /^([1-9][0-9]{0,4})(h|d|w|y)$/;
  const meta = { description, examples: ['30d', '1y'], pattern: pattern.source, kind: 'a time, such as 30d' };
  return text<number>(meta, (value) => {
    const [, count, unit] = pattern.exec(value) ?? [];
    if (count === undefined) return { problem: 'is not a time such as 12h, 30d, 8w or 1y' };
    const milliseconds = Number(count) * units[unit as keyof typeof units];
    return milliseconds < least ? { problem: `is less than ${formatDuration(least)}` } : milliseconds;
  });
}

type SyslogAddress =
  | { readonly transport: 'udp' | 'tcp' | 'tls'; readonly host: string; readonly port: number }
  | { readonly transport: 'unix'; readonly path: string };

const syslogForm = 'udp://HOST:514, tcp://HOST:601, tls://HOST:6514 or unix:/PATH';

const syslogAddress = text<SyslogAddress>(
  {
    description: `Where syslog is: ${syslogForm}.`,
    examples: ['udp://logs.example.com:514', 'unix:/run/log/sidekey.sock'],
    kind: syslogForm,
  },
  (value) => {
    if (value.startsWith('unix:')) {
      const path = value.slice('unix:'.length);
      return path.startsWith('/') && !/\p{Cc}/u.test(path)
        ? { transport: 'unix', path }
        : { problem: 'must have an absolute path after unix:' };
    }
    const [, transport, hostText = '', port] =
      /^(udp|tcp|tls):\/\/(\[[^\]]+\]|[^:/]+):([0-9]{1,5})$/.exec(value) ?? [];
    const host = canonicalHost(hostText);
    if (transport === undefined || host === null || Number(port) < 1 || Number(port) > 65_535)
      return { problem: `must be ${syslogForm}` };
    return { transport: transport as 'udp' | 'tcp' | 'tls', host, port: Number(port) };
  },
).register(marks, { mark: 'machine' });

const sinkName = name('Name in status and of its state file. Default: its type.').optional();
const batch = prefault(z.int().min(1).max(10_000), 500, 'Lines that are sent together, at most.');

/** Header fields of requests to an OpenTelemetry collector. */
export const headerFields = z
  .record(z.string().regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/), secretReference('The value.'))
  .prefault({})
  .meta({ description: 'Header fields for the collector.' });

const sink = z
  .discriminatedUnion(
    'type',
    [
      z.strictObject({ type: z.literal('stdout'), name: sinkName }),
      z.strictObject({
        type: z.literal('syslog'),
        name: sinkName,
        address: syslogAddress,
        facility: prefault(z.int().min(0).max(23), 13, 'RFC 5424 facility; 13 is log audit, 16 local0.'),
        framing: z.enum(['octet-counting', 'newline']).prefault('octet-counting').meta({
          description: 'How messages are told apart on a connection (RFC 6587).',
        }),
      }),
      z.strictObject({
        type: z.literal('webhook'),
        name: sinkName,
        url: receiver('URL that receives the lines of the file by POST.'),
        secret: secretReference('The secret that signs each POST.').optional(),
        batch,
      }),
      z.strictObject({
        type: z.literal('otlp'),
        name: sinkName,
        url: receiver('The logs endpoint of an OpenTelemetry collector, such as https://HOST:4318/v1/logs.'),
        headers: headerFields,
        batch,
      }),
    ],
    {
      error: (issue) =>
        issue.code === 'invalid_union' ? 'must be stdout, syslog, webhook or otlp' : undefined,
    },
  )
  .meta({ description: 'Additional receivers of the lines.' });

const anchor = z
  .strictObject({
    every: duration('How often the head of the log is anchored.', 60_000).prefault('10m'),
    file: pathText('The file that anchors are appended to; best on another machine’s disk.').optional(),
    webhook: receiver('Where anchors are POSTed.').optional(),
    secret: secretReference('The secret that signs each POST.').optional(),
  })
  .refine(({ file, webhook }) => file !== undefined || webhook !== undefined, {
    message: 'needs a file or a webhook',
  })
  .meta({ description: 'Sends the head of the log to another place, for sidekey audit verify --anchor.' });

/** The keys of `audit`. */
export const auditSchema = z.strictObject({
  file: pathText('The audit file.').prefault('../data/audit.jsonl'),
  max_size: size('Size at which a new file is begun.', 4_096).prefault('100MiB'),
  max_age: span(
    'Age at which a new file is begun. Default: 1d where keep is set, else none.',
    3_600_000,
  ).optional(),
  keep: optional(
    z.union([z.literal('forever'), span('How long rotated files are kept.', 3_600_000)], {
      error: 'must be a time, such as 30d, or forever',
    }),
    'How long rotated files are kept, or forever. Where keep, keep_files and keep_size are all left out: 400d and 2GiB.',
  ),
  keep_files: optional(z.int().min(1), 'How many rotated files are kept.'),
  keep_size: size('How large the rotated files may be together, compressed.', 4_096).optional(),
  min_free_space: size('Free space on the disk of the log below which the log and status warn.').prefault(
    '512MiB',
  ),
  compress: z.boolean().prefault(true).meta({
    description: 'Whether rotated files are compressed. They can still be verified and queried.',
  }),
  fsync: z.enum(['always', 'interval']).prefault('interval').meta({
    description:
      'When a line is on the disk itself: always (before the request leaves) or interval (within a second; a power cut may lose that second).',
  }),
  anchor: anchor.optional(),
  sinks: z
    .array(sink)
    .prefault([])
    .superRefine((sinks, context) => {
      const names = sinks.map((each) => each.name ?? each.type);
      for (const [index, each] of names.entries()) {
        if (names.indexOf(each) === index) continue;
        const message = 'has the name of a sink before it; give it another with name';
        context.addIssue({ code: 'custom', path: [index], message });
      }
    })
    .meta({ description: 'Additional receivers of the lines. A slow or dead sink does not delay the file.' }),
});

export type SinkConfig = z.output<typeof sink> & { readonly name: string };

/** The audit settings. Paths are absolute, times milliseconds; null: no limit, none. */
export interface AuditConfig {
  readonly file: string;
  readonly maxBytes: number;
  readonly maxAgeMs: number | null;
  readonly keepMs: number | null;
  readonly keepFiles: number | null;
  readonly keepBytes: number | null;
  /** Number of free bytes below which a warning is logged. */
  readonly warnFreeBytes: number;
  readonly compress: boolean;
  readonly fsync: 'always' | 'interval';
  readonly anchor: AnchorConfig | null;
  readonly sinks: readonly SinkConfig[];
}

/** Destination of anchors of the log. */
export interface AnchorConfig {
  readonly everyMs: number;
  readonly file: string | null;
  readonly webhook: { readonly url: string; readonly secret: SecretReference | undefined } | null;
}

/** Default retention. */
const defaultKeepMs = 400 * 86_400_000;
const defaultKeepBytes = 2 * 1_024 ** 3;

/** @param absolute returns the absolute form of a path in the config file */
export function toAuditConfig(
  values: z.output<typeof auditSchema>,
  absolute: (path: string) => string,
): AuditConfig {
  const { anchor: anchored, keep_files: keepFiles = null, keep_size: keepBytes = null } = values;
  const keepsByDefault = values.keep === undefined && keepFiles === null && keepBytes === null;
  const keep = values.keep === 'forever' ? null : (values.keep ?? null);
  return {
    file: absolute(values.file),
    maxBytes: values.max_size,
    maxAgeMs: values.max_age ?? (keep === null ? null : Math.min(keep, 86_400_000)),
    keepMs: keepsByDefault ? defaultKeepMs : keep,
    keepFiles,
    keepBytes: keepsByDefault ? defaultKeepBytes : keepBytes,
    warnFreeBytes: values.min_free_space,
    compress: values.compress,
    fsync: values.fsync,
    anchor:
      anchored === undefined
        ? null
        : {
            everyMs: anchored.every,
            file: anchored.file === undefined ? null : absolute(anchored.file),
            webhook:
              anchored.webhook === undefined ? null : { url: anchored.webhook, secret: anchored.secret },
          },
    sinks: values.sinks.map((each) => ({ ...each, name: each.name ?? each.type })),
  };
}
