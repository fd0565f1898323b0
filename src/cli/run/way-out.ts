import type { AuditLine } from '../../audit/event.ts';
import type { Config } from '../../config/config.ts';
import { SidekeyError } from '../../errors.ts';
import { shellWord } from '../../shell-word.ts';
import { openView, type View } from '../../view.ts';
import { readQuestion } from '../explain/question.ts';
import { walk } from '../explain/walk.ts';
import type { Refused } from './account.ts';

/** A refusal, and what would allow what was refused. */
export interface RefusalWithHint {
  readonly host: string;
  readonly port: number | null;
  readonly code: string;
  readonly count: number;
  readonly hint: string | null;
}

/** What the way out is looked for with. */
export interface WayOutFacts {
  /** That of the proxy which refused. */
  readonly config: Config;
  readonly lease: string;
}

/**
 * The audit file says what was refused, and not what would allow it. That is found as `sidekey explain` finds it: the
 * request goes its way once more, without being one, at the time at which it was made.
 */
export async function withHints(
  refusals: readonly Refused[],
  { config, lease }: WayOutFacts,
): Promise<readonly RefusalWithHint[]> {
  if (refusals.length === 0) return [];
  const view = asItWas(await openView(config, { now: Date.now }), lease);
  try {
    const found: RefusalWithHint[] = [];
    for (const { line, count } of refusals) {
      const { host = '', port = null, code = 'internal' } = line;
      found.push({ host, port, code, count, hint: await hintFor(line, view, lease) });
    }
    return found;
  } finally {
    await view.close();
  }
}

/** The lease has been revoked since: that is no reason why anything was refused before. */
function asItWas(view: View, lease: string): View {
  const { store } = view;
  if (store === null) return view;
  const read: typeof store.rights.read = async (since) => {
    const rights = await store.rights.read(since);
    const leases = rights.leases.map((each) => (each.id === lease ? { ...each, revokedAt: null } : each));
    return { ...rights, leases };
  };
  return { ...view, store: { ...store, rights: { ...store.rights, read } } };
}

async function hintFor(line: AuditLine, view: View, lease: string): Promise<string | null> {
  const { host, port, scheme = 'https', path = '/', code, time } = line;
  if (host === undefined || line.lease === undefined) return null;
  // What a CONNECT was for is not known: of a tunnel, any request.
  const method = line.method === undefined || line.method === 'CONNECT' ? 'GET' : line.method;
  const url = `${scheme}://${host}:${port}${path}`;
  const asked = `sidekey explain ${method} ${shellWord(url)}${line.agent === undefined ? '' : ` --agent ${line.agent}`}`;
  try {
    const now = () => Date.parse(time);
    const question = await readQuestion({ readInput: async () => '', now }, [method, url], { lease });
    const { refusal } = await walk(view, question);
    // What hangs on the body or on its fields is not known here.
    return refusal?.code === code ? (refusal?.hint ?? null) : asked;
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    return asked;
  }
}
