/** Roles of API callers, and their scopes. */

/** All scopes. `tokens:read` and `tokens:refresh_token` return secrets: only a key that lists them has them. */
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

const everything = scopes.filter((scope) => !returnsSecrets(scope));

function returnsSecrets(scope: Scope): boolean {
  return scope === 'tokens:read' || scope === 'tokens:refresh_token';
}

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
  if (returnsSecrets(scope)) return role === 'operator' || role === 'user';
  return byRole[role].has(scope);
}
