import { Automaton } from './automaton.ts';
import { Redactor } from './redactor.ts';
import { isGuardable, renderingsOf, shortestGuarded } from './renderings.ts';

/** The secrets of one credential: one object as long as it is opened. Each a character a byte, as in a header field. */
export interface GuardedSecrets {
  readonly texts: readonly string[];
}

const automata = new WeakMap<GuardedSecrets, Automaton | null>();

/** What finds them; made when it is first asked for, gone from memory together with them. Null: they are too short. */
export function automatonFor(secrets: GuardedSecrets): Automaton | null {
  let automaton = automata.get(secrets);
  if (automaton === undefined) {
    const texts = secrets.texts.filter(isGuardable);
    automaton = texts.length === 0 ? null : new Automaton(texts.flatMap(renderingsOf));
    automata.set(secrets, automaton);
  }
  return automaton;
}

/** A text of a head, a character a byte, without renderings of a secret; the very text where it has none. */
export function redactText(automaton: Automaton, text: string): string {
  if (text.length < shortestGuarded) return text;
  const redactor = new Redactor(automaton);
  const pieces = [...redactor.push(Buffer.from(text, 'latin1')), ...redactor.end()];
  return redactor.found === 0 ? text : Buffer.concat(pieces).toString('latin1');
}
