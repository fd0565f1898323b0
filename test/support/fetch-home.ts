import { readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AuditLine } from '../../src/domain/event.ts';
import { home, type Home } from './command-line.ts';
import { startUpstream, upstreamCa, upstreamHost, type Upstream } from './upstream.ts';

/** A home with an upstream in its config, and the grant `desk` for it. */
export interface FetchHome {
  readonly at: Home;
  readonly upstream: Upstream;
  /** The audit events so far. */
  readonly audit: () => Promise<readonly AuditLine[]>;
}

/** The credential of the grant `desk`. */
export const deskToken = 'token-of-the-desk-0123456789';

export async function fetchHome(
  listener: (request: IncomingMessage, response: ServerResponse) => unknown,
  {
    proxy = {},
    domain = {},
    domains = {},
  }: { readonly proxy?: object; readonly domain?: object; readonly domains?: object } = {},
): Promise<FetchHome> {
  const upstream = await startUpstream((request, response) => void listener(request, response));
  const at = await home({
    proxy: { listen: '127.0.0.1:0', ...proxy },
    admin: { listen: '127.0.0.1:0' },
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1', 'other.acme.test': '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { [upstream.authority]: { grant: 'desk', ...domain }, ...domains },
  });
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  const args = ['--provider', 'acme', '--audience', upstream.authority];
  await at.grant('desk', { type: 'api_key', value: deskToken }, args);
  return {
    at,
    upstream,
    audit: async () =>
      (await readFile(at.at('data', 'audit.jsonl'), 'utf8'))
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as AuditLine),
  };
}
