import { describe, expect, test } from 'vitest';
import type { SourceCredential } from '../../../src/domain/credential.ts';
import type { Provider } from '../../../src/domain/provider.ts';
import { fitted } from '../../../src/grants/source-values.ts';
import type { SourceQuestion, SourceValue } from '../../../src/grants/sources/source.ts';
import type { ReadyToken } from '../../../src/grants/token-result.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { aProvider } from '../../support/provider.ts';
import { hour, processesForTest, start } from './processes.ts';
import { settle } from '../lib/manual-time.ts';

const minute = 60_000;
const source: SourceCredential = { type: 'source', from: 'gh', form: null, ttlMs: null };

type Answer = (count: number, question: SourceQuestion) => Promise<SourceValue> | SourceValue;

/** The value number `count`, which ends after `ms`. */
const value = (count: number, expiresAt: number | null = null): SourceValue => ({
  credential: { type: 'api_key', value: `value-${count}` },
  expiresAt,
});

/** A process whose grant has a source that answers so. */
async function asking(answer: Answer, fields: Partial<SourceCredential> = {}) {
  const at = await processesForTest();
  const questions: SourceQuestion[] = [];
  const {
    registry,
    source: tokens,
    events,
    store,
  } = await at.process({
    sources: {
      ask: async (question) => {
        questions.push(question);
        return answer(questions.length, question);
      },
    },
  });
  const grant = await at.add(registry, { ...source, ...fields });
  const tokenFor = async () => textOf(await tokens.tokenFor(grant.id));
  return { ...at, registry, store, tokens, events, questions, grant, tokenFor };
}

function textOf(result: object): unknown {
  if (!('sealed' in result)) return result;
  const { sealed } = result as ReadyToken;
  return sealed.credential.type === 'api_key' ? sealed.credential.value : sealed.credential;
}

const failing = () =>
  Promise.reject<SourceValue>(
    new SidekeyError('source_failed', 'gh ended with exit code 4.', { hint: 'gh auth login' }),
  );

describe('a source', () => {
  test('is queried at the first request, and never before', async () => {
    const { questions, tokens, grant, time, tokenFor } = await asking((count) => value(count));
    await time.advance(hour);
    expect(tokens.peek(grant.id)).toBeNull();
    await tokens.refreshAhead(grant.id);
    expect(questions).toEqual([]);
    expect(await tokenFor()).toBe('value-1');
    expect(textOf(tokens.peek(grant.id)!)).toBe('value-1');
    expect(questions).toMatchObject([{ credential: source, isRefused: false, audience: grantAudience }]);
  });

  test('is queried once for any number of waiting requests', async () => {
    const gate = Promise.withResolvers<SourceValue>();
    const { questions, tokenFor } = await asking(() => gate.promise);
    const waiting = Array.from({ length: 50 }, () => tokenFor());
    await settle();
    gate.resolve(value(1));
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['value-1']));
    expect(questions).toHaveLength(1);
  });

  test('stores nothing of its value in the database', async () => {
    const { store, grant, registry, tokenFor } = await asking((count) => value(count, start + hour));
    const before = await store.grants.get(grant.id);
    await tokenFor();
    expect(await store.grants.get(grant.id)).toEqual(before);
    expect((await registry.read(grant.id))?.sealed.credential).toEqual(source);
  });

  test('is named in the audit event, which does not contain its value', async () => {
    const { events, tokenFor, grant } = await asking((count) => value(count));
    await tokenFor();
    expect(events).toEqual([
      {
        event: 'grant.refreshed',
        outcome: 'ok',
        reason: 'from the source gh',
        duration_ms: 0,
        grant: grant.id,
        user: 'default',
        provider: 'acme',
      },
    ]);
  });
});

const grantAudience = ['helpdesk.acme.test'];

