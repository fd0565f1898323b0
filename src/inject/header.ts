import type { Field } from './field.ts';

/** A field of the provider's own, such as `X-Api-Key: VALUE` or `Authorization: token VALUE`. */
export function headerField(name: string, prefix: string, value: string): Field {
  return [name, `${prefix}${value}`];
}
