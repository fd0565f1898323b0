import { Matcher } from './matcher.ts';
import { isGuardable } from './renderings.ts';

/** The secrets of one credential: one object as long as it is opened. Each a character a byte, as in a header field. */
export interface GuardedSecrets {
  readonly texts: readonly string[];
}

const matchers = new WeakMap<GuardedSecrets, Matcher | null>();

/**
 * What finds them; made when it is first asked for, gone from memory together with them. Those that are too short are not
 * looked for. Null: all are.
 */
export function matcherFor(secrets: GuardedSecrets): Matcher | null {
  let matcher = matchers.get(secrets);
  if (matcher === undefined) {
    const texts = secrets.texts.filter(isGuardable);
    matcher = texts.length === 0 ? null : new Matcher(texts);
    matchers.set(secrets, matcher);
  }
  return matcher;
}
