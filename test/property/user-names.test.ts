import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { hashToken, readPresented } from '../../src/agents/authentication.ts';
import { auditMatcher, createGate, keyConditions, keysOf } from '../../src/audit/filter.ts';
import { formatLine } from '../../src/audit/line.ts';
import { isName, isUserName } from '../../src/domain/grant.ts';
import type { AuditLine } from '../../src/domain/event.ts';
import { asMembers, hintText, remedy } from '../../src/lib/hint.ts';
import { findGrant, findNamedGrant } from '../../src/operations/find.ts';
import { grantReference } from '../../src/operations/lookup.ts';
import { placeOf } from '../../src/operations/proxied-request.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import * as fc from '../support/fast-check.ts';
import { grantRecord } from '../support/grant-record.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { notUserNames, userName, userNames } from '../support/user-names.ts';

const names = fc.oneof(fc.constantFrom(...userNames), userName);
const basic = (text: string) => ['Proxy-Authorization', `Basic ${Buffer.from(text).toString('base64')}`];

const lineOf = (user: string) =>
  ({ event: 'token.read', time: '2027-01-01T00:00:00Z', user }) as unknown as AuditLine;

test('names of users are user IDs in ASCII without what separates names elsewhere', () => {
  expect(userNames.filter((name) => !isUserName(name))).toEqual([]);
  expect(notUserNames.filter(isUserName)).toEqual([]);
  fc.assert(fc.property(names, (name) => isUserName(name) || name.length > 128));
  fc.assert(fc.property(fc.string(), (text) => isUserName(text) || !isName(text)));
});

test('a selector reads exactly the user that was written, escaped or not, before or after a grant', () => {
  fc.assert(
    fc.property(names, (user) => {
      const presented = { kind: 'token', name: 'bot', tokenHash: hashToken('tok') };
      const place = placeOf({ host: '127.0.0.1', port: 1, userInfo: 'bot:tok' }, user);
      expect(readPresented(['Proxy-Authorization', place.authorization ?? ''])).toEqual({
        ...presented,
        selectors: { user, grant: null },
      });
      for (const written of [user, encodeURIComponent(user)]) {
        const who = `bot+user=${written}`;
        for (const text of [`${who}+grant=work:tok`, `${who.replace('bot', 'bot+grant=work')}:tok`]) {
          const selectors = { user, grant: 'work' };
          expect(readPresented(basic(text))).toEqual({ ...presented, selectors });
        }
      }
    }),
  );
});

test('a text that names no user is refused as a selector, escaped or not', () => {
  // A colon ends the user name, and this one adds a selector.
  const others = notUserNames.filter((text) => !text.includes(':') && text !== 'alice+grant=github');
  for (const text of [...others, 'alice+user=bob', 'alice+grant=a/b', 'alice+Grant=a']) {
    for (const written of [text, encodeURIComponent(text)]) {
      const read = readPresented(basic(`bot+user=${written}:tok`));
      expect(read, written).toMatchObject(
        // Escaped once, it is a name.
        written === 'alice%40example.com'
          ? { selectors: { user: 'alice@example.com' } }
          : { kind: 'malformed' },
      );
    }
  }
});

test('a reference to a grant finds that of exactly the user', async () => {
  const store = await openSqliteStore(join(await tempFolder(), 'sidekey.db'), { now: () => 0 });
  onTestFinished(() => store.close());
  const users = [...new Set([...userNames, ...fc.sample(userName, 200)])];
  await store.grants.insert(...users.map((user) => grantRecord({ name: 'work', user })));
  for (const user of users)
    expect(await findNamedGrant(store, grantReference({ name: 'work', user }))).toMatchObject({ user });
});

test('a hint of the API names an option as its member, and a user as it is', () => {
  for (const user of [...userNames, 'a|--user', 'a@--grant+x', ...fc.sample(userName, 200)])
    expect(asMembers(`Users: ${user}. Name the user: --user '${user}'`)).toBe(
      `Users: ${user}. Name the user: user '${user}'`,
    );
});

test('a hint that names one of several users quotes the name for a shell', async () => {
  const store = await openSqliteStore(join(await tempFolder(), 'sidekey.db'), { now: () => 0 });
  onTestFinished(() => store.close());
  await store.grants.insert(...['auth0|1', 'auth0|2'].map((user) => grantRecord({ name: 'work', user })));
  for (const [find, hint] of [
    [findNamedGrant(store, 'work'), "name the user: --grant 'auth0|1/work'"],
    [findGrant(store, { grant: 'work' }, { user: null }), "name the user: --user 'auth0|1'"],
  ] as const)
    await expect(find).rejects.toMatchObject({ code: 'grant_ambiguous', hint });
});

test('a filter of the audit log finds the lines of exactly the user', () => {
  fc.assert(
    fc.property(names, names, (user, other) => {
      const [filter, line] = [{ user }, lineOf(other)];
      expect(auditMatcher(filter)(line)).toBe(user === other);
      const bytes = Buffer.from(formatLine(line));
      expect(JSON.parse(bytes.toString())).toMatchObject({ user: other });
      expect(createGate(filter).inherited(bytes)).toBe(user === other);
      expect(keyConditions(filter)[0]!.keys.some((key) => keysOf(line).includes(key))).toBe(user === other);
    }),
  );
});

test('a shell reads the user of a hint as one word', () => {
  const users = [...new Set([...userNames, ...fc.sample(userName, 100)])];
  const commands = users.map((user) => hintText(remedy('grant.revoke', { grant: 'work', user })));
  const script = `sidekey() { printf '%s\\0' "$@"; }\n${commands.join('\n')}`;
  const words = execFileSync('/bin/sh', ['-c', script], { encoding: 'utf8' }).split('\0');
  expect(words.slice(0, -1)).toEqual(users.flatMap((user) => ['grant', 'revoke', 'work', '--user', user]));
});
