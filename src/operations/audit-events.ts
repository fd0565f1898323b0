import { csvHead, csvLine, queryAudit, queryRaw, tailAudit } from '../audit/query.ts';
import type { Config } from '../config/config.ts';
import type { AuditLine } from '../domain/event.ts';
import type { Grant } from '../domain/grant.ts';
import type { Store } from '../store/store.ts';
import { type AuditConditions, filterOf } from './audit-conditions.ts';

/** Streams of events of the audit log, oldest first. */

/** Called with the share of the log that was read, from 0 to 1. */
type OnShare = (share: number) => void;

/**
 * Prepares a query for the events that meet all conditions. Reads nothing yet.
 *
 * @param parts.last maximum number of events; only the last ones are read
 * @throws SidekeyError as `filterOf`
 */
export function eventQuery(
  { audit: { file } }: Pick<Config, 'audit'>,
  conditions: AuditConditions,
  parts: { readonly grants: readonly Grant[]; readonly at: number; readonly last?: number | undefined },
) {
  const query = { file, filter: filterOf(conditions, parts.grants, parts.at), last: parts.last };
  return {
    /** Yields the events. @throws SidekeyError `audit_broken` */
    events: (onProgress?: OnShare) => queryAudit({ ...query, onProgress }),
    /** Yields the lines as CSV, or byte for byte, so that hashes can be verified. Throws as `events`. */
    pieces: (format: 'csv' | 'raw', onProgress?: OnShare) =>
      piecesOf(queryRaw({ ...query, onProgress }), format),
  };
}

/** Returns the grants with that name or ID; if there are none, up to 1,000 for the error of `filterOf`. */
export async function grantsOf(
  store: Pick<Store, 'grants'> | null,
  { grant: reference }: Pick<AuditConditions, 'grant'>,
): Promise<readonly Grant[]> {
  if (store === null || reference === undefined) return [];
  const found = [
    ...(await store.grants.some([reference])),
    ...(await store.grants.find({ name: reference })),
  ];
  return found.length > 0 ? found : store.grants.find({ limit: 1_000 });
}

/** Size in bytes from which a piece is yielded. */
const pieceSize = 65_536;

/** Yields pieces of an export, each with the number of its lines. */
async function* piecesOf(matches: ReturnType<typeof queryRaw>, format: 'csv' | 'raw') {
  let parts: Buffer[] = format === 'csv' ? [Buffer.from(csvHead)] : [];
  let [size, lines] = [0, 0];
  for await (const { line, bytes } of matches) {
    parts.push(format === 'csv' ? Buffer.from(csvLine(line)) : Buffer.concat([bytes, Buffer.from('\n')]));
    size += parts.at(-1)!.length;
    lines += 1;
    if (size < pieceSize) continue;
    yield { bytes: Buffer.concat(parts), lines };
    [parts, size, lines] = [[], 0, 0];
  }
  yield { bytes: Buffer.concat(parts), lines };
}

/** Yields the last events, and with a signal also new ones until it aborts. `brief`: see `tailAudit`. */
export function tailEvents(
  { audit: { file } }: Pick<Config, 'audit'>,
  options: Pick<Parameters<typeof tailAudit>[0], 'lines' | 'brief' | 'signal'>,
): AsyncGenerator<AuditLine> {
  return tailAudit({ ...options, file, follow: options.signal !== undefined });
}
