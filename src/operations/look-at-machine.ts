import { stat } from 'node:fs/promises';
import { tailAudit } from '../audit/query.ts';
import { authorityFiles } from '../ca/authority-files.ts';
import type { Config } from '../config/config.ts';
import { displayName } from '../config/problem.ts';
import type { AuditLine } from '../domain/event.ts';
import { errorPhrase, isSystemError, SidekeyError, systemCode } from '../lib/errors.ts';
import type { Hint } from '../lib/hint.ts';
import { failures } from '../lib/failures.ts';
import { isPrivateFile, isWritableByAll } from '../lib/os.ts';
import { shellWord } from '../lib/text.ts';
import { type Authority, authorityText } from '../proxy/policy/authority.ts';
import { type Finding, finding, type Need } from './finding.ts';
import { counted } from './format.ts';
import { offeredBy, type Offers } from './lookup.ts';
import type { Call } from './operation.ts';

/** Checks of the clock, of the permissions of files, and of the way to the upstream servers. */

/** Tolerated clock error: expiry is checked to the second, but a smaller error has no effect. */
const toleratedMs = 60_000;

/** Compares the clock, which all expiries depend on, with the last audit line and with upstream servers. */
export async function lookAtClock(
  { audit: { file } }: Config,
  answers: readonly Answered[],
  now: number,
): Promise<Finding> {
  let last: AuditLine | null = null;
  for await (const line of tailAudit({ file, lines: 1 })) last = line;
  const recorded = last === null ? null : Date.parse(last.time);
  const offsets = answers.flatMap(({ clock }) => (clock === null ? [] : [clock.there - clock.here]));
  // The median, so that one upstream with a wrong clock has no effect.
  const offset = offsets.toSorted((a, b) => a - b)[Math.floor(offsets.length / 2)] ?? null;
  const facts = { offset_ms: offset, last_record: last?.time ?? null };
  const hint = 'set the clock of this machine, or let it be set over the network (timedatectl set-ntp true)';
  if (offset !== null && Math.abs(offset) > toleratedMs) {
    const way = offset > 0 ? 'behind' : 'ahead of';
    const sentence = `The clock is ${Math.round(Math.abs(offset) / 1_000)} s ${way} that of the upstreams.`;
    return finding('clock', `${way} the upstreams`, facts, [{ sentence, hint }]);
  }
  if (recorded !== null && recorded - now > toleratedMs) {
    const sentence = `The clock is ${Math.round((recorded - now) / 1_000)} s behind the last line of the audit log.`;
    return finding('clock', 'behind the audit log', facts, [{ sentence, hint }]);
  }
  return finding(
    'clock',
    offset === null ? 'no problem found' : `within ${Math.ceil(Math.abs(offset) / 1_000)} s of the upstreams`,
    facts,
  );
}

/** A file that other users must not read, or not write. */
interface Guarded {
  readonly path: string;
  readonly holds: string;
  readonly isSecret: boolean;
}

/** Checks the permissions of files with secrets and of files that control access. */
export async function lookAtPermissions(config: Config): Promise<Finding> {
  const looked = await Promise.all(guarded(config).map(lookAt));
  const there = looked.filter(({ isThere }) => isThere).length;
  const text = `${counted(there, 'file')} checked`;
  return finding(
    'permissions',
    text,
    { files: there },
    looked.flatMap(({ need }) => need ?? []),
  );
}

function guarded({ store, key, ca, audit }: Config): readonly Guarded[] {
  return [
    ...(store.kind === 'sqlite'
      ? [store.path, `${store.path}-wal`].map((path) => ({ path, holds: 'the store', isSecret: true }))
      : []),
    ...(key.source === 'node' ? [{ path: key.path, holds: 'the key of this node', isSecret: true }] : []),
    ...(key.source === 'file' ? [{ path: key.path, holds: 'the master key', isSecret: true }] : []),
    { path: authorityFiles(ca.directory).key, holds: 'the key of the CA', isSecret: true },
    { path: ca.directory, holds: 'the CA', isSecret: false },
    { path: audit.file, holds: 'the audit log', isSecret: true },
  ];
}

const wrong = (sentence: string, hint: Hint) => ({ isThere: true, need: { sentence, hint } });

