import { errorFacts, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { within } from '../lib/timers.ts';
import { createRefreshNotes } from './activity.ts';
import {
  type HeldCredential,
  secretText,
  type SourceCredential,
  type OpenedGrant,
} from '../domain/credential.ts';
import type { Grant } from '../domain/grant.ts';
import type { Provider } from '../domain/provider.ts';
import { createRefreshBackoff } from './refresh-backoff.ts';
import type { RefreshParts } from './refresh.ts';
import type { Sources } from './sources/ask.ts';
import { describeSource, type SourceValue } from './sources/source.ts';
import { type ReadyToken, type RefusedToken, sourceFailed, type UnchangedToken } from './token-result.ts';

export interface SourceValuesParts extends Pick<
  RefreshParts,
  'providers' | 'now' | 'skewMs' | 'audit' | 'activity' | 'timers'
> {
  readonly sources: Pick<Sources, 'ask'>;
  /** 0 to 1, for the jitter of the back-off. */
  readonly random: () => number;
  readonly limits: Pick<RefreshParts['limits'], 'refresh_wait'>;
}

/** Milliseconds to cache a value without an expiry. */
const defaultTtlMs = 300_000;
/** Milliseconds between two reads for an upstream that refuses every value. */
const forcedEveryMs = 10_000;
/** Maximum delay of a timer. */
const maxTimerMs = 2_147_483_647;

interface Held {
  readonly token: ReadyToken;
  readonly askedAt: number;
  /** Time from which the source is read again. */
  readonly dueAt: number;
  readonly endsAt: number;
  readonly isCurrent: (() => boolean) | undefined;
  readonly cancel: () => void;
}

/** Keeps values of sources in the memory of this process only. Constructing it has no side effects. */
export function createSourceValues(parts: SourceValuesParts) {
  const { sources, providers, now, skewMs, timers } = parts;
  const notes = createRefreshNotes(parts);
  const backoff = createRefreshBackoff(now, parts.random);
  const held = new Map<string, Held>();
  const underWay = new Map<string, Promise<Held | SidekeyError>>();
  const failures = new Map<string, SidekeyError>();
  const forcedAt = new Map<string, number>();
  const stopping = new AbortController();

  function drop(id: string): void {
    held.get(id)?.cancel();
    held.delete(id);
  }

  /** Returns the value of this revision if it has not expired. A clock that was set back expires it. */
  function valid({ grant }: OpenedGrant): Held | null {
    const value = held.get(grant.id);
    if (value === undefined) return null;
    const isValid =
      value.token.grant.revision === grant.revision &&
      now() < value.endsAt &&
      now() >= value.askedAt &&
      value.isCurrent?.() !== false;
    if (!isValid) drop(grant.id);
    return isValid ? value : null;
  }

  async function ask(opened: OpenedGrant, isRefused: boolean): Promise<Held | SidekeyError> {
    const { grant, sealed } = opened;
    const credential = sourceOf(opened);
    const { id, revision } = grant;
    const begun = now();
    try {
      const { audience } = sealed;
      const value = await sources.ask({
        grant: id,
        revision,
        credential,
        audience,
        isRefused,
        signal: stopping.signal,
      });
      const current = keep(opened, value, credential);
      backoff.succeeded(placeOf(id));
      failures.delete(id);
      void notes.refreshed(grant, begun, { purpose: `from the source ${describeSource(credential)}` });
      return current;
    } catch (error) {
      const failure = error instanceof SidekeyError ? error : unexpected(error);
      backoff.failed(placeOf(id), failure.message, failure.retryAfterMs ?? null);
      failures.set(id, failure);
      void notes.failed(grant, begun, failure.message, 'source_failed');
      return failure;
    }
  }

  function keep({ grant, sealed }: OpenedGrant, value: SourceValue, { ttlMs }: SourceCredential): Held {
    const askedAt = now();
    const { expiresAt, isCurrent } = value;
    if (expiresAt !== null && expiresAt <= askedAt)
      throw new SidekeyError('source_failed', 'The source gave a credential that has ended.', {
        hint: hintOf`renew it where it is kept, or name another source: ${remedy('grant.source', { grant: grant.name, source: null })}`,
      });
    const keptUntil = askedAt + (ttlMs ?? (expiresAt === null ? defaultTtlMs : Infinity));
    const endsAt = Math.min(expiresAt ?? Infinity, keptUntil);
    const margin = endsAt === expiresAt ? Math.min(skewMs, (endsAt - askedAt) / 5) : 0;
    const credential = fitted(value.credential, providers(grant.provider));
    drop(grant.id);
    const isStopping = stopping.signal.aborted;
    const newValue: Held = {
      token: { kind: 'ready', grant, sealed: { ...sealed, credential } },
      askedAt,
      dueAt: endsAt - margin,
      endsAt,
      isCurrent,
      // At its expiry, the value is also erased from memory.
      cancel: isStopping
        ? () => {}
        : timers.after(Math.min(endsAt - askedAt, maxTimerMs), () => drop(grant.id)),
    };
    if (!isStopping) held.set(grant.id, newValue);
    return newValue;
  }

  /** Joins the read in progress, or starts one. It serves all concurrent callers. */
  function join(opened: OpenedGrant, isRefused: boolean): Promise<Held | SidekeyError> {
    const key = keyOf(opened.grant);
    let asking = underWay.get(key);
    if (asking === undefined) {
      asking = ask(opened, isRefused).finally(() => underWay.delete(key));
      underWay.set(key, asking);
    }
    return asking;
  }

  /** Returns the cached value; null: the source must be read. For the request path. */
  function peek(opened: OpenedGrant): ReadyToken | null {
    const value = valid(opened);
    return value !== null && now() < value.dueAt ? value.token : null;
  }

  return {
    peek,
    /**
     * Reads the source of a grant, once for all waiting callers. `unwanted`: a value that an upstream
     * refused. Rejects with the signal's reason.
     */
    async obtain(
      opened: OpenedGrant,
      unwanted: string | null,
      signal?: AbortSignal,
    ): Promise<ReadyToken | RefusedToken | UnchangedToken> {
      const { grant } = opened;
      const { id } = grant;
      const isWanted = ({ token }: Held) => secretText(token.sealed.credential) !== unwanted;
      const waitMs = underWay.has(keyOf(grant)) ? 0 : backoff.wait(placeOf(id), 'request');
      const current = valid(opened);
      if (current !== null && isWanted(current)) {
        if (unwanted === null && now() >= current.dueAt && waitMs === 0) void join(opened, false);
        return current.token;
      }
      const lastForced = forcedAt.get(id) ?? -Infinity;
      if (unwanted !== null) {
        if (now() >= lastForced && now() - lastForced < forcedEveryMs) return { kind: 'unchanged' };
        forcedAt.set(id, now());
      }
      const answer =
        waitMs > 0
          ? failures.get(id)
          : await within(timers, join(opened, unwanted !== null), parts.limits.refresh_wait, signal);
      if (typeof answer === 'object' && 'token' in answer && isWanted(answer)) return answer.token;
      if (unwanted !== null) return { kind: 'unchanged' };
      const failure = answer instanceof SidekeyError ? answer : late(sourceOf(opened));
      return sourceFailed(grant, failure, backoff.wait(placeOf(id), 'request'));
    },
    /** Forgets all values. */
    close(): void {
      stopping.abort();
      for (const id of held.keys()) drop(id);
    },
  };
}

/** Returns the key of a read. A changed grant is read separately. */
function keyOf({ id, revision }: Pick<Grant, 'id' | 'revision'>): string {
  return `${id}/${revision}`;
}

function placeOf(grantId: string): { readonly grantId: string; readonly endpoint: string } {
  return { grantId, endpoint: `source/${grantId}` };
}

function sourceOf({ sealed: { credential } }: OpenedGrant): SourceCredential {
  if (credential.type === 'source') return credential;
  throw new SidekeyError('internal', 'The grant has no source.');
}

function late(source: SourceCredential): SidekeyError {
  return new SidekeyError('source_failed', `The source ${describeSource(source)} has not answered yet.`, {
    hint: 'answer its question, where it asks one, and try again',
  });
}

function unexpected(error: unknown): SidekeyError {
  return new SidekeyError('source_failed', `The source could not be asked (${errorFacts(error).code}).`, {
    cause: error,
  });
}

/**
 * Returns the credential in the provider's form. If that is one value, only the password of a pair is used.
 */
export function fitted(credential: HeldCredential, provider: Provider | undefined): HeldCredential {
  const token = provider?.token ?? null;
  const isSingle = token !== null && token.parts.length === 1 && token.inject.kind === 'inject';
  return credential.type === 'basic' && isSingle
    ? { type: 'api_key', value: credential.password }
    : credential;
}
