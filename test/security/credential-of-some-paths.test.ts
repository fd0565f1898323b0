/**
 * A provider says that its credential is for git at a host, and not for the website around it. However a path
 * is written, the credential is on it only where no server could read anything else than a path of git.
 */
import * as fc from '../support/fast-check.ts';
import { expect, test } from 'vitest';
import { openCatalog } from '../../src/config/catalog.ts';
import { SidekeyError } from '../../src/lib/errors.ts';
import { placementAt } from '../../src/proxy/schemes/placement.ts';
import { openTunnel } from '../support/raw-client.ts';
import { bearerToken, startSidekey } from '../support/sidekey.ts';
import { startUpstream } from '../support/upstream.ts';
import { authorityOf } from '../unit/proxy/policy/policy-for-test.ts';

const places = (await openCatalog()).get('github')?.definition.inject ?? [];

/** A segment with a name: not of dots alone, and without what ends it for some server. */
const name = String.raw`(?!\.+(\/|$))[^/\\;?#]+`;
const git = new RegExp(
  String.raw`^/${name}/${name}/(info/refs|git-upload-pack|git-receive-pack|info/lfs(/${name})*)$`,
);

const pieces = [
  'acme', 'widgets.git', 'info', 'refs', 'lfs', 'git-upload-pack', 'git-receive-pack', 'settings', 'login', 'objects',
  '/', '//', '/./', '/../', '\\', ';', '..', '.', '%2e', '%2E%2e', '%2f', '%5c', '%00', '%0a', '%3f', '%23', '%252e',
  '%c0%ae', '%ef%bc%8f', '%u002f', ' ', '%20', '#', '?', '\u00e9', 'INFO', '%69nfo', '.git/', '/info/refs', '/git-upload-pack',
]; // prettier-ignore

/** Decoded as far as anybody would, segments resolved: the most that a server could make of it. */
function mostRead(path: string): string[] {
  let text = path;
  for (let times = 0; times < 3; times += 1)
    text = text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
  const forms = [text, text.split(/[?#]/, 1)[0] ?? '', text.replace(/;[^/]*/g, '')];
  return forms.map(
    (form) => new URL(form.replace(/\\/g, '/').replace(/\/+/g, '/'), 'https://x.test').pathname,
  );
}

test('only plain git paths get the credential of github.com', () => {
  let carried = 0;
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 9 }), (parts) => {
      const path = `/${parts.join('')}`;
      const plan = placementAt(places, { authority: authorityOf('github.com'), path });
      if (plan instanceof SidekeyError || plan.kind === 'own') return;
      carried += 1;
      const [written = ''] = path.split('?', 1);
      // What is encoded for nothing is read alike by all, and so are names with marks of no meaning.
      for (const read of mostRead(written)) expect(read).toMatch(git);
      expect(written).not.toMatch(/%(2e|2f|5c|00|25|3b|3f|23)|\/\/|[;\\#]|\/\.{1,2}(\/|$)/i);
    }),
    {
      numRuns: 20_000,
      seed: 6,
      examples: [[['acme/widgets.git/info/refs']], [['acme/widgets.git', '/info/lfs']]],
    },
  );
  expect(carried).toBeGreaterThan(2);
});

const website = [
  '/', '/acme/widgets', '/settings/tokens', '/login/oauth/authorize?x=/a/b/info/refs', '/acme/widgets.git/info',
  '/acme/widgets.git/info/refs/', '/acme/widgets.git/info/refs.', '/acme/widgets.git/info/refs;x', '/acme/widgets.git//info/refs',
  '//acme/widgets.git/info/refs', '/acme/widgets.git/info/refs/../../../../settings', '/acme/widgets.git/info/lfs/..%2f..%2fsettings',
  '/acme/widgets.git/info/lfs/%2e%2e/%2e%2e/settings', '/acme/widgets.git/info%2frefs', '/acme/widgets.git/info/refs%00',
  '/acme/widgets.git/info/refs%20', '/acme\\widgets.git\\info\\refs', '/acme/../info/refs', '/acme/widgets.git/INFO/REFS',
  '/acme/widgets.git/info/lfs/%252e%252e/settings', '/x/acme/widgets.git/info/refs', '/acme/info/refs', '/acme/%2e/info/refs',
]; // prettier-ignore

test('a path that is not plainly a git path reaches the upstream without the credential, or not at all', async () => {
  const seen: string[] = [];
  const upstream = await startUpstream((request, response) => {
    seen.push(`${request.url} ${request.headers.authorization ?? 'none'}`);
    response.end();
  });
  const paths = ['/*/*/info/refs', '/*/*/git-upload-pack', '/*/*/git-receive-pack', '/*/*/info/lfs/**'];
  const sidekey = await startSidekey({
    domains: { [upstream.authority]: { grant: 'forge' } },
    config: {
      providers: {
        forge: {
          audience: [upstream.authority],
          inject: [{ paths, as: { basic: 'x-access-token' } }, { as: 'own' }],
        },
      },
    },
  });
  await sidekey.grant([upstream.authority], { name: 'forge', provider: 'forge' });
  const get = async (path: string) => {
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET ${path} HTTP/1.1\r\nHost: ${upstream.authority}\r\nConnection: close\r\n\r\n`);
    return (await client.response()).status;
  };
  for (const path of website) await get(path);
  expect(seen.length).toBeGreaterThan(5);
  expect(seen.filter((line) => !line.endsWith(' none'))).toEqual([]);
  expect(await get('/acme/widgets.git/info/refs?service=git-upload-pack')).toBe(200);
  const basic = Buffer.from(`x-access-token:${bearerToken}`).toString('base64');
  expect(seen.at(-1)).toBe(`/acme/widgets.git/info/refs?service=git-upload-pack Basic ${basic}`);
});
