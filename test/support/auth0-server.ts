import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  accountJson,
  browse,
  challengeOf,
  check,
  errorResponse,
  Fault,
  redirect,
  sameSet,
  send,
} from './auth0-answers.ts';
import { requestBody } from './request-body.ts';
import { startUpstream } from './upstream.ts';

/** An account that a user has connected, as the server stores it. */
export interface ServedAccount {
  readonly id: string;
  readonly connection: string;
  readonly scopes: readonly string[];
  /** The value of `login_hint` that names it. */
  readonly hint: string;
}

/** Failures that a test can cause, once each. */
export type Step =
  'login' | 'account_token' | 'exchange' | 'accounts' | 'connections' | 'connect' | 'complete' | 'delete';

/** A response in the place of the right one. */
export interface Refusal {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An Auth0 tenant with one user and one client: a real HTTPS server that refuses every wrong parameter. */
export interface Auth0Server {
  /** `https://api.acme.test:PORT` */
  readonly url: string;
  readonly authority: string;
  readonly tokenEndpoint: string;
  readonly client: { readonly clientId: string; readonly clientSecret: string };
  /** The names of the calls that it received, in order: `exchange`, `POST connect` … */
  readonly calls: string[];
  /** The problems of the calls. */
  readonly faults: string[];
  /** Bodies of the calls of the My Account API, and forms of those of the token endpoint. */
  readonly bodies: Record<string, unknown>[];
  readonly accounts: ServedAccount[];
  /** The valid refresh token. */
  readonly refreshToken: () => string;
  /** Revokes the refresh token. */
  readonly endLogin: () => void;
  /** Sets the responses to the next such calls, one each. */
  readonly refuse: (step: Step, ...refusals: readonly Refusal[]) => void;
  /** The user's answer at the next consent; default: approves. */
  readonly deny: () => void;
  /** Requested scopes that the provider of the account does not grant. */
  readonly withhold: (...scopes: readonly string[]) => void;
  /** Opens a URL of this server as a browser does: the redirect target, or the page. */
  readonly browse: (url: string) => Promise<{ readonly location: string | null; readonly page: string }>;
}

/** The settings of the tenant. */
export interface Auth0Options {
  /** The client authentication; default: the form. */
  readonly auth?: 'post' | 'basic';
  /** True when refresh tokens rotate. Token Vault requires that they do not. */
  readonly rotates?: boolean;
  /** Scopes of the My Account API that the client may have; default: all requested ones. */
  readonly allowed?: readonly string[];
  readonly accounts?: readonly ServedAccount[];
  /** Maximum number of accounts on a page of the list. */
  readonly pageSize?: number;
  /** Lifetime of the token of an account, in seconds. */
  readonly lifetimeS?: number;
  /** Called after a refresh token was rotated, before the response is sent. */
  readonly onRotation?: () => Promise<void>;
}

const clientId = 'auth0-client';
const clientSecret = 'auth0-client-secret+/=';
const exchangeGrant = 'urn:auth0:params:oauth:grant-type:token-exchange:federated-connection-access-token';
const accountScopes = [
  'create:me:connected_accounts',
  'delete:me:connected_accounts',
  'read:me:connected_accounts',
];

interface Pending {
  readonly connection: string;
  readonly redirectUri: string;
  readonly state: string;
  readonly scopes: readonly string[];
  readonly challenge: string;
  readonly authSession: string;
  code: string | null;
}

/** Starts the server; closed when the test ends. */
export async function startAuth0(options: Auth0Options = {}): Promise<Auth0Server> {
  const calls: string[] = [];
  const faults: string[] = [];
  const bodies: Record<string, unknown>[] = [];
  const accounts: ServedAccount[] = [...(options.accounts ?? [])];
  const refusals = new Map<Step, Refusal[]>();
  const accountTokens = new Map<string, readonly string[]>();
  const logins = new Map<string, { redirectUri: string; challenge: string; scope: string }>();
  const tickets = new Map<string, Pending>();
  const sessions = new Map<string, Pending>();
  let issued = 1;
  let loginIsGood = true;
  let denies = false;
  let withheld: readonly string[] = [];
  const refreshToken = () => `auth0-refresh-${issued}`;

  const upstream = await startUpstream((request, response) => {
    handle(request, response).catch((error: unknown) => {
      faults.push(String(error));
      response.writeHead(500).end();
    });
  });
  const audience = `${upstream.url}/me/`;

  function refused(step: Step, response: ServerResponse): boolean {
    const refusal = refusals.get(step)?.shift();
    if (refusal === undefined) return false;
    send(response, refusal.status, refusal.body, refusal.headers);
    return true;
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', upstream.url);
    const body = await requestBody(request);
    try {
      if (url.pathname === '/oauth/token') return await token(request, response, body);
      if (url.pathname === '/.well-known/openid-configuration') {
        const issuer = `https://${request.headers.host}/`;
        return send(response, 200, { issuer, token_endpoint: `${issuer}oauth/token` });
      }
      if (url.pathname === '/userinfo') return send(response, 200, { email: 'alice@acme.test' });
      if (url.pathname === '/authorize') return login(url, response);
      if (url.pathname === '/connect') return consent(url, response);
      if (url.pathname.startsWith('/me/')) return api(request, response, url, body);
      throw new Fault('not_found', `there is nothing at ${request.method} ${url.pathname}`, 404);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      faults.push(error.message);
      send(response, error.status, { error: error.error, error_description: error.message });
    }
  }

  async function token(request: IncomingMessage, response: ServerResponse, body: string): Promise<void> {
    check(request.method === 'POST', 'the token endpoint is asked with POST');
    check(
      /^application\/x-www-form-urlencoded(;\s*charset=UTF-8)?$/i.test(request.headers['content-type'] ?? ''),
      'the parameters of a token request are a form',
    );
    const form = new URLSearchParams(body);
    check(new Set(form.keys()).size === [...form.keys()].length, 'a parameter stands there twice');
    bodies.push(Object.fromEntries(form));
    const names = authenticated(request, form);
    const grantType = form.get('grant_type') ?? '';
    switch (grantType) {
      case 'authorization_code':
        calls.push('login');
        check(
          sameSet(names, ['grant_type', 'code', 'redirect_uri', 'code_verifier']),
          `login: parameters ${names.join(' ')}`,
        );
        return refused('login', response) ? undefined : loggedIn(form, response);
      case 'refresh_token': {
        const forAccounts = form.has('audience');
        calls.push(forAccounts ? 'account_token' : 'refresh');
        check(
          sameSet(names, ['grant_type', 'refresh_token', ...(forAccounts ? ['audience', 'scope'] : [])]),
          `refresh: parameters ${names.join(' ')}`,
        );
        if (forAccounts && refused('account_token', response)) return undefined;
        return await refreshed(form, forAccounts, response);
      }
      case exchangeGrant:
        calls.push('exchange');
        check(
          sameSet(
            names.filter((name) => name !== 'login_hint'),
            ['grant_type', 'subject_token', 'subject_token_type', 'requested_token_type', 'connection'],
          ),
          `exchange: parameters ${names.join(' ')}`,
        );
        return refused('exchange', response) ? undefined : exchanged(form, response);
      default:
        throw new Fault('unsupported_grant_type', `grant_type ${grantType}`);
    }
  }

  /** The names of the other parameters. */
  function authenticated(request: IncomingMessage, form: URLSearchParams): string[] {
    const basic = `Basic ${Buffer.from([clientId, encodeURIComponent(clientSecret)].join(':')).toString('base64')}`;
    const asBasic = request.headers.authorization === basic && !form.has('client_secret');
    const asPost =
      request.headers.authorization === undefined &&
      form.get('client_id') === clientId &&
      form.get('client_secret') === clientSecret;
    if (!(options.auth === 'basic' ? asBasic : asPost)) {
      throw new Fault('invalid_client', 'the client did not authenticate as it has to', 401);
    }
    return [...form.keys()].filter((name) => name !== 'client_id' && name !== 'client_secret');
  }

  function loggedIn(form: URLSearchParams, response: ServerResponse): void {
    const pending = logins.get(form.get('code') ?? '');
    logins.delete(form.get('code') ?? '');
    if (pending === undefined) throw new Fault('invalid_grant', 'login: the code is unknown', 403);
    check(form.get('redirect_uri') === pending.redirectUri, 'login: another redirect_uri');
    check(challengeOf(form.get('code_verifier') ?? '') === pending.challenge, 'login: a wrong code_verifier');
    loginIsGood = true;
    send(response, 200, {
      access_token: `auth0-access-${issued}`,
      refresh_token: refreshToken(),
      token_type: 'Bearer',
      expires_in: 86_400,
      scope: pending.scope,
    });
  }

  async function refreshed(
    form: URLSearchParams,
    forAccounts: boolean,
    response: ServerResponse,
  ): Promise<void> {
    known(form.get('refresh_token'));
    let scopes: readonly string[] = ['openid', 'offline_access'];
    if (forAccounts) {
      check(form.get('audience') === audience, `account_token: audience ${form.get('audience') ?? ''}`);
      const asked = (form.get('scope') ?? '').split(' ');
      check(sameSet(asked, accountScopes), `account_token: scope ${asked.join(' ')}`);
      scopes = options.allowed ?? asked;
    }
    const accessToken = `my-account-${randomBytes(8).toString('hex')}`;
    accountTokens.set(accessToken, scopes);
    if (options.rotates === true) issued += 1;
    const rotated = options.rotates === true ? { refresh_token: refreshToken() } : {};
    if (options.rotates === true) await options.onRotation?.();
    send(response, 200, {
      access_token: accessToken,
      ...rotated,
      token_type: 'Bearer',
      expires_in: 86_400,
      scope: scopes.join(' '),
    });
  }

  function known(given: string | null): void {
    if (!loginIsGood || given !== refreshToken()) {
      throw new Fault('invalid_grant', 'Unknown or invalid refresh token.', 403);
    }
  }

  function exchanged(form: URLSearchParams, response: ServerResponse): void {
    check(
      form.get('subject_token_type') === 'urn:ietf:params:oauth:token-type:refresh_token',
      'exchange: subject_token_type',
    );
    check(
      form.get('requested_token_type') ===
        'http://auth0.com/oauth/token-type/federated-connection-access-token',
      'exchange: requested_token_type',
    );
    known(form.get('subject_token'));
    const hint = form.get('login_hint');
    const account = accounts.findLast(
      ({ connection, hint: own }) => connection === form.get('connection') && (hint === null || hint === own),
    );
    if (account === undefined) {
      send(response, 401, { error: 'access_denied', error_description: 'No connected account was found.' });
      return;
    }
    send(response, 200, {
      access_token: `token-of-${account.id}`,
      scope: account.scopes.join(' '),
      expires_in: options.lifetimeS ?? 1_377,
      issued_token_type: 'http://auth0.com/oauth/token-type/federated-connection-access-token',
      token_type: 'Bearer',
    });
  }

  function login(url: URL, response: ServerResponse): void {
    const query = url.searchParams;
    check(query.get('response_type') === 'code', 'authorize: response_type');
    check(query.get('client_id') === clientId, 'authorize: client_id');
    check((query.get('scope') ?? '').split(' ').includes('offline_access'), 'authorize: offline_access');
    check(query.get('code_challenge_method') === 'S256', 'authorize: code_challenge_method');
    check((query.get('state') ?? '').length >= 32, 'authorize: state');
    const code = randomBytes(16).toString('hex');
    logins.set(code, {
      redirectUri: query.get('redirect_uri') ?? '',
      challenge: query.get('code_challenge') ?? '',
      scope: query.get('scope') ?? '',
    });
    redirect(response, query.get('redirect_uri') ?? '', { code, state: query.get('state') ?? '' });
  }

  function api(request: IncomingMessage, response: ServerResponse, url: URL, body: string): void {
    const path = url.pathname.replace('/me/v1/connected-accounts/', '');
    const [, accessToken = ''] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? [];
    const scopes = accountTokens.get(accessToken);
    const need = (scope: string): boolean => {
      if (scopes?.includes(`${scope}:me:connected_accounts`) === true) return true;
      const status = scopes === undefined ? 401 : 403;
      faults.push(`api: ${request.method} ${path} without ${scope}`);
      send(response, status, errorResponse(status, 'Insufficient scope.'));
      return false;
    };
    calls.push(`${request.method} ${path}`);
    if (request.method === 'POST') {
      check(request.headers['content-type'] === 'application/json', `api: ${path} is JSON`);
      const json = JSON.parse(body) as Record<string, unknown>;
      bodies.push(json);
      if (!need('create')) return;
      if (path === 'connect') return refused('connect', response) ? undefined : connect(json, response);
      if (path === 'complete') return refused('complete', response) ? undefined : complete(json, response);
    }
    check(body === '', `api: ${request.method} has no body`);
    if (request.method === 'GET' && (path === 'accounts' || path === 'connections')) {
      if (!need('read') || refused(path, response)) return;
      return list(path, url, response);
    }
    if (request.method === 'DELETE' && /^accounts\/cac_[A-Za-z0-9]+$/.test(path)) {
      if (!need('delete') || refused('delete', response)) return;
      const at = accounts.findIndex(({ id }) => `accounts/${id}` === path);
      if (at >= 0) accounts.splice(at, 1);
      return send(response, at >= 0 ? 204 : 404, at >= 0 ? '' : errorResponse(404, 'Not found.'));
    }
    throw new Fault('not_found', `api: ${request.method} ${path}`, 404);
  }

  function list(what: 'accounts' | 'connections', url: URL, response: ServerResponse): void {
    const query = url.searchParams;
    const allowed = what === 'accounts' ? ['connection', 'from', 'take'] : ['from', 'take'];
    check(
      [...query.keys()].every((name) => allowed.includes(name)),
      `api: ${what}${url.search}`,
    );
    const take = Number(query.get('take') ?? 10);
    check(Number.isInteger(take) && take >= 1 && take <= 20, `api: take ${take}`);
    const connection = query.get('connection');
    const all =
      what === 'connections'
        ? ['google-oauth2', 'github', 'acme-desk'].map((name) => ({ name, strategy: 'oauth2' }))
        : accounts
            .filter((account) => connection === null || account.connection === connection)
            .map(accountJson);
    const from = Number(query.get('from') ?? 0);
    const to = from + Math.min(take, options.pageSize ?? take);
    send(response, 200, {
      [what]: all.slice(from, to),
      ...(to < all.length ? { next: String(to) } : {}),
    });
  }

  function connect(json: Record<string, unknown>, response: ServerResponse): void {
    const { connection, redirect_uri: redirectUri, state, scopes } = json;
    const names = ['connection', 'redirect_uri', 'state', 'code_challenge', 'code_challenge_method'];
    check(
      sameSet(Object.keys(json), [...names, ...('scopes' in json ? ['scopes'] : [])]),
      `connect: members ${Object.keys(json).join(' ')}`,
    );
    check(typeof connection === 'string' && connection !== '', 'connect: connection');
    check(typeof redirectUri === 'string' && URL.canParse(redirectUri), 'connect: redirect_uri');
    check(typeof state === 'string' && state.length >= 32, 'connect: state');
    check(json['code_challenge_method'] === 'S256', 'connect: code_challenge_method');
    check(/^[A-Za-z0-9_-]{43}$/.test(String(json['code_challenge'])), 'connect: code_challenge');
    const asked = scopes ?? [];
    check(
      Array.isArray(asked) &&
        asked.every((scope) => typeof scope === 'string' && /^[\x21-\x7e]+$/.test(scope)),
      'connect: scopes',
    );
    check(!('scopes' in json) || (asked as string[]).length > 0, 'connect: no scopes are no member');
    check(new Set(asked as string[]).size === (asked as string[]).length, 'connect: a scope twice');
    const authSession = randomBytes(24).toString('base64url');
    const ticket = randomBytes(16).toString('hex');
    const pending: Pending = {
      connection: String(connection),
      redirectUri: String(redirectUri),
      state: String(state),
      scopes: asked as string[],
      challenge: String(json['code_challenge']),
      authSession,
      code: null,
    };
    tickets.set(ticket, pending);
    sessions.set(authSession, pending);
    send(response, 201, {
      auth_session: authSession,
      connect_uri: `${upstream.url}/connect`,
      connect_params: { ticket },
      expires_in: 300,
    });
  }

  function consent(url: URL, response: ServerResponse): void {
    check(sameSet(url.searchParams.keys(), ['ticket']), `consent: parameters ${url.search}`);
    const ticket = url.searchParams.get('ticket') ?? '';
    const pending = tickets.get(ticket);
    tickets.delete(ticket);
    if (pending === undefined) throw new Fault('invalid_request', 'consent: the ticket is unknown');
    const { redirectUri, state } = pending;
    if (denies) {
      denies = false;
      return redirect(response, redirectUri, {
        error: 'access_denied',
        error_description: 'The user said no.',
        state,
      });
    }
    pending.code = randomBytes(16).toString('hex');
    return redirect(response, redirectUri, { connect_code: pending.code, state });
  }

  function complete(json: Record<string, unknown>, response: ServerResponse): void {
    check(
      sameSet(Object.keys(json), ['auth_session', 'connect_code', 'redirect_uri', 'code_verifier']),
      `complete: members ${Object.keys(json).join(' ')}`,
    );
    const pending = sessions.get(String(json['auth_session']));
    if (pending === undefined) throw new Fault('invalid_request', 'complete: the auth_session is unknown');
    sessions.delete(pending.authSession);
    check(pending.code !== null && json['connect_code'] === pending.code, 'complete: connect_code');
    check(json['redirect_uri'] === pending.redirectUri, 'complete: redirect_uri');
    check(challengeOf(String(json['code_verifier'])) === pending.challenge, 'complete: code_verifier');
    const scopes = pending.scopes.filter((scope) => !withheld.includes(scope));
    // An account that is connected again keeps its id.
    const at = accounts.findIndex(({ connection }) => connection === pending.connection);
    const before = accounts[at];
    const account = {
      id: before?.id ?? `cac_${randomBytes(8).toString('hex')}`,
      connection: pending.connection,
      scopes,
      hint: before?.hint ?? 'user@acme.test',
    };
    if (at >= 0) accounts.splice(at, 1, account);
    else accounts.push(account);
    send(response, 201, accountJson(account));
  }

  return {
    url: upstream.url,
    authority: upstream.authority,
    tokenEndpoint: `${upstream.url}/oauth/token`,
    client: { clientId, clientSecret },
    calls,
    faults,
    bodies,
    accounts,
    refreshToken,
    endLogin() {
      loginIsGood = false;
    },
    refuse(step, ...more) {
      refusals.set(step, [...(refusals.get(step) ?? []), ...more]);
    },
    deny() {
      denies = true;
    },
    withhold(...scopes) {
      withheld = scopes;
    },
    browse,
  };
}
