import { createClient } from '@sidekey/client/node';
import { userOf } from '../../sign-in.ts';

/**
 * `GET /connected?session=…`: the user is back. Sidekey is asked for the result, since a person can change an
 * address.
 */
export async function GET(request: Request): Promise<Response> {
  const user = userOf(request);
  if (user === null) return new Response('Sign in first.', { status: 401 });
  const id = new URL(request.url).searchParams.get('session') ?? '';
  const session = await createClient().getConnectSession({ id });
  if (session.user !== user) return new Response('This session is of somebody else.', { status: 403 });
  if (session.grant_id === undefined) {
    return new Response(session.error?.detail ?? `The session is ${session.status}.`, { status: 409 });
  }
  return new Response(`Connected: the grant ${session.grant_id}.`);
}
