import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { homedir } from 'node:os';
import { describe, expect, test } from 'vitest';
import { tarGz, zip } from '../support/archive.ts';
import { type Home, home } from '../support/command-line.ts';
import { startUpstream, type Upstream, upstreamCa, upstreamLeaf } from '../support/upstream.ts';
import { missing } from './support/stage.ts';

const token = 'key-secret-0123456789';
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

const crate = tarGz({
  'widgets-1.0.0/Cargo.toml': '[package]\nname = "widgets"\nversion = "1.0.0"\n',
  'widgets-1.0.0/src/lib.rs': '',
});
const wheelName = 'widgets-1.0-py3-none-any.whl';
const wheel = zip({
  'widgets-1.0.dist-info/METADATA': 'Metadata-Version: 2.1\nName: widgets\nVersion: 1.0\n',
  'widgets-1.0.dist-info/WHEEL': 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
  'widgets-1.0.dist-info/RECORD': '',
});
const goModule = '/go/modules.acme.test/widgets/@v';
const commit = 'a'.repeat(40);
const line = { name: 'widgets', vers: '1.0.0', deps: [], cksum: sha256(crate), features: {}, yanked: false };

/** A registry of every kind, which answers only requests with this field. */
function registry(authorization: string | undefined): RequestListener {
  return (request, response) => {
    const origin = `https://${request.headers.host}`;
    const answers: Readonly<Record<string, string | Buffer>> = {
      '/npm/widgets': JSON.stringify({
        name: 'widgets',
        'dist-tags': { latest: '1.0.0' },
        versions: { '1.0.0': { name: 'widgets', version: '1.0.0', dist: { tarball: `${origin}/none` } } },
      }),
      '/simple/widgets/': `<a href="/files/${wheelName}#sha256=${sha256(wheel)}">${wheelName}</a>`,
      [`/files/${wheelName}`]: wheel,
      '/r.git/info/refs': `${commit}\trefs/heads/main\n`,
      '/r.git/HEAD': 'ref: refs/heads/main\n',
      [`${goModule}/list`]: 'v1.0.0\n',
      [`${goModule}/v1.0.0.info`]: '{"Version":"v1.0.0","Time":"2026-01-02T03:04:05Z"}',
      [`${goModule}/v1.0.0.mod`]: 'module modules.acme.test/widgets\n',
      '/index/config.json': JSON.stringify({ dl: `${origin}/dl` }),
      '/index/wi/dg/widgets': JSON.stringify(line),
      '/dl/widgets/1.0.0/download': crate,
    };
    const path = request.url?.split('?', 1)[0] ?? '';
    const answer = request.headers.authorization === authorization ? answers[path] : undefined;
    const type = path.startsWith('/simple') ? 'text/html' : 'application/octet-stream';
    response.writeHead(answer === undefined ? 404 : 200, { 'content-type': type }).end(answer);
  };
}

interface Stand {
  readonly at: Home;
  readonly hosts: Readonly<Record<'listed' | 'unlisted', Upstream>>;
  /** Variables of `sidekey env`, for a shell that trusts a company root already. */
  readonly set: Readonly<Record<string, string>>;
}

async function stand(): Promise<Stand> {
  const listed = await startUpstream(registry(`Bearer ${token}`));
  const other = await startUpstream(registry(undefined), upstreamLeaf('other.acme.test'));
  const authority = `other.acme.test:${other.port}`;
  const unlisted = { ...other, authority, url: `https://${authority}` };
  const at = await home({
    proxy: { listen: '127.0.0.1:0', unmatched: 'tunnel' },
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { 'api.acme.test': '127.0.0.1', 'other.acme.test': '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { [listed.authority]: { grant: 'work' } },
  });
  const root = at.at('config', 'upstream-ca.pem');
  await writeFile(root, upstreamCa);
  await at.grant('work', { api_key: token }, ['--provider', 'github', '--audience', listed.authority]);
  const { url } = await at.start();
  const env = { PATH: process.env['PATH'] ?? '', SSL_CERT_FILE: root };
  const { set } = (await at.json(['env', '--proxy', url], { env })) as Pick<Stand, 'set'>;
  return { at, hosts: { listed, unlisted }, set };
}

/** Runs a program in a folder of its own, which is its HOME; returns its output. */
async function outputOf(
  { at, set }: Stand,
  folder: string,
  [program, ...args]: readonly [string, ...string[]],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  await mkdir(folder, { recursive: true });
  return new Promise((resolve) => {
    const all = { PATH: process.env['PATH'], TMPDIR: at.folder, HOME: folder, ...set, ...env };
    execFile(program, args, { cwd: folder, timeout: 60_000, env: all }, (_error, stdout, stderr) =>
      resolve(stdout + stderr),
    );
  });
}

describe('after sidekey env, with unlisted hosts tunnelled', { timeout: 120_000 }, () => {
  const kinds = ['listed', 'unlisted'] as const;

  test.skipIf(missing('npm', '--version')).each(kinds)('npm reaches a host that is %s', async (kind) => {
    const it = await stand();
    const words = ['view', 'widgets', 'version', '--registry', `${it.hosts[kind].url}/npm/`] as const;
    expect(await outputOf(it, it.at.at('npm'), ['npm', ...words])).toBe('1.0.0\n');
  });

  test.skipIf(missing('python3', '-m', 'pip', '--version')).each(kinds)(
    'pip reaches a host that is %s',
    async (kind) => {
      const it = await stand();
      const index = ['--no-deps', '--index-url', `${it.hosts[kind].url}/simple/`];
      const words = ['-m', 'pip', 'download', '--disable-pip-version-check', ...index, 'widgets'];
      const said = await outputOf(it, it.at.at('pip'), ['python3', ...words], {
        PIP_CONFIG_FILE: '/dev/null',
      });
      expect(said).toContain('Successfully downloaded widgets');
    },
  );

  test.skipIf(missing('git', '--version')).each(kinds)('git reaches a host that is %s', async (kind) => {
    const it = await stand();
    const said = await outputOf(it, it.at.at('git'), ['git', 'ls-remote', `${it.hosts[kind].url}/r.git`]);
    expect(said).toContain(`${commit}\trefs/heads/main\n`);
  });

  test.skipIf(missing('go', 'version')).each(kinds)('go reaches a host that is %s', async (kind) => {
    const it = await stand();
    const words = ['list', '-m', '-versions', 'modules.acme.test/widgets'];
    const env = { GOPROXY: `${it.hosts[kind].url}/go`, GONOSUMDB: '*', GOTOOLCHAIN: 'local' };
    expect(await outputOf(it, it.at.at('go'), ['go', ...words], env)).toBe(
      'modules.acme.test/widgets v1.0.0\n',
    );
  });

  test.skipIf(missing('cargo', 'info', '--help')).each(kinds)(
    'cargo reaches a host that is %s',
    async (kind) => {
      const it = await stand();
      const folder = it.at.at('cargo');
      await mkdir(`${folder}/src`, { recursive: true });
      await writeFile(`${folder}/src/lib.rs`, '');
      await writeFile(
        `${folder}/Cargo.toml`,
        '[package]\nname = "work"\nversion = "1.0.0"\n[dependencies]\nwidgets = { version = "1", registry = "acme" }\n',
      );
      const env = {
        RUSTUP_HOME: process.env['RUSTUP_HOME'] ?? `${homedir()}/.rustup`,
        CARGO_REGISTRIES_ACME_INDEX: `sparse+${it.hosts[kind].url}/index/`,
      };
      expect(await outputOf(it, folder, ['cargo', 'fetch'], env)).toContain('Downloaded widgets v1.0.0');
    },
  );
});
