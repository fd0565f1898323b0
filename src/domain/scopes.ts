/** Roles of API callers, and their scopes. */

/** All scopes. */
export const scopes = [
  'grants:read',
  'grants:write',
  'tokens:read',
  'tokens:refresh_token',
  'tokens:write',
  'access:read',
  'access:write',
  'approvals:read',
  'approvals:write',
  'audit:read',
  'config:read',
  'config:write',
  'requests:send',
  'status:read',
] as const;

export type Scope = (typeof scopes)[number];

export const roles = ['operator', 'approver', 'auditor', 'user'] as const;

/** `user` may access only what belongs to the caller's user. */
export type Role = (typeof roles)[number];

/** Scopes that return secrets: no role has them, only a key that lists them. */
const secretScopes: ReadonlySet<Scope> = new Set(['tokens:read', 'tokens:refresh_token']);

const everything = scopes.filter((scope) => !secretScopes.has(scope));

const byRole: Readonly<Record<Role, ReadonlySet<Scope>>> = {
  operator: new Set(everything),
  approver: new Set<Scope>(['approvals:read', 'approvals:write', 'status:read']),
  auditor: new Set(everything.filter((scope) => scope.endsWith(':read'))),
  user: new Set<Scope>(['grants:read', 'grants:write', 'tokens:write', 'audit:read']),
};

export function scopesOf(role: Role): ReadonlySet<Scope> {
  return byRole[role];
}

/** Reports whether a key with this role, or of a person with it, may have the scope. */
export function mayHave(role: Role, scope: Scope): boolean {
  if (secretScopes.has(scope)) return role === 'operator' || role === 'user';
  return byRole[role].has(scope);
}
