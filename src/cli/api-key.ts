import { randomBytes } from 'node:crypto';
import { hashToken } from '../agents/authentication.ts';
import { scopes as allScopes } from '../domain/scopes.ts';
import { recordChange } from '../audit/log.ts';
import { SidekeyError } from '../lib/errors.ts';
import { orMeant } from '../lib/text.ts';
import type { ApiKeyRecord } from '../store/store.ts';
import type { Context } from './context.ts';
import { table } from './display.ts';
import {
  checkName,
  isoOrNull,
  isoTime,
  lastUse,
  pagesUrl,
  readEnd,
  relativeTime,
} from '../operations/format.ts';

export interface CreateOptions {
  readonly role: string;
  readonly scope?: readonly string[];
  readonly user?: string;
  readonly person?: string;
  readonly expires: string;
  /** Latest expiry, in milliseconds since the epoch: the expiry of the key that creates this one. */
  readonly notAfter?: number;
}

/** `sidekey api-key create`: prints the key, which cannot be retrieved later. */
export async function createApiKey(
  { withState, output, now }: Context,
  name: string,
  { role, scope, user, person, expires, notAfter = Infinity }: CreateOptions,
): Promise<void> {
  checkName('name of the key', name);
  if (user !== undefined) checkName('name of the user', user);
  if (role === 'user' && user === undefined) {
    throw new SidekeyError('input_invalid', 'A key of the role user is for one user.', {
      hint: `sidekey api-key create ${name} --role user --user NAME`,
    });
  }
  const unknown = scope?.find((each) => !allScopes.some((known) => known === each));
  if (unknown !== undefined) {
    throw new SidekeyError('input_invalid', `--scope names no scope${orMeant(unknown, allScopes)}`, {
      hint: `the scopes: ${allScopes.join(', ')}`,
    });
  }
  // The prefix is for secret scanners.
  const secret = `sk_${randomBytes(32).toString('base64url')}`;
  const at = now();
  const end = Math.min(notAfter, expires === 'none' ? Infinity : readEnd('--expires', expires, at));
  const key: ApiKeyRecord = {
    name,
    hash: hashToken(secret),
    role,
    scopes: scope ?? null,
    user: user ?? null,
    person: person ?? null,
    createdAt: at,
    expiresAt: end === Infinity ? null : end,
    usedAt: null,
  };
  const reason = `${name}, role ${role}${scope === undefined ? '' : `, scopes ${scope.join(' ')}`}`;
  const pages = await withState(async ({ store, audit, config }) => {
    const owner = person === undefined ? undefined : await store.people.get(person);
    if (owner === null || (owner?.disabledAt ?? null) !== null) {
      throw new SidekeyError('not_found', 'There is no enabled person of that name.', {
        hint: 'sidekey person list',
      });
    }
    await recordChange(audit, { event: 'api_key.created', user, reason }, () => store.apiKeys.insert(key));
    return pagesUrl(config.admin);
  });
  output.result({ ...keyJson(key), key: secret }, secret);
  output.say(
    [
      `Copy the key ${name} from that line now: it is shown only once. It ends ${endText(key, at)}.`,
      pages === null
        ? 'The config file names no address of the API: set "admin: { listen: 127.0.0.1:8378 }", and start the proxy again.'
        : `  → curl -H 'X-API-Key: KEY' ${pages}/v2/grants`,
    ].join('\n'),
  );
}

/** `sidekey api-key list`: all keys, or one. @throws SidekeyError `not_found` */
export async function listApiKeys(
  { withView, output, now }: Context,
  name: string | undefined,
): Promise<void> {
  const all = await withView(async ({ store }) => (await store?.apiKeys.list()) ?? []);
  const keys = name === undefined ? all : all.filter((key) => key.name === name);
  if (name !== undefined && keys.length === 0) throw unknownKey(name, all);
  const at = now();
  output.result(
    name === undefined ? keys.map(keyJson) : keyJson(keys[0]!),
    keys.length === 0
      ? 'There are no API keys yet.\n  → sidekey api-key create NAME --role operator'
      : table(
          output.display,
          ['NAME', 'ROLE', 'SCOPES', 'USER', 'ENDS', 'LAST USED', 'CREATED'],
          keys.map((key) => [
            key.name,
            key.role,
            key.scopes?.join(' ') ?? 'all of the role',
            key.user ?? '-',
            endText(key, at),
            lastUse(key.usedAt, at),
            relativeTime(key.createdAt, at),
          ]),
          { least: ['CREATED', 'USER', 'SCOPES', 'LAST USED'] },
        ),
  );
}

/** `sidekey api-key revoke`: ends a key at once. @throws SidekeyError `not_found` */
export async function revokeApiKey({ withState, output }: Context, name: string): Promise<void> {
  await withState(async ({ store, audit }) => {
    const all = await store.apiKeys.list();
    if (!all.some((key) => key.name === name)) throw unknownKey(name, all);
    await recordChange(audit, { event: 'api_key.revoked', reason: name }, async () => {
      if (!(await store.apiKeys.remove(name))) throw unknownKey(name, []);
    });
  });
  output.result({ name, revoked: true }, `Revoked the key ${name}: it is refused from now on.`);
}

function unknownKey(name: string, all: readonly ApiKeyRecord[]): SidekeyError {
  const names = all.map((key) => key.name);
  return new SidekeyError('not_found', `There is no API key of that name${orMeant(name, names)}`, {
    hint: 'sidekey api-key list',
  });
}

function keyJson({ name, role, scopes, user, person, createdAt, expiresAt, usedAt }: ApiKeyRecord) {
  return {
    name,
    role,
    scopes,
    user,
    person,
    created_at: isoTime(createdAt),
    expires_at: isoOrNull(expiresAt),
    used_at: isoOrNull(usedAt),
  };
}

/** `in 90 d`, `2 h ago`, `never`. */
function endText({ expiresAt }: ApiKeyRecord, now: number): string {
  if (expiresAt === null) return 'never';
  return `${expiresAt <= now ? 'ended ' : ''}${relativeTime(expiresAt, now)}`;
}
