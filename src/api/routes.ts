import type { AnyRoute } from './route.ts';
import { agentRoutes } from './routes/agents.ts';
import { approvalRoutes } from './routes/approvals.ts';
import { auditRoutes } from './routes/audit.ts';
import { connectRoutes } from './routes/connect-sessions.ts';
import { domainRoutes } from './routes/domains.ts';
import { grantRoutes } from './routes/grants.ts';
import { leaseRoutes } from './routes/leases.ts';
import { loginRoutes } from './routes/login.ts';
import { passkeyRoutes } from './routes/passkeys.ts';
import { peopleRoutes } from './routes/people.ts';
import { proposalRoutes } from './routes/proposals.ts';
import { systemRoutes } from './routes/system.ts';
import { tokenRoutes } from './routes/tokens.ts';

/**
 * All routes of the API, in the order of the OpenAPI document. A test compares them with the table of
 * commands: each command has a route, or a reason to have none.
 */
export const routes: readonly AnyRoute[] = [
  ...tokenRoutes,
  ...grantRoutes,
  ...connectRoutes,
  ...domainRoutes,
  ...agentRoutes,
  ...leaseRoutes,
  ...approvalRoutes,
  ...proposalRoutes,
  ...auditRoutes,
  ...systemRoutes,
  ...peopleRoutes,
  ...loginRoutes,
  ...passkeyRoutes,
];

/** Returns the route that reads the changed resource, for its ETag; undefined if there is none. */
export function readingOf({ path: of }: Pick<AnyRoute, 'path'>): AnyRoute | undefined {
  return routes.find(({ method, path }) => method === 'get' && path === of);
}
