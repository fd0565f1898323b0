import { createClient } from '@sidekey/client/node';
import { userOf } from '../../sign-in.ts';

/**
 * `GET /connect?provider=github`: sends the signed-in user to connect an account. A route handler as Next.js
 * has it.
 */
export async function GET(request: Request): Promise<Response> {
  const user = userOf(request);
  if (user === null) return new Response('Sign in first.', { status: 401 });
  const { searchParams, origin } = new URL(request.url);
  const session = await createClient().createConnectSession({
    provider: searchParams.get('provider') ?? '',
    user,
    return_url: `${origin}/connected`,
  });
  return new Response(null, { status: 303, headers: { location: session.connect_url } });
}
