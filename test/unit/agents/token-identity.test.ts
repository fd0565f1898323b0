import { createHmac, createPublicKey } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { hashToken } from '../../../src/agents/authentication.ts';
import { createTokenIdentities } from '../../../src/agents/token-identity.ts';
import type { AgentIssuer } from '../../../src/config/agent-issuers.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import {
  gitHubClaims,
  issuerKey,
  type IssuerKey,
  kubernetesClaims,
  spiffeClaims,
} from '../../support/token-issuer.ts';
import { hintText } from '../../../src/lib/hint.ts';

const start = Date.UTC(2027, 0, 1);
const seconds = start / 1_000;
const url = 'https://token.actions.githubusercontent.com';
const minute = 60_000;

const base: AgentIssuer = {
  name: 'github',
  issuer: url,
  trustDomain: null,
  audience: 'sidekey',
  jwksUrl: null,
  jwksFile: null,
  ca: null,
  token: null,
  maxAgeMs: 86_400_000,
  rules: [{ agent: 'ci', patterns: [{ path: ['sub'], pattern: 'repo:acme/app:ref:refs/heads/*' }] }],
};

let key: IssuerKey;
let other: IssuerKey;
beforeAll(async () => {
  [key, other] = await Promise.all([issuerKey('one', 'RS256'), issuerKey('two', 'RS256')]);
});

function setup(issuers: readonly AgentIssuer[] = [base], namesAgents = true) {
  const place = {
    at: start,
    issuers,
    keys: [key.jwk] as readonly object[],
    text: null as string | null,
    reads: 0,
    down: false,
    wait: null as Promise<never> | null,
  };
  const identities = createTokenIdentities({
    issuers: () => place.issuers,
    readKeys: async () => {
      place.reads += 1;
      if (place.wait !== null) return place.wait;
      if (place.down) throw new SidekeyError('issuer_unavailable', 'it is down.');
      return place.text ?? JSON.stringify({ keys: place.keys });
    },
    now: () => place.at,
    namesAgents,
  });
  const verify = (jwt: string) => identities.verify(jwt, hashToken(jwt));
  const find = (jwt: string) => identities.find(hashToken(jwt));
  return { place, identities, verify, find };
}

const claims = (change: object = {}) => ({ ...gitHubClaims(url, 'sidekey', seconds), ...change });
const part = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const why = async (jwt: string, { verify } = setup()) => {
  const result = await verify(jwt);
  if (!(result instanceof SidekeyError)) throw new Error('the token was accepted');
  expect(result).toMatchObject({ code: 'agent_auth_required' });
  expect(hintText(result.hint)).toContain('sidekey agent check');
  expect(`${result.message} ${hintText(result.hint)}`).not.toContain(jwt.split('.')[2]);
  return result.message;
};

