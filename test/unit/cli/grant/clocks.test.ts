import { describe, expect, it } from 'vitest';
import { dateTime, lastUse } from '../../../../src/operations/format.ts';
import { clockRows } from '../../../../src/cli/grant/format.ts';
import { clockAnswer, type Clocks, clocksOf, failureOf } from '../../../../src/operations/grant-clocks.ts';
import { plainDialect } from '../../../../src/config/provider-dialect.ts';
import { type Credential, endOf, type OAuth2Credential } from '../../../../src/domain/credential.ts';
import type { Grant } from '../../../../src/domain/grant.ts';
import type { Dialect } from '../../../../src/domain/provider.ts';
import { grantOf } from '../../../../src/store/grants.ts';
import type { GrantActivity } from '../../../../src/store/store.ts';
import { grantRecord } from '../../../support/grant-record.ts';

const now = Date.UTC(2027, 0, 15, 8);

const minute = 60_000;

const hour = 60 * minute;

const day = 24 * hour;

interface Case {
  readonly grant?: Partial<Grant>;
  readonly credential?: Partial<OAuth2Credential>;
  readonly other?: Credential;
  readonly activity?: Partial<GrantActivity>;
  readonly dialect?: Partial<Dialect>;
}

/** A grant created 10 days ago, with a token obtained 6 minutes ago and valid for an hour. */
function at({ grant, credential, other, activity, dialect }: Case = {}) {
  const oauth: OAuth2Credential = {
    type: 'oauth2',
    accessToken: 'access-secret',
    refreshToken: 'refresh-secret',
    obtainedAt: now - 6 * minute,
    expiresAt: now + 54 * minute,
    scope: null,
    clientId: null,
    clientSecret: null,
    tokenEndpoint: null,
    ...credential,
  };
  const held = other ?? oauth;
  const opened = {
    grant: grantOf(
      grantRecord({
        createdAt: now - 10 * day,
        updatedAt: now - 6 * minute,
        expiresAt: endOf(held),
        refreshable: held.type === 'oauth2' && held.refreshToken !== null,
        ...grant,
      }),
    ),
    sealed: { credential: held, audience: ['api.acme.test'] },
  };
  const clocks = clocksOf(opened, {
    activity: activity
      ? {
          grantId: opened.grant.id,
          usedAt: null,
          refreshedAt: null,
          failedAt: null,
          failure: null,
          lackedAt: null,
          lacked: [],
          ...activity,
        }
      : null,
    dialect: { ...plainDialect, ...dialect },
    tokens: { skewMs: 5 * minute, keepFreshMs: day },
    now,
  });
  return { clocks, rows: clockRows(opened.grant, clocks, now) };
}

const next = (it: Case = {}) => at(it).clocks.next;

const nextText = (it: Case = {}) => at(it).rows['next'];

describe('the next event of a grant', () => {
  it('is a scheduled refresh when the grant was used recently', () => {
    const used = { activity: { usedAt: now - hour } };
    expect(next(used)).toEqual({ what: 'refresh_ahead', at: now + 49 * minute });
    expect(nextText(used)).toBe('a running proxy refreshes the token in 49 min');
    const due = { ...used, credential: { expiresAt: now + minute } };
    expect(nextText(due)).toBe('a running proxy refreshes the token now');
  });

  it('is a refresh on use when it was not used recently', () => {
    expect(nextText()).toBe('requests in 49 min or later refresh the token');
    expect(nextText({ activity: { usedAt: now - 2 * day } })).toBe(
      'requests in 49 min or later refresh the token',
    );
    expect(nextText({ credential: { expiresAt: now - minute } })).toBe(
      'the next request refreshes the token',
    );
    expect(nextText({ credential: { accessToken: null, expiresAt: null } })).toBe(
      'the next request refreshes the token',
    );
    expect(nextText({ credential: { expiresAt: null } })).toBe(
      'the token is refreshed when an API refuses it',
    );
  });

  it('is a use of the refresh token if the refresh token expires without use', () => {
    const idle = { dialect: { refreshTokenIdleTimeoutMs: 30 * day } };
    expect(next(idle)).toEqual({ what: 'keep_alive', at: now - 6 * minute + 15 * day });
    expect(nextText(idle)).toBe('a running proxy refreshes it in 15 d, so that it does not expire');
  });

  it('is the expiry, if any, when nothing can renew the grant', () => {
    expect(nextText({ credential: { refreshToken: null } })).toBe(
      'the token ends in 54 min, and nothing can renew it',
    );
    expect(nextText({ other: { type: 'api_key', value: 'x' } })).toBe('nothing');
    expect(nextText({ credential: { refreshToken: null, expiresAt: now - 1 } })).toBe('nothing');
  });

  it('does not exist while the grant needs a person', () => {
    expect(next({ grant: { state: 'reauth_required' } })).toEqual({ what: 'consent', at: null });
    expect(nextText({ grant: { state: 'revoked' } })).toBe('nothing');
  });
});

