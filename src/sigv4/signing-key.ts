import { createHmac } from 'node:crypto';
import type { AwsKeys } from '../grants/aws-keys.ts';
import { scopeText, type Scope } from './scope.ts';

/** Days, regions and services that one credential is remembered for. */
const kept = 64;

/** Gone from memory together with the keys that they are made of. */
const known = new WeakMap<AwsKeys, Map<string, Buffer>>();

/**
 * The key that signs for one day, region and service. It is a secret like the one that it is made of, and is never
 * stored.
 */
export function signingKey(keys: AwsKeys, scope: Scope): Buffer {
  let ofKeys = known.get(keys);
  if (ofKeys === undefined) known.set(keys, (ofKeys = new Map()));
  const name = scopeText(scope);
  let key = ofKeys.get(name);
  if (key === undefined) {
    const { date, region, service } = scope;
    key = [date, region, service, 'aws4_request'].reduce(
      (by: Buffer, text) => createHmac('sha256', by).update(text).digest(),
      Buffer.from(`AWS4${keys.secretAccessKey}`),
    );
    // The oldest: yesterday's are not asked for again.
    if (ofKeys.size >= kept) ofKeys.delete(ofKeys.keys().next().value!);
    ofKeys.set(name, key);
  }
  return key;
}
