import { identityOf } from '../operations/person.ts';
import { recordChange } from '../audit/log.ts';
import type { Origin } from '../domain/event.ts';
import type { OidcConfig } from '../config/admin.ts';
import { defaultUser, isName, isUserName } from '../domain/grant.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { untrusted } from '../lib/text.ts';
import { memberAt } from '../grants/oauth/http.ts';
import type { Claims } from '../grants/oauth/open-id.ts';
import type { PersonRecord } from '../store/store.ts';
import type { ServiceParts } from './parts.ts';
import type { Role } from '../domain/scopes.ts';

/** People with OpenID accounts. An account is the issuer with its subject: names and e-mails can change. */

/**
 * Returns the person of an account with the role that its claims give. Creates the person at the first
 * sign-in. An account that lost its role at the issuer loses it here.
 *
 * @param client address of the browser
 * @throws SidekeyError `role_missing`; `api_auth_required` if the person is disabled; `already_exists` if
 * another person has the name; `input_invalid` if the claims have no usable name
 */
export async function personOf(
  claims: Claims,
  oidc: OidcConfig,
  client: string,
  { store, audit, now }: Pick<ServiceParts, 'store' | 'audit' | 'now'>,
): Promise<PersonRecord> {
  const { host } = new URL(oidc.issuer);
  const identity = identityOf(oidc.issuer, claims.sub);
  const before = await store.people.find(identity);
  const role = roleOf(claims, oidc);
  const origin = (name: string): Origin => ({ by: name, client: `api:${client}` });
  const give = async (to: Role | 'none', { name }: PersonRecord) => {
    const reason = `${name}, role ${to}, by the claims of ${host}`;
    await recordChange(audit, { event: 'person.changed', reason, ...origin(name) }, () =>
      store.people.change(name, { role: to }, to === 'none' ? now() : undefined),
    );
  };
  if (role === null) {
    if (before !== null && before.role !== 'none') await give('none', before);
    throw new SidekeyError('role_missing', `Your account at ${host} has no role in Sidekey.`);
  }
  if (before !== null) {
    if (before.disabledAt !== null) {
      throw new SidekeyError('api_auth_required', `The operator has disabled ${before.name}.`, {
        hint: hintOf`the operator: ${remedy('person.change', { person: before.name, disabled: false })}`,
      });
    }
    if (before.role !== role) await give(role, before);
    return { ...before, role };
  }
  const name = nameIn(claims, oidc);
  if ((await store.people.get(name)) !== null) {
    throw new SidekeyError('already_exists', `There is a person ${name} already, with another account.`, {
      hint: hintOf`if that is you, ask the operator: ${remedy('person.change', { person: name, subject: claims.sub })}`,
    });
  }
  const person = { name, role, user: null, disabledAt: null, createdAt: now(), identity, generation: 0 };
  const reason = `${name}, role ${role}, by the claims of ${host}`;
  await recordChange(audit, { event: 'person.created', reason, ...origin(name) }, () =>
    store.people.insert(person),
  );
  return person;
}

/** Returns the first role that the claims match; null: none. */
function roleOf(claims: Claims, { roles }: OidcConfig): Role | null {
  const isHolder = ([name, wanted]: readonly [string, readonly string[]]) =>
    valuesOf(claims, name).some((value) => wanted.includes(value));
  return roles.find(([, holders]) => Object.entries(holders).some(isHolder))?.[0] ?? null;
}

/** @throws SidekeyError `input_invalid` */
function nameIn(claims: Claims, { issuer, name: claim }: OidcConfig): string {
  // At some issuers people set other claims themselves: such a name must not be the user ID of somebody else.
  const isAssigned = claim === 'email' || claim === 'sub';
  const [value = ''] = valuesOf(claims, claim);
  const name = isAssigned ? value : value.replace('@', '_at_');
  // Grants without an owner belong to the operator.
  if ((isAssigned ? isUserName : isName)(name) && name !== defaultUser) return name;
  const account = `Your account at ${new URL(issuer).host}`;
  throw inputInvalid(
    name === ''
      ? `${account} has no ${claim === 'email' ? 'verified e-mail address' : `claim ${claim}`} to take your name from.`
      : `${account} names you ${untrusted(name)} (claim ${claim}), which Sidekey does not allow as a name.`,
    `ask the operator to set admin.oidc.name to another claim, such as ${claim === 'sub' ? 'email' : 'sub'}`,
  );
}

/** Returns the texts of a claim. Ignores an unverified e-mail, because people can claim any. */
function valuesOf(claims: Claims, name: string): readonly string[] {
  if (name === 'email' && claims['email_verified'] !== true) return [];
  const value = Object.hasOwn(claims, name) ? claims[name] : memberAt(claims, name);
  return [value].flat().filter((each) => typeof each === 'string');
}
