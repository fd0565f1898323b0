/** Roles of callers of the API, and the scopes that each has. */

/** All scopes. `tokens:read` returns secrets: no role has it, and a key has it only where it lists it. */
export const scopes = [
  'grants:read',
  'grants:write',
  'tokens:read',
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

/** `user` may touch only what belongs to the user of the caller. */
export type Role = (typeof roles)[number];

const everything = scopes.filter((scope) => scope !== 'tokens:read');

const byRole: Readonly<Record<Role, ReadonlySet<Scope>>> = {
  operator: new Set(everything),
  approver: new Set<Scope>(['approvals:read', 'approvals:write', 'status:read']),
  auditor: new Set(everything.filter((scope) => scope.endsWith(':read'))),
  user: new Set<Scope>(['grants:read', 'grants:write', 'tokens:write', 'audit:read']),
};

/** Returns the scopes of a role. */
export function scopesOf(role: Role): ReadonlySet<Scope> {
  return byRole[role];
}
