import { type DocumentIo, jsonObject } from '../../grants/oauth/http.ts';
import { inputInvalid, type SidekeyError } from '../../lib/errors.ts';
import { readBounded } from '../../lib/body.ts';
import { describeFault } from '../../grants/oauth/description.ts';
import { isLoopback } from '../../proxy/policy/authority.ts';
import { defaultPort, redirectTarget, writtenRedirectUri } from './redirect.ts';

/**
 * Client ID metadata documents (draft-ietf-oauth-client-id-metadata-document): the client ID is the https
 * address of a document that describes the client, which the authorization server reads.
 */

/** Milliseconds to wait for a document of another server. */
const patienceMs = 10_000;

/** Path of the document that the admin listener serves. */
export const clientDocumentPath = '/oauth/client-metadata.json';

/** Returns the document of Sidekey at `admin.url`; null: the address is not https. */
export function clientDocument(url: string) {
  if (!url.startsWith('https:')) return null;
  const loopback = ['127.0.0.1', '[::1]', 'localhost'].flatMap((host) =>
    // With and without the port: some servers compare it, others (RFC 8252 §7.3) do not.
    ['', `:${defaultPort}`].map((port) => `http://${host}${port}/callback`),
  );
  return {
    client_id: `${url}${clientDocumentPath}`,
    client_name: 'Sidekey',
    application_type: 'native',
    redirect_uris: [...loopback, `${url}/connect/callback`],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  };
}

/**
 * Reads the document of `--client-metadata-url` as the authorization server will, and checks that it
 * describes a client that Sidekey can be.
 *
 * @returns why the document cannot be read from this machine; null: it is valid
 * @throws SidekeyError `input_invalid`
 */
export async function checkDocument(
  address: string,
  redirect: Parameters<typeof redirectTarget>[0],
  { fetch }: DocumentIo,
): Promise<string | null> {
  const url = /^https:[\x21-\x7e]+$/.test(address) ? URL.parse(address) : null;
  const isPlain = url?.username === '' && url.password === '' && !address.includes('#');
  // Servers compare the address as a text.
  if (!isPlain || url.href !== address || url.pathname === '/')
    throw documentInvalid('is not an https address with a path, in its normal form');
  const signal = AbortSignal.timeout(patienceMs);
  const answer = await fetch(address, { method: 'GET', headers: {}, redirect: 'manual', signal })
    .then(async ({ status, body }) => ({ status, bytes: await readBounded(body, 65_536) }))
    .catch(describeFault);
  if (typeof answer === 'string') return answer;
  if (answer.status !== 200) throw documentInvalid(`answers HTTP ${answer.status}`);
  const document = jsonObject(answer.bytes?.toString('utf8') ?? '') ?? {};
  const { client_id: id, redirect_uris: uris, token_endpoint_auth_method: method = 'none' } = document;
  if (id !== address) throw documentInvalid('has no document whose client_id is that address');
  if (method !== 'none') throw documentInvalid('has a document whose token_endpoint_auth_method is not none');
  const redirectUri = writtenRedirectUri(redirectTarget(redirect));
  if (!Array.isArray(uris) || !uris.some((uri) => covers(uri, redirectUri)))
    throw documentInvalid(`has a document whose redirect_uris lack ${redirectUri}`);
  return null;
}

/** Reports whether a registered redirect URI allows another: any port of loopback (RFC 8252 §7.3). */
export function covers(registered: unknown, uri: string): boolean {
  if (registered === uri) return true;
  const [one, other] = [URL.parse(String(registered)), new URL(uri)];
  if (one?.protocol !== 'http:' || !isLoopback(one.hostname)) return false;
  one.port = other.port;
  return one.href === other.href;
}

function documentInvalid(problem: string): SidekeyError {
  return inputInvalid(
    `--client-metadata-url ${problem}.`,
    'the document has client_id (its own address), redirect_uris (http://127.0.0.1/callback) and token_endpoint_auth_method: none',
  );
}
