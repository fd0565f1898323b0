import { describe, expect, it } from 'vitest';
import { parseConnectTarget } from '../../../../src/proxy/policy/authority.ts';
import { decide, decideConnect } from '../../../../src/proxy/policy/decide.ts';
import { authorityOf, policyOf } from './policy-for-test.ts';
import { hintOfText } from '../../../support/hint.ts';

const grant = { kind: 'grant', grant: 'acme', allowPlainHttp: false } as const;
const allowPlainHttp = { ...grant, allowPlainHttp: true } as const;
const tunnel = { kind: 'tunnel' } as const;
const deny = { kind: 'deny' } as const;

describe('a decision', () => {
  const policy = policyOf({
    'api.example.com': grant,
    'plain.example.com': allowPlainHttp,
    'blind.example.com': tunnel,
    '*.example.net': deny,
  });

  it('selects the grant of the domain, and names the entry', () => {
    expect(decide(policy, authorityOf('api.example.com'))).toMatchObject({
      outcome: 'inject',
      grant: 'acme',
      allowPlainHttp: false,
      rule: 'domains.api.example.com',
      reason: 'api.example.com uses the grant acme',
    });
  });

  it('tunnels if the domain is set to tunnel', () => {
    expect(decide(policy, authorityOf('blind.example.com'))).toMatchObject({ outcome: 'tunnel' });
  });

  it('denies if the domain is set to deny, and names the entry', () => {
    expect(decide(policy, authorityOf('a.example.net'))).toMatchObject({
      outcome: 'deny',
      code: 'domain_not_allowed',
      rule: 'domains.*.example.net',
      hint: 'remove or change domains.*.example.net',
    });
  });

  it('denies an unlisted host, with the command that would allow it', () => {
    expect(decide(policy, authorityOf('other.example.com:8443'))).toMatchObject({
      outcome: 'deny',
      code: 'domain_not_allowed',
      rule: 'proxy.unmatched',
      hint: hintOfText(
        'sidekey domain tunnel other.example.com:8443 (no credential), or sidekey domain allow other.example.com:8443 --grant GRANT; an agent proposes it: POST http://sidekey.internal/proposals',
      ),
    });
  });

  it('tunnels an unlisted host only if the config allows it', () => {
    expect(decide(policyOf({}, 'tunnel'), authorityOf('example.org'))).toMatchObject({
      outcome: 'tunnel',
      rule: 'proxy.unmatched',
    });
  });

  it('never sends a credential over plain http unless the domain says allow_plain_http', () => {
    expect(decide(policy, authorityOf('api.example.com', 'http'))).toMatchObject({
      outcome: 'deny',
      code: 'insecure_transport',
      hint: 'use https, or set "allow_plain_http: true" on domains.api.example.com',
    });
    expect(decide(policy, authorityOf('plain.example.com', 'http'))).toMatchObject({
      outcome: 'inject',
      allowPlainHttp: true,
    });
  });

  it('does not tunnel a grant domain that is refused over http, even if unlisted hosts are tunnelled', () => {
    expect(
      decide(policyOf({ 'a.example': grant }, 'tunnel'), authorityOf('a.example', 'http')),
    ).toMatchObject({
      outcome: 'deny',
      code: 'insecure_transport',
    });
  });
});

const at = (policy: ReturnType<typeof policyOf>, target: string) =>
  decideConnect(policy, parseConnectTarget(target)!);

describe('a decision at CONNECT', () => {
  it('treats the target as https', () => {
    expect(at(policyOf({ 'a.example': grant }), 'a.example:443')).toMatchObject({ outcome: 'inject' });
    expect(at(policyOf({ 'a.example:8443': grant }), 'a.example:8443')).toMatchObject({ outcome: 'inject' });
    expect(at(policyOf({ 'a.example:80': grant }), 'a.example:80')).toMatchObject({ outcome: 'inject' });
  });

  it('treats port 80 as http if the entry names no port', () => {
    expect(at(policyOf({ 'a.example': grant }), 'a.example:80')).toMatchObject({
      code: 'insecure_transport',
    });
    expect(at(policyOf({ 'a.example': allowPlainHttp }), 'a.example:80')).toMatchObject({
      outcome: 'inject',
    });
    expect(at(policyOf({ 'a.example': tunnel }), 'a.example:80')).toMatchObject({ outcome: 'tunnel' });
    expect(at(policyOf({ 'a.example': deny }, 'tunnel'), 'a.example:80')).toMatchObject({ outcome: 'deny' });
  });

  it('denies another port of a listed host', () => {
    expect(at(policyOf({ 'a.example': grant }), 'a.example:8443')).toMatchObject({
      outcome: 'deny',
      hint: hintOfText(
        'sidekey domain tunnel a.example:8443 (no credential), or sidekey domain allow a.example:8443 --grant GRANT; an agent proposes it: POST http://sidekey.internal/proposals',
      ),
    });
  });

  it('prefers an exact host for http over a wildcard with port 80', () => {
    expect(
      at(policyOf({ 'a.example.com': deny, '*.example.com:80': tunnel }), 'a.example.com:80'),
    ).toMatchObject({
      outcome: 'deny',
      rule: 'domains.a.example.com',
    });
    expect(
      at(policyOf({ 'a.example.com': grant, '*.example.com:80': tunnel }), 'a.example.com:80'),
    ).toMatchObject({
      outcome: 'deny',
      code: 'insecure_transport',
    });
  });
});