describe('the clocks of a grant', () => {
  it('show the access token and the refresh token, with their history', () => {
    const { clocks, rows } = at({
      activity: {
        usedAt: now - 3 * minute,
        refreshedAt: now - 6 * minute,
        failedAt: now - minute,
        failure: 'Down.',
      },
      dialect: { refreshTokenIdleTimeoutMs: 30 * day, refreshTokenLifetimeMs: 90 * day },
    });
    expect(rows).toEqual({
      obtained: `6 min ago (${dateTime(Date.parse('2027-01-15T07:54:00Z'))})`,
      'due for refresh': `in 49 min (${dateTime(Date.parse('2027-01-15T08:49:00Z'))})`,
      'token expires': 'in 54 min',
      'refresh token': `dies in 30 d (${dateTime(Date.parse('2027-02-14T07:54:00Z'))}) unless it is used before; a new consent is needed in 80 d (${dateTime(Date.parse('2027-04-05T08:00:00Z'))})`,
      'last refresh': `6 min ago (${dateTime(Date.parse('2027-01-15T07:54:00Z'))})`,
      'last use': `3 min ago (${dateTime(Date.parse('2027-01-15T07:57:00Z'))})`,
      'last error': '60 s ago: Down',
      next: 'a running proxy refreshes the token in 49 min',
    });
    expect(clockAnswer(clocks)).toEqual({
      obtained_at: '2027-01-15T07:54:00.000Z',
      refresh_due_at: '2027-01-15T08:49:00.000Z',
      refresh_token_dies_at: '2027-02-14T07:54:00.000Z',
      consent_ends_at: '2027-04-05T08:00:00.000Z',
      used_at: '2027-01-15T07:57:00.000Z',
      refreshed_at: '2027-01-15T07:54:00.000Z',
      failed_at: '2027-01-15T07:59:00.000Z',
      failure: 'Down',
      next: { what: 'refresh_ahead', at: '2027-01-15T08:49:00.000Z' },
    });
  });

  it('show expired times', () => {
    const { rows } = at({
      credential: { obtainedAt: now - 40 * day, expiresAt: now - 40 * day + hour },
      grant: { createdAt: now - 100 * day },
      dialect: { refreshTokenIdleTimeoutMs: 30 * day, refreshTokenLifetimeMs: 90 * day },
    });
    expect(rows['refresh token']).toMatch(
      /^has probably died: it was not used before 10 d ago .*; a new consent was needed 10 d ago/,
    );
  });

  it('count from the last consent when it is known', () => {
    const life = { refreshTokenLifetimeMs: 90 * day };
    const ends = (it: Case): number | null => at({ ...it, dialect: life }).clocks.refreshToken.consentAt;
    expect(ends({})).toBe(now + 80 * day);
    expect(ends({ credential: { consentedAt: now - day } })).toBe(now + 89 * day);
  });

  it('omit unknown times', () => {
    const { rows } = at({ other: { type: 'api_key', value: 'x' } });
    expect(Object.entries(rows).filter(([, value]) => value !== null)).toEqual([
      ['token expires', 'no end'],
      ['last use', 'never'],
      ['next', 'nothing'],
    ]);
  });

  it('never contain a secret', () => {
    const { clocks, rows }: { clocks: Clocks; rows: unknown } = at({ activity: { usedAt: now } });
    expect(JSON.stringify([clocks, rows, clockAnswer(clocks)])).not.toMatch(/secret/);
  });
});

it('a refresh failure is shown until another credential is stored', () => {
  const grant = grantOf(grantRecord({ updatedAt: now }));
  const activity = (failedAt: number | null): GrantActivity => ({
    grantId: grant.id,
    usedAt: null,
    refreshedAt: null,
    failedAt,
    failure: failedAt === null ? null : 'the endpoint answered 503',
    lackedAt: null,
    lacked: [],
  });
  expect(failureOf(grant, activity(now))).toEqual({ at: now, text: 'the endpoint answered 503' });
  expect(failureOf(grant, activity(now - 1))).toBeNull();
  expect(failureOf(grant, activity(null))).toBeNull();
  expect(failureOf(grant, null)).toBeNull();
});

it('the last use is shown as a span, or as never', () => {
  expect([lastUse(now - 5 * minute, now), lastUse(null, now)]).toEqual(['5 min ago', 'never']);
});