describe('a value', () => {
  test('without an expiry is forgotten after five minutes', async () => {
    const { tokens, grant, time, tokenFor, questions } = await asking((count) => value(count));
    await tokenFor();
    await time.advance(5 * minute - 1);
    expect(await tokenFor()).toBe('value-1');
    await time.advance(1);
    expect(tokens.peek(grant.id)).toBeNull();
    expect(questions).toHaveLength(1);
    expect(await tokenFor()).toBe('value-2');
  });

  test('with an expiry is fetched again shortly before it expires, while requests get the previous value', async () => {
    const gate = Promise.withResolvers<SourceValue>();
    const { time, tokenFor, questions } = await asking((count) =>
      count === 1 ? value(1, start + hour) : gate.promise,
    );
    await tokenFor();
    await time.advance(hour - 5 * minute - 1);
    expect(await tokenFor()).toBe('value-1');
    expect(questions).toHaveLength(1);
    await time.advance(1);
    expect(await tokenFor()).toBe('value-1');
    expect(await tokenFor()).toBe('value-1');
    expect(questions).toHaveLength(2);
    gate.resolve(value(2, start + 2 * hour));
    await settle();
    expect(await tokenFor()).toBe('value-2');
  });

  test('that has expired is not used, even if the source fails', async () => {
    const { time, tokenFor } = await asking((count) => (count === 1 ? value(1, start + hour) : failing()));
    await tokenFor();
    await time.advance(hour - 1);
    expect(await tokenFor()).toBe('value-1');
    await time.advance(1);
    expect(await tokenFor()).toMatchObject({ kind: 'refused', code: 'source_failed' });
  });

  test('that had already expired on arrival is refused', async () => {
    const { tokenFor } = await asking(() => value(1, start));
    expect(await tokenFor()).toMatchObject({
      code: 'source_failed',
      message: expect.stringMatching(/has ended/),
    });
  });

  test.each([
    ['without an end', null],
    ['with a later end', start + hour],
  ])('%s is cached for the time of --source-ttl', async (_, end) => {
    const { time, tokenFor } = await asking((count) => value(count, end), { ttlMs: minute });
    await tokenFor();
    await time.advance(minute - 1);
    expect(await tokenFor()).toBe('value-1');
    await time.advance(minute);
    expect(await tokenFor()).toBe('value-2');
  });

  test('is dropped when the clock is set back', async () => {
    const { time, tokenFor } = await asking((count) => value(count));
    await tokenFor();
    time.set(start - hour);
    expect(await tokenFor()).toBe('value-2');
  });

  test('is dropped when its location has changed', async () => {
    let current = 1;
    const { tokenFor, questions } = await asking((count) => ({
      ...value(count),
      isCurrent: () => current === count,
    }));
    await tokenFor();
    await tokenFor();
    expect(questions).toHaveLength(1);
    current = 2;
    expect(await tokenFor()).toBe('value-2');
  });

  test('is forgotten when the process closes', async () => {
    const { tokens, time, tokenFor } = await asking((count) => value(count, start + hour));
    await tokenFor();
    const waiting = time.waiting();
    await tokens.close();
    expect(time.waiting()).toBe(waiting - 1);
    expect(await tokenFor()).toMatchObject({ code: 'refresh_failed' });
  });

  test('of another source is not used after the source was changed', async () => {
    const { registry, grant, tokenFor } = await asking((count) => value(count));
    await tokenFor();
    const opened = (await registry.read(grant.id))!;
    const credential = { ...source, from: 'pass:work' };
    await registry.replaceCredential(opened.grant, { ...opened.sealed, credential });
    expect(await tokenFor()).toBe('value-2');
  });

  test('that arrives after the grant was revoked is not used', async () => {
    const gate = Promise.withResolvers<SourceValue>();
    const { registry, grant, tokenFor } = await asking(() => gate.promise);
    const waiting = tokenFor();
    await settle();
    await registry.setState((await registry.read(grant.id))!.grant, 'revoked', null);
    gate.resolve(value(1));
    expect(await waiting).toMatchObject({ kind: 'refused', code: 'grant_revoked' });
    expect((await registry.read(grant.id))?.sealed.credential).toEqual({ ...source, from: '' });
  });
});

