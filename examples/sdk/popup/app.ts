import type { Client } from '@sidekey/client';

/** A page with a button that connects an account in a popup, and its server. */

const page = (sidekey: string) => `<!doctype html>
<html lang="en">
  <meta charset="utf-8" />
  <title>Tickets</title>
  <h1>Tickets</h1>
  <button id="connect">Connect Acme</button>
  <p role="status"></p>
  <script type="module">
    import { connect } from '${sidekey}/connect.js';

    const status = document.querySelector('[role=status]');
    const post = async (path, body) => (await fetch(path, { method: 'POST', body: JSON.stringify(body) })).json();
    // Before the click, since browsers open a popup only at once.
    const { sessionToken } = await post('/connect-session', {});
    document.querySelector('#connect').onclick = () =>
      connect({
        sessionToken,
        baseUrl: '${sidekey}',
        onSuccess: async ({ session }) => {
          const { sentence } = await post('/connected', { session });
          status.textContent = sentence;
        },
        onError: ({ detail }) => (status.textContent = detail),
        onExit: () => (status.textContent = 'The window was closed.'),
      });
    status.textContent = 'Not connected yet.';
  </script>
</html>`;

/**
 * Returns the handler of requests, for `Bun.serve`, `Deno.serve` or Hono.
 *
 * @param sidekey address of Sidekey, as browsers see it
 */
export function createPopupApp(client: Client, sidekey: string): (request: Request) => Promise<Response> {
  // The user who is signed in: the application knows.
  const user = 'alice';
  return async (request) => {
    const { pathname, origin } = new URL(request.url);
    switch (`${request.method} ${pathname}`) {
      case 'GET /':
        return new Response(page(sidekey), { headers: { 'content-type': 'text/html; charset=utf-8' } });
      case 'POST /connect-session': {
        const created = await client.createConnectSession({ provider: 'acme', user, popup_origin: origin });
        return Response.json({ sessionToken: created.session_token });
      }
      case 'POST /connected': {
        const { session: id } = (await request.json()) as { readonly session: string };
        const session = await client.getConnectSession({ id });
        const isConnected = session.user === user && session.status === 'connected';
        return Response.json({ sentence: isConnected ? 'Acme is connected.' : 'It did not work.' });
      }
      default:
        return new Response(null, { status: 404 });
    }
  };
}
