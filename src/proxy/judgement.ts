import type { SidekeyError } from '../errors.ts';
import type { Grant } from '../grants/grant.ts';
import type { BodyFacts } from '../policy/body-facts.ts';
import { decideRequest, type RequestDecision } from '../policy/decide.ts';
import type { RequestFacts } from '../policy/request-facts.ts';
import type { Identity } from './agent.ts';
import type { Arrival } from './message.ts';
import { judgedPath, offerOf, unselected, type Chooser, type Offer } from './offer.ts';
import { requestFacts } from './request-facts.ts';
import type { Consented } from './right.ts';
import type { Rooms, Settings } from './rooms.ts';
import type { Target } from './target.ts';

/** What holds for a request at one moment, and what policy says of it. */
export interface Judgement<Known = Settings> {
  readonly settings: Known;
  readonly caller: Identity;
  /** Null: the map offers no grant there. */
  readonly offer: Offer | null;
  readonly facts: RequestFacts;
  readonly decision: RequestDecision;
}

/** Policy lets a request have a grant, for itself or once a person has agreed. */
export type GrantDecision = Extract<RequestDecision, { readonly grant: string }>;

/** The same with the grant that is meant. */
export interface Granted extends Pick<Judgement, 'settings' | 'caller' | 'facts'> {
  readonly decision: GrantDecision;
  readonly grant: Grant;
  /** Absent: nobody was asked. */
  readonly approval?: Consented;
}

/** A request whose caller is known. */
export interface Asked {
  readonly arrival: Arrival;
  readonly target: Target;
  readonly caller: Identity;
  readonly shows?: Chooser['shows'];
}

/**
 * Judges a request by what holds now: config, grants, labels and time. One that has waited, for its body or for a
 * person, is judged anew: how long that was, its sender decides.
 *
 * @param body null: it was not read
 */
export async function judge<Known extends Pick<Settings, 'policy' | 'injectPlan' | 'provider'>>(
  { arrival, target, caller, shows }: Asked,
  body: BodyFacts | null,
  settings: Known,
  rooms: Pick<Rooms, 'grants' | 'now'>,
): Promise<Judgement<Known>> {
  const { authority } = target;
  const offer = await offerOf(authority, { ...caller, shows }, rooms, settings);
  const judged = { authority, path: judgedPath(target, offer, settings) };
  const { selected } = offer ?? {};
  const provider = selected?.kind === 'selected' ? settings.provider(selected.grant.provider) : undefined;
  const seen = await requestFacts(
    arrival,
    judged,
    caller,
    offer,
    rooms.now(),
    provider?.methodParameters ?? [],
  );
  const facts = body === null ? seen : { ...seen, body };
  return { settings, caller, offer, facts, decision: decideRequest(settings.policy, facts) };
}

/** The one grant that is meant, or why there is none. */
export function grantedBy(
  { settings, caller, facts, offer }: Judgement,
  decision: GrantDecision,
): Granted | SidekeyError {
  if (offer === null) throw new Error('policy lets a request have a grant that the map does not offer');
  const { selected } = offer;
  if (selected.kind !== 'selected') return unselected(selected, decision, caller);
  return { settings, caller, facts, decision, grant: selected.grant };
}
