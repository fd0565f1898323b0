import { describe, expect, it } from 'vitest';
import { leakSearchFor, isCovered } from '../../../../src/proxy/policy/domain-map.ts';

const covers = (host: string, path: string, places?: readonly string[]) =>
  leakSearchFor('auto', { host, path, places })?.covers;

describe('the responses that the leak guard searches', () => {
  it('are those that the domain configures', () => {
    const at = { host: 'x.example', path: '/' };
    expect(leakSearchFor('off', { host: 'httpbin.org', path: '/headers' })).toBeNull();
    expect(leakSearchFor('redact', at)).toEqual({ onLeak: 'redact', covers: 'all', isAsked: true });
    expect(leakSearchFor('refuse', at)).toEqual({ onLeak: 'refuse', covers: 'all', isAsked: true });
  });

  it('are all if the credential is in a place that services often repeat', () => {
    const at = { host: 'api.example.com', path: '/v1/users', isShown: true };
    expect(leakSearchFor('auto', at)).toEqual({ onLeak: 'redact', covers: 'all', isAsked: false });
    expect(leakSearchFor('off', at)).toBeNull();
  });

  it('are error pages by default', () => {
    const plan = leakSearchFor('auto', { host: 'api.example.com', path: '/v1/users' })!;
    expect(plan).toEqual({ onLeak: 'redact', covers: 'errors', isAsked: false });
    expect([200, 204, 302, 399, 400, 404, 599].filter((status) => isCovered(plan, status))).toEqual([
      400, 404, 599,
    ]);
  });

  it.each([
    ['httpbin.org', '/get'],
    ['postman-echo.com', '/'],
    ['echo.example.com', '/x'],
    ['api.example.com', '/headers'],
    ['api.example.com', '/HEADERS?a'],
    ['api.example.com', '/a/../anything/b'],
    ['api.example.com', '/x%2Fecho'],
    ['api.example.com', '/%65cho;a'],
    ['api.example.com', '/phpinfo.php'],
  ])('are all of a known echo endpoint: %s%s', (host, path) => {
    expect(covers(host, path)).toBe('all');
  });

  it.each(['/', '/header', '/headers-list', '/my-echo', '/v1/traces', '/search?q=echo', '/v1/debugger/x'])(
    'are only error pages at %s',
    (path) => {
      expect(covers('api.example.com', path)).toBe('errors');
    },
  );

  it('are those that the provider configures, in any spelling', () => {
    const places = ['/admin/request', '/seen/'];
    expect(covers('x.example', '/v2/Admin/%52equest', places)).toBe('all');
    expect(covers('x.example', '/seen/1', places)).toBe('all');
    expect(covers('x.example', '/admin/requests', places)).toBe('errors');
    expect(covers('x.example', '/seen', places)).toBe('errors');
  });
});
