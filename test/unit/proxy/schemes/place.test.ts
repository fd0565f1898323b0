import { describe, expect, test } from 'vitest';
import { openCatalog } from '../../../../src/config/catalog.ts';
import type { InjectPlace } from '../../../../src/domain/provider.ts';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { placementAt } from '../../../../src/proxy/schemes/placement.ts';
import { authorityOf } from '../policy/policy-for-test.ts';

const catalog = await openCatalog();

function placesOf(provider: string): readonly InjectPlace[] {
  const definition = catalog.get(provider)?.definition;
  if (definition === undefined) throw new Error(provider);
  return definition.inject ?? [{ hosts: null, paths: null, as: { kind: 'bearer' } }];
}

/** The kind of the scheme at this place, with the user name of Basic, or `refused`. */
function kindAt(places: readonly InjectPlace[], host: string, path: string): string {
  const plan = placementAt(places, { authority: authorityOf(host), path });
  if (plan instanceof SidekeyError) return 'refused';
  return plan.kind === 'basic' ? `basic ${String(plan.username)}` : plan.kind;
}

describe('the first matching place gives the scheme', () => {
  const places: readonly InjectPlace[] = [
    { hosts: ['a.test'], paths: ['/git/**'], as: { kind: 'basic', username: 'u', pairUsername: null } },
    { hosts: ['a.test', '*.b.test'], paths: null, as: { kind: 'own' } },
    { hosts: ['d.test'], paths: ['/public/**'], as: { kind: 'own' } },
    { hosts: ['d.test'], paths: null, as: { kind: 'bearer' } },
    { hosts: ['c.test:8443'], paths: null, as: { kind: 'bearer' } },
  ];

  test.each([
    ['a.test', '/git/x?y', 'basic u'],
    ['a.test', '/git', 'basic u'],
    ['a.test', '/GIT/x', 'own'],
    ['a.test', '/', 'own'],
    ['d.test', '/public/x', 'own'],
    ['d.test', '/private', 'bearer'],
    ['x.b.test', '//', 'own'],
    ['b.test', '/', 'refused'],
    ['c.test:8443', '/', 'bearer'],
    ['c.test', '/', 'refused'],
  ])('%s %s: the scheme is %s', (host, path, kind) => {
    expect(kindAt(places, host, path)).toBe(kind);
  });

  test.each([
    '//git/x',
    '/git/../x',
    '/x/..%2fgit',
    '/git;a/x',
    '/git%00',
    '/%67it%252e/x',
    '/git/\u00e9',
    'git/x',
  ])('an ambiguous path matches no place that names paths: %s', (path) => {
    expect(kindAt(places, 'a.test', path)).toBe('own');
    expect(kindAt(places, 'd.test', path)).toBe('refused');
  });

  test('a place with an invalid path matches nothing', () => {
    const as = { kind: 'bearer' } as const;
    expect(kindAt([{ hosts: ['a/b'], paths: null, as }], 'a.test', '/')).toBe('refused');
    expect(kindAt([{ hosts: null, paths: ['x'], as }], 'a.test', '/x')).toBe('refused');
    expect(kindAt([], 'a.test', '/')).toBe('refused');
  });
});

describe('the schemes of the catalog', () => {
  test.each([
    ['github', 'api.github.com', '/user', 'bearer'],
    ['github', 'github.com', '/acme/widgets.git/info/refs?service=git-upload-pack', 'basic x-access-token'],
    ['github', 'github.com', '/acme/widgets/git-receive-pack', 'basic x-access-token'],
    ['github', 'github.com', '/acme/widgets.git/info/lfs/objects/batch', 'basic x-access-token'],
    ['github', 'github.com', '/acme/widgets', 'own'],
    ['github', 'github.com', '/acme/widgets/releases/download/v1/x.tar.gz', 'own'],
    ['github', 'github.com', '/settings/tokens', 'own'],
    ['github', 'github.com', '/login/oauth/access_token', 'own'],
    ['github', 'ghcr.io', '/token?service=ghcr.io', 'basic x-access-token'],
    ['github', 'ghcr.io', '/v2/acme/widgets/manifests/latest', 'own'],
    ['github', 'npm.pkg.github.com', '/@acme%2fwidgets', 'bearer'],
    ['github-app', 'github.com', '/acme/widgets.git/git-upload-pack', 'basic x-access-token'],
    ['github-app', 'github.com', '/acme', 'own'],
    ['gitlab', 'gitlab.com', '/group/sub/widgets.git/git-upload-pack', 'basic oauth2'],
    ['gitlab', 'gitlab.com', '/jwt/auth?service=container_registry', 'basic oauth2'],
    ['gitlab', 'gitlab.com', '/api/v4/projects/group%2Fwidgets', 'bearer'],
    ['gitlab', 'gitlab.com', '/api/v4/user', 'bearer'],
    ['bitbucket', 'bitbucket.org', '/acme/widgets.git/info/refs', 'basic x-token-auth'],
    ['bitbucket', 'bitbucket.org', '/acme/widgets/src/main', 'own'],
    ['bitbucket', 'api.bitbucket.org', '/2.0/user', 'bearer'],
    ['huggingface', 'huggingface.co', '/acme/widgets/info/refs', 'basic token'],
    ['huggingface', 'huggingface.co', '/api/whoami-v2', 'bearer'],
    ['dockerhub', 'auth.docker.io', '/token?scope=repository:acme/widgets:pull', 'basic token'],
    ['dockerhub', 'auth.docker.io', '/', 'refused'],
    ['dockerhub', 'registry-1.docker.io', '/v2/', 'own'],
  ])('%s at %s%s: the scheme is %s', (provider, host, path, kind) => {
    expect(kindAt(placesOf(provider), host, path)).toBe(kind);
  });
});
