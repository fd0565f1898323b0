import { type Identity, selectorsOf } from '../agents/authentication.ts';
import type { Grant } from '../domain/grant.ts';
import { type RawFields, requestFields, valuesOf } from './http/fields.ts';
import { type BodyFraming, framingOf } from './http/framing.ts';
import type { RequestHead } from './http/head.ts';
import type { Client } from './http/message.ts';
import { orThrow, type SidekeyError } from '../lib/errors.ts';
import type { PlaceholderCodes } from './placeholders/codes.ts';
import { type PlaceholdersInFields, placeholdersInFields } from './placeholders/detect.ts';
import { foreignInFields, type KnownForms, type Searched } from './placeholders/foreign-forms.ts';
import { type Authority, authorityText } from './policy/authority.ts';
import type { Domain } from './policy/domain-map.ts';
import type { Limits } from './policy/limits.ts';
import { overridesMethod } from './policy/method-override.ts';
import { overridesPath } from './policy/path.ts';
import type { RequestFacts } from './policy/request.ts';
import { PlannedFields } from './schemes/apply.ts';
import { type GrantCandidates, offerOf } from './target.ts';

/** Facts that only depend on the fields of a request. */
export interface FieldFacts
  extends
    Pick<RequestHead, 'fields' | 'version'>,
    Pick<RequestFacts, 'methodFields' | 'pathFields' | 'reason' | 'contentType' | 'contentLength'> {
  readonly limits: Limits;
  /** The framing of the body, or why the request is refused. */
  readonly framing: BodyFraming | SidekeyError;
  readonly hosts: readonly string[];
  readonly placeholders: PlaceholdersInFields;
  readonly asksForWebSocket: boolean;
}

/** Reads the facts of the fields of a request. */
function fieldFactsOf(head: RequestHead, limits: Limits, codes: Pick<PlaceholderCodes, 'find'>): FieldFacts {
  const { fields, version } = head;
  const [length] = valuesOf(fields, 'content-length');
  return {
    fields,
    version,
    limits,
    framing: framingOf(head, limits),
    hosts: valuesOf(fields, 'host'),
    placeholders: placeholdersInFields(fields, codes),
    methodFields: namedFields(fields, overridesMethod),
    pathFields: namedFields(fields, overridesPath),
    asksForWebSocket: valuesOf(fields, 'upgrade').some((name) => name.toLowerCase() === 'websocket'),
    reason: valuesOf(fields, 'sidekey-reason')[0] ?? null,
    contentType: contentTypeOf(fields),
    contentLength: length === undefined ? null : Number(length),
  };
}

/** Returns the fields of the head and its announced trailers (RFC 9110 §6.6.2), as words for a refusal. */
function namedFields(fields: RawFields, isNamed: (name: string) => boolean): readonly string[] {
  const names: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    if (isNamed(name)) names.push(`the header ${name}`);
    else if (name.length === 7 && name.toLowerCase() === 'trailer') {
      const announced = fields[i + 1]!.split(',').map((text) => text.trim());
      names.push(...announced.filter(isNamed).map((text) => `the trailer ${text}`));
    }
  }
  return names;
}

/** The one `Content-Type` field; null: there is none, or more than one. */
function contentTypeOf(fields: RawFields): string | null {
  const [type, ...more] = valuesOf(fields, 'content-type');
  return more.length === 0 ? (type ?? null) : null;
}

/**
 * Values of the last request of a client connection, which the next request may share. A value is used again
 * only if all its sources are the same objects: the fields of the head, and the snapshots of config, rights
 * and grants. Each of these is immutable, and a change makes a new one.
 */