async function lookAt({
  path,
  holds,
  isSecret,
}: Guarded): Promise<{ readonly isThere: boolean; readonly need: Need | null }> {
  const name = displayName(path);
  try {
    const stats = await stat(path);
    const self = process.getuid?.();
    if (self !== undefined && self !== 0 && stats.uid !== self && stats.uid !== 0) {
      const sentence = `${name}, which holds ${holds}, belongs to another user.`;
      return wrong(sentence, `chown "$USER" ${shellWord(name)}`);
    }
    const isOpen = isSecret ? !isPrivateFile(stats) : isWritableByAll(stats.mode);
    if (!isOpen) return { isThere: true, need: null };
    const least = isSecret ? (stats.isDirectory() ? '700' : '600') : 'o-w';
    const sentence = `Others may ${isSecret ? 'read' : 'write'} ${name}, which holds ${holds}.`;
    return wrong(sentence, `chmod ${least} ${shellWord(name)}`);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return { isThere: false, need: null };
    const sentence = `${name}, which holds ${holds}, cannot be looked at (${systemCode(error)}).`;
    return wrong(sentence, 'let this user into its folder');
  }
}

/** Response of an upstream server. */
interface Answered {
  readonly authority: string;
  readonly status: number | null;
  /** Time in its Date header, and local time then, in milliseconds since the epoch; null: it sent none. */
  readonly clock: { readonly there: number; readonly here: number } | null;
  readonly error: SidekeyError | null;
}

/** Maximum concurrent requests. */
const width = 8;

const timeoutMs = 5_000;

/**
 * Requests `/` of each host of the map without a wildcard. Sends no credential. Resolves, checks and verifies
 * as the proxy does. Skips hosts that require a client certificate.
 */
export async function askUpstreams(
  { domains }: Config,
  offers: Offers,
  { fetch, now }: Pick<Call, 'now'> & { readonly fetch: typeof globalThis.fetch },
): Promise<readonly Answered[]> {
  const hosts = domains
    .filter(({ pattern, action }) => !pattern.wildcard && action.kind !== 'deny')
    .filter((domain) => !offeredBy(domain, offers).some(({ type }) => type === 'client_certificate'))
    .map(({ pattern }): Authority => ({ scheme: 'https', host: pattern.host, port: pattern.port ?? 443 }));
  const answers: Answered[] = [];
  let next = 0;
  const worker = async () => {
    for (let at = next++; at < hosts.length; at = next++) answers[at] = await ask(hosts[at]!, fetch, now);
  };
  await Promise.all(Array.from({ length: width }, worker));
  return answers;
}

async function ask(
  authority: Authority,
  fetch: typeof globalThis.fetch,
  now: () => number,
): Promise<Answered> {
  const text = authorityText(authority);
  try {
    const response = await fetch(`https://${text}/`, {
      method: 'HEAD',
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
    });
    await response.body?.cancel();
    const there = Date.parse(response.headers.get('date') ?? '');
    const clock = Number.isNaN(there) ? null : { there, here: now() };
    return { authority: text, status: response.status, clock, error: null };
  } catch (error) {
    return { authority: text, status: null, clock: null, error: failureOf(error, text) };
  }
}

function failureOf(error: unknown, authority: string): SidekeyError {
  for (let each: unknown = error; each instanceof Error; each = each.cause) {
    if (each instanceof SidekeyError) return each;
    if (each.name === 'TimeoutError')
      return new SidekeyError(
        'upstream_timeout',
        `${authority} did not answer within ${timeoutMs / 1_000} s.`,
      );
  }
  return new SidekeyError('upstream_unreachable', `${authority} did not answer: ${errorPhrase(error)}.`);
}

/** Reports the hosts of the map that were resolved, reached and verified. */
export function upstreamsFound(answers: readonly Answered[]): Finding {
  const failed = answers.filter(({ error }) => error !== null);
  const count = `${answers.length - failed.length} of ${answers.length}`;
  return finding(
    'upstreams',
    answers.length === 0 ? 'no host of the map can be asked without a credential' : `${count} answer`,
    {
      hosts: Object.fromEntries(
        answers.map(({ authority, status, error }) => [authority, { status, error: error?.code ?? null }]),
      ),
    },
    failed.map(({ error }) => needOf(error!)),
  );
}

function needOf({ message, hint, code }: SidekeyError): Need {
  const isOwn = hint !== failures[code].hint || code === 'upstream_tls';
  const network =
    'check the network and the name; behind a company’s proxy, set upstream.proxy in the config file';
  return { sentence: message, hint: isOwn ? hint : network };
}
