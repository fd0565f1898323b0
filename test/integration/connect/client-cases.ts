import type { Deviation } from '../../support/registering-server.ts';

/** Deviations of client registrations, and what `sidekey connect URL --discover` does. */
export interface ClientCase {
  readonly name: string;
  readonly server: Deviation;
  /** More options of the command. `ISSUER` stands for the address of the server. */
  readonly args?: readonly string[];
  /** Address of the admin listener. */
  readonly adminUrl?: string;
  /** Members of the written provider; absent: the command fails. */
  readonly written?: Readonly<Record<string, unknown>>;
  /** Number of requests for a registration. */
  readonly registrations: number;
  /** Texts of standard error. */
  readonly says?: readonly string[];
}

const noPublic = { token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post'] };
const refuse = (error: string, status = 400) => ({ status, body: JSON.stringify({ error }) });
const documents = { client_id_metadata_document_supported: true };
const onlyDocuments = { ...documents, registration_endpoint: undefined };
const adminUrl = 'https://sidekey.acme.test';
const ownDocument = `${adminUrl}/oauth/client-metadata.json`;
const named = ['--client-metadata-url', 'https://apps.acme.test/sidekey.json'];
const byHand = '--client-id ID --client-secret env:NAME';

const answers: readonly ClientCase[] = [
  {
    name: 'as usual',
    server: {},
    written: { client_id: 'client-1', client_auth: 'none' },
    registrations: 1,
  },
  {
    name: '200 instead of 201',
    server: { register: () => ({ status: 200 }) },
    written: { client_id: 'client-1' },
    registrations: 1,
  },
  {
    name: 'a secret without client_secret_expires_at',
    server: { metadata: noPublic, register: () => ({ body: { client_secret_expires_at: undefined } }) },
    written: { client_id: 'client-1', client_auth: 'basic' },
    registrations: 1,
  },
  {
    name: 'a secret that ended before it was made',
    server: { metadata: noPublic, register: () => ({ body: { client_secret_expires_at: 1 } }) },
    written: { client_auth: 'basic' },
    registrations: 1,
  },
  {
    name: 'an expiry that is null',
    server: { metadata: noPublic, register: () => ({ body: { client_secret_expires_at: null } }) },
    written: { client_auth: 'basic' },
    registrations: 1,
  },
  {
    name: 'a number as client id',
    server: { register: () => ({ body: { client_id: 42 } }) },
    written: { client_id: '42' },
    registrations: 1,
  },
  {
    name: 'a byte order mark',
    server: { register: () => ({ body: '\uFEFF{"client_id":"marked"}' }) },
    written: { client_id: 'marked' },
    registrations: 1,
  },
  {
    name: 'client_secret_post instead of client_secret_basic',
    server: {
      metadata: noPublic,
      register: () => ({ body: { token_endpoint_auth_method: 'client_secret_post' } }),
    },
    written: { client_auth: 'post' },
    registrations: 1,
  },
  {
    name: 'a secret and no method for a public client',
    server: {
      register: () => ({
        body: { client_secret: 'a-secret-that-was-not-asked-for', token_endpoint_auth_method: undefined },
      }),
    },
    written: { client_auth: 'basic' },
    registrations: 1,
  },
  {
    name: 'a method that Sidekey has not',
    server: { register: () => ({ body: { token_endpoint_auth_method: 'tls_client_auth' } }) },
    registrations: 1,
    says: ['a way of client authentication that Sidekey has not', byHand],
  },
  {
    name: 'a method that is a member of every object',
    server: {
      register: () => ({
        body: { client_secret: 'a-secret-1234', token_endpoint_auth_method: 'constructor' },
      }),
    },
    registrations: 1,
    says: ['a way of client authentication that Sidekey has not', byHand],
  },
  {
    name: 'a page',
    server: { register: () => ({ status: 404, body: '<p>Not here</p>' }) },
    registrations: 1,
    says: ['HTTP 404', byHand],
  },
];

const refusals: readonly ClientCase[] = [
  {
    name: 'more than one redirect URI',
    server: {
      register: ({ redirect_uris: uris }) =>
        (uris as string[]).length > 1 ? refuse('invalid_client_metadata') : {},
    },
    written: { client_id: 'client-2' },
    registrations: 2,
  },
  {
    name: 'the scopes',
    server: {
      scopes: ['read'],
      register: ({ scope }) => (scope === undefined ? {} : refuse('invalid_client_metadata')),
    },
    written: { client_id: 'client-2', scopes: ['read'] },
    registrations: 2,
  },
  {
    name: '127.0.0.1',
    server: {
      register: ({ redirect_uris: uris }) =>
        (uris as string[]).some((uri) => uri.includes('127.0.0.1')) ? refuse('invalid_redirect_uri') : {},
    },
    written: { client_id: 'client-3', redirect_uri: 'http://localhost:8765/callback' },
    registrations: 3,
  },
  {
    name: 'every address of this machine',
    server: {
      register: ({ redirect_uris: uris }) =>
        (uris as string[]).every((uri) => uri.startsWith('https:')) ? {} : refuse('invalid_redirect_uri'),
    },
    registrations: 3,
    says: ['invalid_redirect_uri', '--redirect-uri URI'],
  },
  {
    name: 'every address of this machine, and one of another is named',
    args: ['--redirect-uri', 'https://acme.test/back'],
    server: {
      register: ({ redirect_uris: uris }) =>
        (uris as string[]).every((uri) => uri.startsWith('https:')) ? {} : refuse('invalid_redirect_uri'),
    },
    written: { redirect_uri: 'https://acme.test/back' },
    registrations: 1,
  },
  {
    name: 'clients without an initial access token',
    server: { register: () => refuse('invalid_token', 401) },
    registrations: 1,
    says: ['--registration-token env:NAME', byHand],
  },
  {
    name: 'clients without an initial access token, which is given',
    args: ['--registration-token', 'env:INITIAL'],
    server: {
      register: (_, sent) => (sent === 'Bearer initial-token-1234' ? {} : refuse('invalid_token', 401)),
    },
    written: { client_id: 'client-1' },
    registrations: 1,
  },
  {
    name: 'the initial access token, and repeats it',
    args: ['--registration-token', 'env:INITIAL'],
    server: {
      register: () => ({
        status: 403,
        body: JSON.stringify({ error: 'invalid_token', error_description: 'initial-token-1234 is used' }),
      }),
    },
    registrations: 1,
    says: ['[redacted] is used', 'check that the initial access token is valid'],
  },
  {
    name: 'too many registrations',
    server: { register: () => ({ status: 429, body: '{}' }) },
    registrations: 1,
    says: ['HTTP 429', 'try again later'],
  },
  {
    name: 'all clients, and takes documents',
    adminUrl,
    server: { metadata: documents, register: () => refuse('access_denied', 403) },
    written: { client_id: ownDocument, client_auth: 'none' },
    registrations: 1,
  },
];

const documentCases: readonly ClientCase[] = [
  {
    name: 'a named document, without a registration endpoint',
    args: named,
    server: { metadata: onlyDocuments },
    written: { client_id: named[1], client_auth: 'none' },
    registrations: 0,
    says: ['could not be read from this machine'],
  },
  {
    name: 'a named document, before a registration',
    args: named,
    server: { metadata: documents },
    written: { client_id: named[1] },
    registrations: 0,
  },
  {
    name: 'the document at admin.url, without a registration endpoint',
    adminUrl,
    server: { metadata: onlyDocuments },
    written: { client_id: ownDocument, client_auth: 'none' },
    registrations: 0,
    says: [ownDocument],
  },
  {
    name: 'a registration, before the document at admin.url',
    adminUrl,
    server: { metadata: documents },
    written: { client_id: 'client-1' },
    registrations: 1,
  },
  {
    name: 'a client by hand, before all others',
    adminUrl,
    args: ['--client-id', 'by-hand'],
    server: { metadata: documents },
    written: { client_id: 'by-hand' },
    registrations: 0,
  },
  {
    name: 'no address of a document',
    server: { metadata: onlyDocuments },
    registrations: 0,
    says: ['lets no client register itself', '--client-metadata-url URL', 'admin.url', byHand],
  },
  {
    name: 'admin.url without TLS',
    adminUrl: 'http://127.0.0.1:8378',
    server: { metadata: onlyDocuments },
    registrations: 0,
    says: ['--client-metadata-url URL'],
  },
  {
    name: 'neither documents nor registrations',
    adminUrl,
    server: { metadata: { registration_endpoint: undefined } },
    registrations: 0,
    says: ['lets no client register itself', 'http://127.0.0.1:8765/callback', byHand],
  },
  {
    name: 'a named document, and the server takes none',
    args: named,
    server: {},
    registrations: 0,
    says: ['takes no client ID metadata documents', `--client-id ${named[1]}`],
  },
  {
    name: 'a named document and a client by hand',
    args: [...named, '--client-id', 'by-hand'],
    server: { metadata: documents },
    registrations: 0,
    says: ['--client-id and --client-metadata-url do not go together'],
  },
  ...[
    {
      what: 'another client_id',
      body: { client_id: 'https://apps.acme.test/other' },
      fault: 'no document whose client_id is that address',
    },
    {
      what: 'no redirect URI of this machine',
      body: { redirect_uris: ['https://acme.test/back'] },
      fault: 'redirect_uris lack',
    },
    { what: 'a secret', body: { token_endpoint_auth_method: 'client_secret_basic' }, fault: 'is not none' },
  ].map(({ what, body, fault }) => ({
    name: `a document with ${what}`,
    args: ['--client-metadata-url', 'ISSUER/sidekey.json'],
    server: { metadata: documents, documents: { '/sidekey.json': { body } } },
    registrations: 0,
    says: [fault],
  })),
  ...[
    'http://apps.acme.test/client.json',
    'https://apps.acme.test',
    'https://apps.acme.test/a/../client.json',
    'https://a@apps.acme.test/c',
    'https://apps.acme.test/c#d',
  ].map((address) => ({
    name: `a document at ${address}`,
    args: ['--client-metadata-url', address],
    server: { metadata: documents },
    registrations: 0,
    says: ['--client-metadata-url is not an https address'],
  })),
  {
    name: 'a document that is not there',
    args: ['--client-metadata-url', 'ISSUER/sidekey.json'],
    server: { metadata: documents },
    registrations: 0,
    says: ['answers HTTP 404'],
  },
  {
    name: 'a document with any port of this machine',
    args: ['--client-metadata-url', 'ISSUER/sidekey.json'],
    server: {
      metadata: documents,
      documents: { '/sidekey.json': { body: { redirect_uris: ['http://127.0.0.1/callback'] } } },
    },
    written: { client_auth: 'none' },
    registrations: 0,
  },
];

export const cases = {
  'a registration answers': answers,
  'a server refuses': refusals,
  'a client is': documentCases,
};
