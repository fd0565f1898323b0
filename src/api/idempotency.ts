import { hash } from 'node:crypto';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import type { Caller } from './caller.ts';
import type { ServiceParts } from './parts.ts';

/** Milliseconds for which the response to a key is stored. */
const keptMs = 86_400_000;
/** Milliseconds after which a request without a response counts as over: its process ended. */
const underWayMs = 3_600_000;

interface KeyedRequest {
  /** `Idempotency-Key`. */
  readonly key: string;
  readonly caller: Pick<Caller, 'id'>;
  /** Path and query. */
  readonly target: string;
  readonly bytes: Uint8Array;
}

/** A stored response. It is sealed, because it may hold a new token. */
interface Kept {
  readonly request: string;
  /** The stored answer; null: the first request has not ended, or its process ended before it. */
  readonly answer: { readonly status: number; readonly type: string; readonly body: string } | null;
}

interface Idempotency {
  /**
   * Does the work of a request once, and repeats its response for 24 hours. Errors are not kept.
   *
   * @throws SidekeyError `idempotency_conflict`, `input_invalid`
   */
  once(request: KeyedRequest, work: () => Promise<Response>): Promise<Response>;
}

/** Binds a seal to its record. */
function contextOf(id: string): string {
  return `idempotency/${id}`;
}

/** Creates the guard of `Idempotency-Key`. All processes share its records in the store. */
export function createIdempotency({
  store: { sessions },
  vault,
  now,
}: Pick<ServiceParts, 'store' | 'vault' | 'now'>): Idempotency {
  const recordOf = (id: string, kept: Kept) => ({
    id,
    expiresAt: now() + (kept.answer === null ? underWayMs : keptMs),
    sealed: vault.seal(contextOf(id), Buffer.from(JSON.stringify(kept))),
  });

  return {
    async once({ key, caller, target, bytes }, work) {
      if (!/^[\x21-\x7e]{1,255}$/.test(key)) {
        throw inputInvalid('The Idempotency-Key is not 1 to 255 printable characters.', 'use a random UUID');
      }
      await sessions.removeEnded(now());
      await vault.refresh();
      const id = hash('sha256', JSON.stringify(['idempotency', caller.id, target, key]));
      const request = hash('sha256', bytes);
      const before = await sessions.get(id);
      if (before !== null) {
        await vault.refresh();
        return repeated(
          JSON.parse(Buffer.from(vault.open(contextOf(id), before.sealed)).toString('utf8')),
          request,
        );
      }
      try {
        await sessions.insert(recordOf(id, { request, answer: null }));
      } catch (error) {
        if (error instanceof SidekeyError && error.code === 'already_exists') throw underWay();
        throw error;
      }
      let response: Response;
      try {
        response = await work();
      } catch (error) {
        await sessions.take(id);
        throw error;
      }
      const body = await response.clone().text();
      const type = response.headers.get('content-type') ?? '';
      await vault.refresh();
      await sessions.put(recordOf(id, { request, answer: { status: response.status, type, body } }));
      return response;
    },
  };
}

function underWay(): SidekeyError {
  return new SidekeyError('idempotency_conflict', 'A request with this Idempotency-Key is still under way.', {
    hint: 'send it again in a moment',
  });
}

function repeated({ request, answer }: Kept, wanted: string): Response {
  if (request !== wanted) throw new SidekeyError('idempotency_conflict');
  if (answer === null) throw underWay();
  const headers = { 'content-type': answer.type, 'idempotency-replayed': 'true' };
  return new Response(answer.body === '' ? null : answer.body, { status: answer.status, headers });
}
