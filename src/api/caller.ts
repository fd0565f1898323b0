import { SidekeyError } from '../lib/errors.ts';
import type { ServiceParts } from './parts.ts';
import type { Role, Scope } from './scopes.ts';

/** The authenticated caller of a request to the API. */
export interface Caller {
  /** Name of the key or the person: `by` of audit events. */
  readonly name: string;
  readonly role: Role;
  readonly scopes: ReadonlySet<Scope>;
  /** The only user whose grants it may touch; null: all users. */
  readonly user: string | null;
  /** Address and port of the client. */
  readonly address: string;
}

/** Returns the function that authenticates requests. */
export function authenticator(_parts: Pick<ServiceParts, 'store' | 'now'>) {
  return async (_headers: Headers, _address: string): Promise<Caller> => {
    throw new SidekeyError('api_auth_required');
  };
}
