/** What the errors of Auth0's token endpoint say of a login there. Pure. */

/** The last three are those of OpenID Connect Core §3.1.2.6. */
const ended = new Set([
  'invalid_grant',
  'expired_token',
  'interaction_required',
  'login_required',
  'consent_required',
]);

/** Whether the refresh token of the login is of no use any more: a new login is needed. */
export function loginHasEnded(error: string): boolean {
  return ended.has(error);
}
