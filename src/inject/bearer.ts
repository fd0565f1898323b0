import type { Field } from './field.ts';

/** RFC 6750 §2.1. */
export function bearerField(token: string): Field {
  return ['Authorization', `Bearer ${token}`];
}
