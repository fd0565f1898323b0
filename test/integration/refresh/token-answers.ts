import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';

/**
 * Responses to a refresh with `refresh-1` that differ from RFC 6749 §5.1, and what the grant has afterwards.
 * Most were seen: the note names the server, or the thread of a client that had to cope with it.
 */
export interface TokenAnswer {
  readonly name: string;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
  /** True: the connection is reset after the body, which was announced as longer. */
  readonly isCut?: boolean;
  /** Tokens in the store. */
  readonly stored: { readonly access: string; readonly refresh: string; readonly lifeS?: number | null };
  /** Absent: a usable token. Otherwise the refusal: parts of its reason and of its hint. */
  readonly refused?: { readonly reason: string; readonly hint: string };
}

const tokens = {
  access_token: 'access-2',
  refresh_token: 'refresh-2',
  token_type: 'Bearer',
  expires_in: 3600,
};
const json = JSON.stringify(tokens);
const rotated = { access: 'access-2', refresh: 'refresh-2', lifeS: 3600 };
/** The new refresh token is stored, and the access token that cannot be used is not. */
const halfRotated = { access: 'access-1', refresh: 'refresh-2' };
const unchanged = { access: 'access-1', refresh: 'refresh-1' };
const typed = (charset: string) => ({ 'content-type': `application/json; charset=${charset}` });
const change = (over: object) => JSON.stringify({ ...tokens, ...over });
const utf16 = (text: string) => Buffer.from(text, 'utf16le');
const utf32 = (text: string) => Buffer.from([...Buffer.from(text)].flatMap((byte) => [byte, 0, 0, 0]));
const accepts = (type: string) => ({
  reason: `token of the type ${type}`,
  hint: `add "${type}" to providers.acme.dialect.token_response.token_types: sidekey config edit`,
});

const encodings: readonly TokenAnswer[] = [
  { name: 'a byte order mark', body: `\ufeff${json}` },
  { name: 'UTF-16, with a byte order mark', body: Buffer.concat([Buffer.from([0xff, 0xfe]), utf16(json)]) },
  {
    name: 'UTF-16 in the other byte order',
    body: Buffer.concat([Buffer.from([0xfe, 0xff]), utf16(json).swap16()]),
  },
  { name: 'UTF-16, declared', headers: typed('utf-16'), body: utf16(json) },
  { name: 'UTF-16BE, declared', headers: typed('"UTF-16BE"'), body: utf16(json).swap16() },
  { name: 'UTF-16, not declared', body: utf16(json) },
  { name: 'UTF-32', headers: typed('utf-32'), body: utf32(json) },
  { name: 'UTF-16 declared for UTF-8', headers: typed('utf-16'), body: json },
  {
    name: 'Latin 1',
    headers: typed('ISO-8859-1'),
    body: Buffer.from(change({ name: 'J\u00f6rg' }), 'latin1'),
  },
  { name: 'bytes that are no UTF-8', body: Buffer.from(change({ name: 'J\u00f6rg' }), 'latin1') },
  { name: 'an unknown charset', headers: typed('x-none'), body: json },
  { name: 'gzip', headers: { 'content-encoding': 'gzip' }, body: gzipSync(json) },
  { name: 'br', headers: { 'content-encoding': 'br' }, body: brotliCompressSync(json) },
  { name: 'deflate', headers: { 'content-encoding': 'deflate' }, body: deflateSync(json) },
  // modelcontextprotocol/typescript-sdk#2408
  { name: 'gzip without Content-Encoding', body: gzipSync(json) },
  { name: 'a charset as Content-Encoding', headers: { 'content-encoding': 'UTF-8' }, body: json },
  // teiid, kanidm#4470, django-oauth-toolkit#80
  { name: 'HTML as content type', headers: { 'content-type': 'text/html' }, body: json },
  {
    name: 'JSON declared as a form',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: json,
  },
  {
    name: 'a form declared as JSON',
    body: new URLSearchParams({ ...tokens, expires_in: '3600' }).toString(),
  },
  { name: 'a response of 200 KiB', body: change({ groups: 'g'.repeat(200_000) }) },
  { name: 'a connection that breaks after the object', isCut: true, body: json },
].map((row) => ({ ...row, stored: rotated }));

