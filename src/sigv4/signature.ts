import { createHmac, hash } from 'node:crypto';
import type { AwsKeys } from '../grants/aws-keys.ts';
import { scopeText, timestampOf, type Scope } from './scope.ts';
import { signingKey } from './signing-key.ts';

/** Signs texts of one moment, in one scope. */
export interface Signer {
  readonly scope: Scope;
  /** `YYYYMMDDTHHMMSSZ`. */
  readonly timestamp: string;
  /**
   * 64 hex digits. The text that is signed begins with the kind, the timestamp and the scope; the rest stands below, a
   * line each.
   */
  sign(kind: string, ...rest: readonly string[]): string;
}

/** @param now milliseconds since the epoch */
export function createSigner(keys: AwsKeys, place: Pick<Scope, 'region' | 'service'>, now: number): Signer {
  const timestamp = timestampOf(now);
  const scope = { date: timestamp.slice(0, 8), region: place.region, service: place.service };
  const key = signingKey(keys, scope);
  const named = scopeText(scope);
  return {
    scope,
    timestamp,
    sign: (kind, ...rest) =>
      createHmac('sha256', key)
        .update([kind, timestamp, named, ...rest].join('\n'))
        .digest('hex'),
  };
}

/** SHA-256 in hex. Of a text each character is one byte. */
export function sha256(bytes: Buffer | string): string {
  return hash('sha256', typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes, 'hex');
}

/** Of a body without a byte. */
export const emptyHash = sha256('');
