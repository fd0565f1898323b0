import { defaultUser } from '../grants/grant.ts';
import { readBodyFacts, type BodyFacts } from '../policy/body-facts.ts';
import { overridesMethod } from '../policy/method-override.ts';
import { overridesPath } from '../policy/path-override.ts';
import type { RequestFacts } from '../policy/request-facts.ts';
import type { Identity } from './agent.ts';
import { valuesOf, type RawFields } from './fields.ts';
import type { Arrival } from './message.ts';
import type { Offer } from './offer.ts';
import { readAhead } from './peek-body.ts';
import type { Target } from './target.ts';

/**
 * What policy may look at of a request, its body left out. Labels of the grant that is meant count too.
 *
 * @param target with the path as it may be shown
 * @param methodParameters those of the provider whose grant is meant
 */
export async function requestFacts(
  { head, body, client, upgrades }: Arrival,
  { authority, path }: Target,
  caller: Identity,
  offer: Offer | null,
  now: number,
  methodParameters: readonly string[],
): Promise<RequestFacts> {
  const grant = offer?.ruled === true && offer.selected.kind === 'selected' ? offer.selected.grant : null;
  const [length] = valuesOf(head.fields, 'content-length');
  return {
    authority,
    method: head.method,
    methodFields: namedFields(head.fields, overridesMethod),
    pathFields: namedFields(head.fields, overridesPath),
    methodParameters,
    upgrades: upgrades ?? valuesOf(head.fields, 'upgrade').some((name) => name.toLowerCase() === 'websocket'),
    path,
    client: addressOf(client.address),
    agent: caller.agent,
    user: userOf(caller, offer),
    labels: [...caller.labels, ...(grant === null ? [] : await caller.grantLabels(grant))],
    reason: valuesOf(head.fields, 'sidekey-reason')[0] ?? null,
    contentType: contentTypeOf(head.fields),
    contentLength: body === null ? 0 : length === undefined ? null : Number(length),
    now,
    body: null,
  };
}

/** Fields of the head, and trailers that it announces (RFC 9110 §6.6.2), in the words of a refusal. */
function namedFields(fields: RawFields, isNamed: (name: string) => boolean): readonly string[] {
  const found: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    if (isNamed(name)) found.push(`the header ${name}`);
    else if (name.length === 7 && name.toLowerCase() === 'trailer') {
      const announced = fields[i + 1]!.split(',').map((text) => text.trim());
      found.push(...announced.filter(isNamed).map((text) => `the trailer ${text}`));
    }
  }
  return found;
}

/**
 * For whom a request is: whose grant it uses, whatever the caller claims; where that is nobody's in particular, or none is
 * selected, for whom the agent acts. Null: nobody is named.
 */
function userOf({ agentUser }: Identity, offer: Offer | null): string | null {
  if (offer?.selected.kind !== 'selected') return agentUser;
  const { user } = offer.selected.grant;
  return user === defaultUser ? agentUser : user;
}

/** The one `Content-Type` field; null: there is none, or more than one. */
function contentTypeOf(fields: RawFields): string | null {
  const [type, ...more] = valuesOf(fields, 'content-type');
  return more.length === 0 ? (type ?? null) : null;
}

/**
 * What a request's body says, read ahead within bounds; and the body, whole again, to be sent on.
 *
 * @throws SidekeyError `bad_request` where the client left in the middle of it
 */
export async function bodyFacts(
  { head, body }: Arrival,
  most: number,
): Promise<{ readonly facts: BodyFacts; readonly body: Arrival['body'] }> {
  const peeked = await readAhead(body, most);
  const encodings = valuesOf(head.fields, 'content-encoding');
  const facts = readBodyFacts(
    {
      contentType: contentTypeOf(head.fields),
      contentEncoding: encodings.length === 0 ? null : encodings.join(', '),
      bytes: peeked.bytes,
    },
    peeked.isWhole,
  );
  return { facts, body: peeked.body };
}

/** `127.0.0.1:4711`, `[::1]:4711` without the port. */
export function addressOf(text: string): string {
  return text.replace(/:[0-9]+$/, '').replace(/^\[(.*)\]$/, '$1');
}