const envelopes: readonly TokenAnswer[] = [
  { name: 'whitespace', body: `\r\n\t ${json}\n\n` },
  { name: 'a list of one', body: `[${json}]` },
  { name: 'an object in a string', body: JSON.stringify(json) },
  { name: 'a callback', body: `callback( ${json} );` },
  { name: 'a prefix against script inclusion', body: `)]}',\n${json}` },
  { name: 'a warning of PHP', body: `<br />\n<b>Warning</b>: Undefined index\n${json}` },
  // Supabase, Harvest, Ostrom
  { name: 'status 201', status: 201, body: json },
  { name: 'status 203', status: 203, body: json },
  { name: 'an empty error', body: change({ error: '' }) },
].map((row) => ({ ...row, stored: rotated }));

const types: readonly TokenAnswer[] = [
  // Apigee, Azure DevOps
  'BearerToken',
  'jwt-bearer',
  'Bearer ',
  'bearer_token',
  'Bearer Token',
  'access_token',
  'urn:ietf:params:oauth:token-type:access_token',
  ['Bearer'],
  '',
  null,
].map((token_type) => ({
  name: `the token type ${JSON.stringify(token_type)}`,
  body: change({ token_type }),
  stored: rotated,
}));

const lives: readonly TokenAnswer[] = (
  [
    ['3600', 3600],
    [' 3600 ', 3600],
    [3599.5, 3599.5],
    ['1h', null],
    [0, null],
    [0.2, null],
    [-1, null],
    [1e15, null],
    [null, null],
    [[3600], null],
    [{ seconds: 3600 }, null],
  ] as const
).map(([expires_in, lifeS]) => ({
  name: `the lifetime ${JSON.stringify(expires_in)}`,
  body: change({ expires_in }),
  stored: { ...rotated, lifeS },
}));

/** Responses without a new refresh token: the old one stays. */
const noRefreshToken: readonly TokenAnswer[] = [undefined, null, '', ' ', false, 0, {}, []].map(
  (refresh_token) => ({
    name: `the refresh token ${JSON.stringify(refresh_token) ?? 'absent'}`,
    body: change({ refresh_token }),
    stored: { ...rotated, refresh: 'refresh-1' },
  }),
);

const unusual: readonly TokenAnswer[] = [
  { name: 'a line break after the tokens', body: change({ access_token: 'access-2\n' }), stored: rotated },
  {
    name: 'tokens as numbers',
    body: change({ access_token: 12, refresh_token: 34 }),
    stored: { ...rotated, access: '12', refresh: '34' },
  },
  {
    name: 'a refresh token that no field could carry',
    body: change({ refresh_token: 'r\u00e9 2\t' }),
    stored: { ...rotated, refresh: 'r\u00e9 2\t' },
  },
  {
    name: 'a member twice',
    body: '{"access_token":"access-0","access_token":"access-2","refresh_token":"refresh-2","expires_in":3600}',
    stored: rotated,
  },
  {
    name: 'only an access token',
    body: '{"access_token":"access-2"}',
    stored: { ...rotated, refresh: 'refresh-1', lifeS: null },
  },
  {
    name: 'the same access token, with a new lifetime',
    body: change({ access_token: 'access-1', refresh_token: 'refresh-1' }),
    stored: { ...unchanged, lifeS: 3600 },
  },
  {
    name: 'a list of scopes, and an ID token that is none',
    body: change({ scope: ['a', 1], id_token: 7 }),
    stored: rotated,
  },
];

const refused: readonly TokenAnswer[] = [
  ...['mac', 'DPoP', 'JWT', 'N_A'].map((token_type) => ({
    name: `the token type ${token_type}`,
    body: change({ token_type }),
    stored: halfRotated,
    refused: accepts(token_type),
  })),
  {
    name: 'a number as token type',
    body: change({ token_type: 7 }),
    stored: halfRotated,
    refused: accepts('number'),
  },
  ...(
    [
      ['not a line of visible ASCII', 'a\nb', 'tell the operator of the provider'],
      ['not a line of visible ASCII', 'a\u00e9', 'tell the operator of the provider'],
      ['no access token', null, 'providers.acme.dialect.token_response.access_token'],
      ['no access token', { value: 'access-2' }, 'providers.acme.dialect.token_response.access_token'],
    ] as const
  ).map(([reason, access_token, hint]) => ({
    name: `the access token ${JSON.stringify(access_token)}`,
    body: change({ access_token }),
    stored: halfRotated,
    refused: { reason, hint },
  })),
  {
    name: 'a response over 1 MiB',
    body: change({ pad: 'p'.repeat(1_100_000) }),
    stored: unchanged,
    refused: { reason: 'larger than 1 MiB', hint: 'token_endpoint' },
  },
];

export const tokenAnswers: readonly TokenAnswer[] = [
  ...encodings,
  ...envelopes,
  ...types,
  ...lives,
  ...noRefreshToken,
  ...unusual,
  ...refused,
];
