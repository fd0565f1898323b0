import { SidekeyError } from '../../errors.ts';
import type { PlaceholderPlace } from '../../grants/provider.ts';

/** A placeholder stands where its provider has none. */
export function misplaced(place: PlaceholderPlace, where: string): SidekeyError {
  return misused(
    `A placeholder stands in ${where}, where the credential of this grant is not put.`,
    `leave it out, or where the API wants it there, say so in the provider: placeholders: [${place}]`,
  );
}

/** A placeholder is of another grant or another lease, or was changed. */
export function foreign(where: string): SidekeyError {
  return misused(
    `A placeholder in ${where} is not the one that this caller has for the grant of this request.`,
    'use the one that was given for this grant and this lease: sidekey run and sidekey env set it',
  );
}

/** A placeholder was sent to a host where no grant of it is used. */
export function notFor(host: string): SidekeyError {
  return misused(
    `A placeholder was sent to ${host}, and it stands for nothing there.`,
    'send it to the hosts of its grant alone (http://sidekey.internal/ lists them); if this is one: sidekey domain allow HOST --grant NAME',
  );
}

/** Of a body whose length is said already, so that nothing can take the place of a placeholder in it. */
export function tooLate(bytes: number): SidekeyError {
  return misused(
    `A placeholder stands behind the first ${bytes} bytes of a body whose length was given.`,
    'send it before, or the body in chunks, or raise limits.placeholder_body_bytes',
  );
}

/** A program asks the token endpoint of its provider for something that no placeholder stands for. */
export function tokenRequestRefused(grantType: unknown): SidekeyError {
  const isNamed = typeof grantType === 'string' && /^[\w:.-]{1,80}$/.test(grantType);
  const what = isNamed ? `grant_type ${grantType}` : 'no grant_type that is known';
  return misused(
    `A token request with ${what} shows a placeholder, which stands for a token that is there already.`,
    'use the placeholder as the token; a person consents with sidekey connect',
  );
}

/** The credential has no value that could take the place of a placeholder. */
export function withoutValue(): SidekeyError {
  return misused(
    'The credential of this grant is no single value, so its placeholder stands for nothing here.',
    'leave the placeholder out: Sidekey adds the credential in its own way',
  );
}

/** The credential cannot be written where its placeholder stands. */
export function unfit(where: string): SidekeyError {
  return misused(`The credential of this grant holds a byte that must not stand in ${where}.`);
}

function misused(sentence: string, hint?: string): SidekeyError {
  return new SidekeyError('placeholder_misused', sentence, { hint });
}
