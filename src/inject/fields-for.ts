import { SidekeyError } from '../errors.ts';
import type { Credential } from '../grants/credential.ts';
import type { InjectPlan } from '../grants/provider.ts';
import { isFieldName, isFieldValue, isReservedFieldName } from '../policy/field.ts';
import { carrierFor } from './carrier-for.ts';
import type { Field } from './field.ts';

/**
 * What a credential looks like in every request; what depends on the request is not among it.
 * @throws SidekeyError `policy_violation` where a name or value could not stand in a field line as it is.
 */
export function fieldsFor(credential: Credential, plan: InjectPlan): readonly Field[] {
  const { fields } = carrierFor({ credential, audience: [] }, plan);
  for (const [name, value] of fields) checkField(name, value);
  return fields;
}

/** @throws SidekeyError `policy_violation`: no credential may stand in a field line of that name, or that value in any */
export function checkField(name: string, value: string): void {
  if (!isFieldName(name) || isReservedFieldName(name)) {
    throw new SidekeyError(
      'policy_violation',
      'The credential of this grant would be carried in a field that is reserved or has no valid name.',
      {
        hint: 'name another field in the inject setting of the provider, or add the grant again with --replace',
      },
    );
  }
  if (!isFieldValue(value)) {
    throw new SidekeyError(
      'policy_violation',
      'The stored credential holds a byte that must not stand in a header field.',
      { hint: 'add the grant again with --replace' },
    );
  }
}