describe('a token of an issuer', () => {
  it('identifies the agent whose conditions match its claims', async () => {
    const { verify } = setup();
    expect(await verify(await key.sign(claims()))).toMatchObject({
      agent: 'ci',
      issuer: 'github',
      subject: 'repo:acme/app:ref:refs/heads/main',
      expiresAt: start + 5 * minute,
    });
  });

  it.each(['RS384', 'PS256', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'])(
    'may be signed by %s',
    async (alg) => {
      const { place, verify } = setup();
      const signer = await issuerKey('k', alg);
      place.keys = [signer.jwk];
      expect(await verify(await signer.sign(claims()))).toMatchObject({ agent: 'ci' });
    },
  );

  it('of Kubernetes identifies an agent by members of a claim', async () => {
    const issuer = 'https://kubernetes.default.svc.cluster.local';
    const patterns = [
      { path: ['kubernetes.io', 'namespace'], pattern: 'ci' },
      { path: ['kubernetes.io', 'serviceaccount', 'name'], pattern: 'runner' },
    ];
    const { verify } = setup([{ ...base, name: 'cluster', issuer, rules: [{ agent: 'runner', patterns }] }]);
    const token = kubernetesClaims(issuer, 'sidekey', seconds);
    expect(await verify(await key.sign(token, { typ: undefined }))).toMatchObject({
      agent: 'runner',
      subject: 'system:serviceaccount:ci:runner',
    });
    const deeper = { ...token, 'kubernetes.io': { namespace: 'ci', pod: { name: 'runner' } } };
    expect(await verify(await key.sign(deeper))).toMatchObject({ code: 'agent_auth_required' });
  });

  it('of SPIFFE identifies an agent by its trust domain, with the keys of a bundle', async () => {
    const patterns = [{ path: ['sub'], pattern: 'spiffe://example.org/ns/ci/sa/*' }];
    const spiffe = { ...base, name: 'spire', issuer: null, trustDomain: 'example.org' };
    const { place, verify } = setup([{ ...spiffe, rules: [{ agent: 'runner', patterns }] }]);
    const x509 = { ...other.jwk, use: 'x509-svid', x5c: ['MIIB'] };
    place.text = JSON.stringify({ keys: [x509, { ...key.jwk, alg: undefined, use: 'jwt-svid' }] });
    expect(await verify(await key.sign(spiffeClaims('sidekey', seconds)))).toMatchObject({
      agent: 'runner',
      subject: 'spiffe://example.org/ns/ci/sa/runner',
    });
    expect(await verify(await other.sign(spiffeClaims('sidekey', seconds)))).toMatchObject({
      code: 'agent_auth_required',
    });
    for (const sub of ['spiffe://example.com/ns/ci/sa/runner', 'spiffe://example.org.evil/ns/ci/sa/runner'])
      expect(await verify(await key.sign({ ...spiffeClaims('sidekey', seconds), sub }))).toMatchObject({
        message: expect.stringContaining('agent_issuers does not list') as unknown,
      });
  });
});

describe('a token is refused', () => {
  it.each<[string, object, string]>([
    ['another issuer', { iss: `${url}/` }, 'does not list'],
    ['no issuer', { iss: undefined }, 'does not list'],
    ['another audience', { aud: 'sidekey2' }, 'has not the audience sidekey'],
    ['no audience', { aud: undefined }, 'has not the audience sidekey'],
    ['an audience that starts with the expected one', { aud: 'sidekey.example.com' }, 'has not the audience'],
    ['an exp in the past', { exp: seconds - 31 }, 'has expired'],
    ['no exp', { exp: undefined }, 'exp'],
    ['an nbf in the future', { nbf: seconds + 31 }, 'nbf'],
    ['an iat in the future', { iat: seconds + 31 }, 'iat'],
    ['no iat', { iat: undefined }, 'iat'],
    ['an iat longer ago than max_age', { iat: seconds - 86_431 }, 'older than max_age'],
    ['no subject', { sub: undefined }, 'sub'],
    ['the subject of a pull request', { sub: 'repo:acme/app:pull_request' }, 'fits no agent'],
    ['a subject of another owner', { sub: 'repo:evil/app:ref:refs/heads/main' }, '(ci: sub differs)'],
    ['a branch with a slash', { sub: 'repo:acme/app:ref:refs/heads/a/b' }, 'fits no agent'],
  ])('with %s', async (_name, change, sentence) => {
    expect(await why(await key.sign(claims(change)))).toContain(sentence);
  });

  it('without agent names in a message that a caller receives', async () => {
    const twins = { ...base, rules: [...base.rules, { ...base.rules[0]!, agent: 'twin' }] };
    const foreign = await key.sign(claims({ sub: 'repo:evil/app:ref:refs/heads/main' }));
    expect(await why(foreign, setup([twins], false))).not.toContain('differs');
    const fitting = await key.sign(claims());
    expect(await why(fitting, setup([twins]))).toContain('more than one agent: ci, twin');
    expect(await why(fitting, setup([twins], false))).not.toContain('twin');
  });

  it('with the signature of another key, even under a known key id', async () => {
    expect(await why(await other.sign(claims(), { kid: 'one' }))).toContain('signature');
    expect(await why(await other.sign(claims()))).toContain('signed with a key');
  });

  it('without a signature, or with an HMAC keyed by the public key', async () => {
    const none = `${part({ alg: 'none', kid: 'one' })}.${part(claims())}.bm9uZQ`;
    expect(await why(none)).toContain('algorithm');
    const head = `${part({ alg: 'HS256', kid: 'one' })}.${part(claims())}`;
    const pem = createPublicKey({ key: key.jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
    const mac = createHmac('sha256', pem).update(head).digest('base64url');
    expect(await why(`${head}.${mac}`)).toContain('algorithm');
  });

  it('with an algorithm that does not fit its key', async () => {
    const curve = await issuerKey('one', 'ES256');
    expect(await why(await curve.sign(claims()))).toContain('signed with a key');
    expect(await why(await key.sign(claims(), { alg: 'RS256', kid: 'x' }))).toContain('signed with a key');
  });

  it('when its key in the key set is private or symmetric', async () => {
    const place = setup();
    place.place.keys = [key.jwk, { kty: 'oct', k: 'AAAA', kid: 'mac' }, { ...other.jwk, d: 'AAAA' }];
    expect(await why(await other.sign(claims()), place)).toContain('signed with a key');
  });

  it.each([
    ['crit', { crit: ['exp'], exp: 1 }, 'is not a JWT that is accepted'],
    ['a type of another use', { typ: 'logout+jwt' }, 'type in its header'],
    ['b64', { b64: false, crit: ['b64'] }, ''],
  ])('with %s in its header', async (_name, header, sentence) => {
    const text = `${part({ alg: 'RS256', kid: 'one', ...header })}.${part(claims())}`;
    expect(await why(rawSigned(text))).toContain(sentence);
  });

  it('with a duplicate claim or header field', async () => {
    const [head, body] = [JSON.stringify({ alg: 'RS256', kid: 'one' }), JSON.stringify(claims())];
    const twice = body.replace('{', '{"sub":"repo:acme/app:ref:refs/heads/x",');
    expect(await why(rawSigned(`${part(head)}.${part(twice)}`))).toContain('reads alike');
    const headTwice = head.replace('{', '{"alg":"none",');
    expect(await why(rawSigned(`${part(headTwice)}.${part(body)}`))).toContain('reads alike');
  });

  it('when it is larger than 16 KiB, before it is parsed', async () => {
    const { verify, place } = setup();
    expect(await verify(await key.sign(claims({ long: 'x'.repeat(16_384) })))).toMatchObject({
      message: expect.stringContaining('16 KiB') as unknown,
    });
    expect(place.reads).toBe(0);
  });

  it('when it matches two agents', async () => {
    const second = { agent: 'deploy', patterns: [{ path: ['repository_id'], pattern: '74' }] };
    const place = setup([{ ...base, rules: [...base.rules, second] }]);
    expect(await why(await key.sign(claims()), place)).toContain('more than one agent: ci, deploy');
  });

  it('with a message that omits the control characters of its subject', async () => {
    const sub = `repo:\u001b[31m\n${'x'.repeat(500)}`;
    const message = await why(await key.sign(claims({ sub })));
    expect(message).not.toMatch(/\p{Cc}/u);
    expect(message.length).toBeLessThan(400);
  });
});

describe('a verified token', () => {
  it('is cached until the config changes, and is then judged by the new config', async () => {
    const { place, verify, find, identities } = setup();
    const jwt = await key.sign(claims());
    expect(find(jwt)).toBeNull();
    const identity = await verify(jwt);
    if (identity instanceof SidekeyError) throw identity;
    expect(find(jwt)).toBe(identity);
    expect(identities.applies(identity)).toBe(true);
    place.issuers = [{ ...base, rules: [{ ...base.rules[0]!, agent: 'deploy' }] }];
    expect(find(jwt)).toBeNull();
    expect(identities.applies(identity)).toBe(false);
    expect(await verify(jwt)).toMatchObject({ agent: 'deploy' });
    expect(place.reads).toBe(1);
    place.issuers = [];
    expect(await verify(jwt)).toMatchObject({ code: 'agent_auth_required' });
  });

  it('is refused after its key is withdrawn, even if no other token arrives', async () => {
    const { place, verify, find } = setup();
    const jwt = await key.sign(claims({ exp: seconds + 3_600 }));
    await verify(jwt);
    place.keys = [other.jwk];
    place.at += 10 * minute;
    // The first look begins to read the keys.
    while (find(jwt) !== null) await new Promise((resolve) => setImmediate(resolve));
    expect(await verify(jwt)).toMatchObject({ code: 'agent_auth_required' });
  });

  it('is refused when its issuer withdraws all keys', async () => {
    const { place, verify, find } = setup();
    const jwt = await key.sign(claims({ exp: seconds + 3_600 }));
    await verify(jwt);
    place.keys = [];
    place.at += 10 * minute;
    const refusal = {
      code: 'agent_auth_required',
      message: expect.stringContaining('a key that agent_issuers.github has not') as unknown,
    };
    const another = await key.sign(claims({ jti: 'new', exp: seconds + 3_600 }));
    expect(await verify(another)).toMatchObject(refusal);
    expect(find(jwt)).toBeNull();
    expect(await verify(jwt)).toMatchObject(refusal);
  });

  it('ends at max_age if its end is later', async () => {
    const { verify } = setup([{ ...base, maxAgeMs: 2 * minute }]);
    expect(await verify(await key.sign(claims()))).toMatchObject({ expiresAt: start + 2 * minute });
  });
});

describe('the keys of an issuer', () => {
  it('are fetched once for many tokens, and again for a new key after a pause', async () => {
    const { place, verify } = setup();
    const jwts = await Promise.all([1, 2, 3].map((id) => key.sign(claims({ jti: String(id) }))));
    await Promise.all(jwts.map(verify));
    expect(place.reads).toBe(1);
    place.keys = [key.jwk, other.jwk];
    const rotated = await other.sign(claims());
    expect(await verify(rotated)).toMatchObject({ code: 'agent_auth_required' });
    expect(place.reads).toBe(1);
    place.at += 30_000;
    expect(await verify(rotated)).toMatchObject({ agent: 'ci' });
    expect(place.reads).toBe(2);
  });

  it('are fetched for unknown keys at most every 30 s', async () => {
    const { place, verify } = setup();
    const unknown = await other.sign(claims());
    for (const [ms, reads] of [
      [0, 1],
      [29_999, 1],
      [1, 2],
      [29_999, 2],
    ] as const) {
      place.at += ms;
      await verify(unknown);
      expect(place.reads).toBe(reads);
    }
  });

  it('delay only new tokens when they are old and the fetch hangs', async () => {
    const { place, verify } = setup();
    const jwt = await key.sign(claims({ exp: seconds + 3_600 }));
    await verify(jwt);
    const hung = Promise.withResolvers<never>();
    place.wait = hung.promise;
    place.at += 11 * minute;
    place.issuers = [{ ...base }];
    expect(await verify(jwt)).toMatchObject({ agent: 'ci' });
    const fresh = verify(await key.sign(claims({ jti: 'new', exp: seconds + 3_600 })));
    hung.reject(new SidekeyError('issuer_unavailable', 'it hung.'));
    expect(await fresh).toMatchObject({ code: 'issuer_unavailable' });
  });

  it('refuse new tokens when they cannot be fetched, retry at growing intervals, and keep accepting known tokens', async () => {
    const { place, verify, find } = setup();
    const jwt = await key.sign(claims({ exp: seconds + 3_600 }));
    const fresh = (id: number) => key.sign(claims({ jti: String(id), exp: seconds + 3_600 }));
    await verify(jwt);
    place.down = true;
    place.at += 11 * minute;
    const refused = await verify(await fresh(1));
    expect(refused).toMatchObject({
      code: 'issuer_unavailable',
      message: 'The keys of agent_issuers.github cannot be read: it is down.',
    });
    expect(hintText((refused as SidekeyError).hint)).not.toBe('');
    expect(place.reads).toBe(2);
    await verify(await fresh(2));
    expect(place.reads).toBe(2);
    for (const pause of [1_000, 2_000, 4_000]) {
      place.at += pause - 1;
      await verify(await fresh(3));
      place.at += 1;
      const { reads } = place;
      await verify(await fresh(4));
      expect(place.reads).toBe(reads + 1);
    }
    expect(find(jwt)).toMatchObject({ agent: 'ci' });
    // Also after an unrelated change of the config.
    place.issuers = [{ ...base }];
    expect(await verify(jwt)).toMatchObject({ agent: 'ci' });
    place.down = false;
    place.at += 5 * minute;
    expect(await verify(await fresh(5))).toMatchObject({ agent: 'ci' });
  });

  it.each(['', '[]', '{"keys":{}}', '{"keys":[],"keys":[]}', `{"keys":[${'{},'.repeat(100)}{}]}`])(
    'refuse tokens when the text is not a key set: %s',
    async (text) => {
      const { place, verify } = setup();
      place.text = text;
      expect(await verify(await key.sign(claims()))).toMatchObject({ code: 'issuer_unavailable' });
    },
  );
});

/** Signs a text that jose would not make. */
function rawSigned(text: string): string {
  return `${text}.${key.signText(text)}`;
}