describe('a source that fails', () => {
  test('is reported with the reason and a hint, and is not queried again by each request', async () => {
    const { tokenFor, questions, time, events, grant } = await asking((count) =>
      count < 3 ? failing() : value(count),
    );
    const refused = {
      kind: 'refused',
      code: 'source_failed',
      message: 'The source of the grant "acme" failed: gh ended with exit code 4.',
      hint: 'gh auth login',
      retryAfterMs: 250,
    };
    expect(await tokenFor()).toMatchObject(refused);
    expect(await tokenFor()).toMatchObject(refused);
    expect(questions).toHaveLength(1);
    await time.advance(250);
    expect(await tokenFor()).toMatchObject({ ...refused, retryAfterMs: 500 });
    await time.advance(500);
    expect(await tokenFor()).toBe('value-3');
    expect(events[0]).toMatchObject({
      event: 'grant.refresh_failed',
      outcome: 'failed',
      code: 'source_failed',
      reason: 'gh ended with exit code 4.',
      grant: grant.id,
    });
  });

  test('is not queried again before the time that it asks for', async () => {
    const error = new SidekeyError('source_failed', 'The service is busy.', { retryAfterMs: 10 * minute });
    const { questions, tokenFor, time } = await asking(() => Promise.reject(error));
    await tokenFor();
    await time.advance(9 * minute);
    expect(await tokenFor()).toMatchObject({ code: 'source_failed', retryAfterMs: minute });
    expect(questions).toHaveLength(1);
    await time.advance(minute);
    await tokenFor();
    expect(questions).toHaveLength(2);
  });

  test('does not reveal the text of an internal error', async () => {
    const { tokenFor } = await asking(() => Promise.reject(new Error('with the secret')));
    const result = await tokenFor();
    expect(result).toMatchObject({ code: 'source_failed' });
    expect(JSON.stringify(result)).not.toContain('with the secret');
  });

  test('to answer in time has its request refused, and its late answer serves the next request', async () => {
    const gate = Promise.withResolvers<SourceValue>();
    const { time, tokenFor, questions } = await asking(() => gate.promise);
    const waiting = tokenFor();
    await time.advance(20_000);
    expect(await waiting).toMatchObject({
      code: 'source_failed',
      message: expect.stringMatching(/has not answered yet/),
    });
    gate.resolve(value(1));
    await settle();
    expect(await tokenFor()).toBe('value-1');
    expect(questions).toHaveLength(1);
  });
});

describe('a value that an upstream refuses', () => {
  test('is fetched once more', async () => {
    const { tokens, grant, questions } = await asking((count) => value(count));
    const first = (await tokens.tokenFor(grant.id)) as ReadyToken;
    expect(textOf(await tokens.forceRefresh(first))).toBe('value-2');
    expect(questions.map(({ isRefused }) => isRefused)).toEqual([false, true]);
    // Another request got the same 401: it takes the new one.
    expect(textOf(await tokens.forceRefresh(first))).toBe('value-2');
    expect(questions).toHaveLength(2);
  });

  test('is kept when the source returns the same value, and the source is not queried again within 10 s', async () => {
    const { tokens, grant, questions, time } = await asking(() => value(1));
    const first = (await tokens.tokenFor(grant.id)) as ReadyToken;
    expect(await tokens.forceRefresh(first)).toEqual({ kind: 'unchanged' });
    expect(await tokens.forceRefresh(first)).toEqual({ kind: 'unchanged' });
    expect(questions).toHaveLength(2);
    await time.advance(10_000);
    await tokens.forceRefresh(first);
    expect(questions).toHaveLength(3);
  });

  test('is kept when the source fails', async () => {
    const { tokens, grant } = await asking((count) => (count === 1 ? value(1) : failing()));
    const first = (await tokens.tokenFor(grant.id)) as ReadyToken;
    expect(await tokens.forceRefresh(first)).toEqual({ kind: 'unchanged' });
  });
});

test('a user name and a password are reduced to the password if the provider uses single-value keys', () => {
  const part = { name: 'key', label: 'key', secret: true, prefixes: [] };
  const keyed = (parts: readonly (typeof part)[]): Provider =>
    aProvider({ token: { label: 'key', url: null, steps: [], parts, inject: { kind: 'inject' } } });
  const pair = { type: 'basic', username: 'alice', password: 'the-key' } as const;
  expect(fitted(pair, keyed([part]))).toEqual({ type: 'api_key', value: 'the-key' });
  expect(fitted(pair, keyed([part, part]))).toEqual(pair);
  expect(fitted(pair, aProvider({ token: null }))).toEqual(pair);
});
