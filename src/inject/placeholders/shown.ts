import { awsKeysOf } from '../../grants/aws-keys.ts';
import type { Credential } from '../../grants/credential.ts';
import type { PlaceholderPlace } from '../../grants/provider.ts';
import type { PlaceholderCodes } from '../../placeholder/codes.ts';
import { singleValue } from '../single-value.ts';
import { withoutValue } from './refused.ts';

/** The placeholders of a request, and where they may become the credential. */
export interface Shown {
  /** All texts that stand for the grant in the hands of the caller. */
  readonly texts: () => readonly string[];
  /** Where they may stand besides the fields that the credential takes over in any case. */
  readonly places: readonly PlaceholderPlace[];
  readonly codes: Pick<PlaceholderCodes, 'find'>;
  /**
   * Whether it may put the credential into the path, the query, the body or a field other than `Authorization`, which
   * services show more readily than that.
   */
  readonly inContent: boolean;
  /** Null: the body goes on as it is. */
  readonly body: ShownInBody | null;
}

/** A body that has some. */
export interface ShownInBody {
  readonly syntax: BodySyntax;
  /** All of it, where it was read; null: it streams. */
  readonly whole: Buffer | null;
}

/** The same placeholders, where none may become the credential. */
export function withoutPlaces(shown: Shown | undefined): Shown | undefined {
  return shown && { ...shown, places: [], inContent: false, body: null };
}

/** How a value is written in a body. */
export type BodySyntax = 'json' | 'form' | 'plain';

/**
 * What a placeholder stands for: the one value of a credential, or the password of a pair.
 *
 * @throws SidekeyError `placeholder_misused`: the credential has no such value
 */
export function valueOf(credential: Credential): string {
  if (credential.type === 'basic') return credential.password;
  if (!hasValue(credential)) throw withoutValue();
  return singleValue(credential);
}

/** Whether a credential has a value that can take the place of a placeholder: the keys of a role are no token. */
export function hasValue(credential: Credential): boolean {
  return credential.type !== 'headers' && awsKeysOf(credential) === null;
}
