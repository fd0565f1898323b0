import { SidekeyError } from '../errors.ts';
import type { Authority } from '../policy/authority.ts';
import type { Field } from './field.ts';
import type { Injected } from './inject.ts';
import type { MessageFacts } from './message-facts.ts';

/**
 * One opened credential, as one way carries it. A way is a function that makes one of these, in a file of its own;
 * `carrierFor` knows them all. What can be done once for the credential is done when it is made, and not for each request.
 */
export interface Carrier {
  /** Fields that are the same in every request. */
  readonly fields: readonly Field[];
  /** Names, in lower case, of fields that the way writes besides: those of the client go, as those of `fields` do. */
  readonly replaces?: Iterable<string>;
  /** Whether the client's own `Authorization` goes on: its placeholder may stand there. */
  readonly keepsAuthorization?: true;
  /** What is to be written into one request besides; absent: nothing. @throws SidekeyError `policy_violation` */
  readonly into?: (request: CarriedRequest) => Part;
}

/** What a way sees of a request. */
export interface CarriedRequest {
  readonly authority: Authority;
  /** Origin-form, with its query. */
  readonly path: string;
  /** Name, value, name, value… as they came in, hop-by-hop fields already taken out. */
  readonly fields: readonly string[];
  readonly facts: MessageFacts | undefined;
}

/** What a way writes into one request. What is absent stays as it was. */
export interface Part extends Pick<Injected, 'conceal' | 'rewriteBody' | 'identity'> {
  readonly path?: string;
  /** The client's own, where the way writes in one of them. */
  readonly fields?: readonly string[];
  /** Fields of this request alone. They come in the place of those that are replaced, behind `Carrier.fields`. */
  readonly added?: readonly string[];
  /** All of the body, where it is another. What frames it and sums it up is seen to. */
  readonly body?: Buffer;
}

/** The facts of a request, for a way that needs them. */
export function factsOf({ facts }: CarriedRequest): MessageFacts {
  if (facts !== undefined) return facts;
  throw new SidekeyError('internal', 'Nothing was said of the message that a credential is put into.');
}