export class ConnectionPlan {
  /** IP address of the client, without a port. */
  readonly address: string;
  /** The fields that go upstream with the credential. */
  readonly applied = new PlannedFields();
  #facts: FieldFacts | null = null;
  #caller: { readonly identity: Identity; readonly fields: RawFields; readonly caller: Identity } | null =
    null;
  #offer: Offer | null = null;
  #labels: readonly [agent: readonly string[], grant: readonly string[], both: readonly string[]] | null =
    null;
  #foreign: {
    readonly fields: RawFields;
    readonly finder: KnownForms['finder'];
    readonly searched: Searched<RawFields>;
  } | null = null;
  #forwarded: {
    readonly fields: RawFields;
    readonly authority: Authority;
    readonly forwarded: RawFields;
  } | null = null;

  constructor({ address }: Pick<Client, 'address'>) {
    this.address = addressOf(address);
  }

  /** Returns the facts of the fields of a head. */
  facts(head: RequestHead, limits: Limits, codes: Pick<PlaceholderCodes, 'find'>): FieldFacts {
    const last = this.#facts;
    const isSame =
      last !== null && last.fields === head.fields && last.version === head.version && last.limits === limits;
    return isSame ? last : (this.#facts = fieldFactsOf(head, limits, codes));
  }

  /** Returns the reason that the fields of a request give; undefined: none. */
  reason(fields: RawFields): string | undefined {
    const last = this.#facts;
    return last?.fields === fields ? (last.reason ?? undefined) : valuesOf(fields, 'sidekey-reason')[0];
  }

  /** Returns the identity with the selectors of a request. @throws SidekeyError as `selectorsOf` */
  caller(identity: Identity, fields: RawFields): Identity {
    const last = this.#caller;
    if (last !== null && last.identity === identity && last.fields === fields) return last.caller;
    const selectors = orThrow(selectorsOf(fields, identity.selectors));
    const caller = selectors === identity.selectors ? identity : { ...identity, selectors };
    this.#caller = { identity, fields, caller };
    return caller;
  }

  /** Returns the grants that an entry of the map offers a caller. `named`: the grants in the entry. */
  offer(named: readonly Grant[], domain: Domain, caller: Identity): GrantCandidates {
    const last = this.#offer;
    if (last !== null && last.named === named && last.domain === domain && last.caller === caller)
      return last.offer;
    const offer = offerOf(named, domain, caller);
    this.#offer = { named, domain, caller, offer };
    return offer;
  }

  /** Returns the labels of the agent, then those of the grant. */
  labels(agent: readonly string[], grant: readonly string[]): readonly string[] {
    if (grant.length === 0) return agent;
    if (this.#labels?.[0] !== agent || this.#labels[1] !== grant)
      this.#labels = [agent, grant, [...agent, ...grant]];
    return this.#labels[2];
  }

  /** Returns the credentials in fields, see `foreignInFields`. */
  foreign(fields: RawFields, forms: KnownForms): Searched<RawFields> {
    const last = this.#foreign;
    if (last !== null && last.fields === fields && last.finder === forms.finder) return last.searched;
    const searched = foreignInFields(fields, forms);
    this.#foreign = { fields, finder: forms.finder, searched };
    return searched;
  }

  /** Returns the fields to be sent, before a credential is applied. */
  forwarded({ fields, version }: RequestHead, authority: Authority): RawFields {
    const last = this.#forwarded;
    if (last !== null && last.fields === fields && last.authority === authority) return last.forwarded;
    const forwarded = requestFields(fields, authorityText(authority), version === '2');
    this.#forwarded = { fields, authority, forwarded };
    return forwarded;
  }
}

interface Offer {
  readonly named: readonly Grant[];
  readonly domain: Domain;
  readonly caller: Identity;
  readonly offer: GrantCandidates;
}

const plans = new WeakMap<Client, ConnectionPlan>();

/** Returns the plan of a client connection. */
export function planOf(client: Client): ConnectionPlan {
  let plan = plans.get(client);
  if (plan === undefined) plans.set(client, (plan = new ConnectionPlan(client)));
  return plan;
}

/** `127.0.0.1:4711`, `[::1]:4711` without the port. */
export function addressOf(text: string): string {
  return text.replace(/:[0-9]+$/, '').replace(/^\[(.*)\]$/, '$1');
}
