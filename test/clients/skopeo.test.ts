import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { clientEnvironment, findClient } from '../support/client-program.ts';
import { digestOf, startImageRegistry, tokenRealm, type RegistryRequest } from '../support/image-registry.ts';
import { startSidekey } from '../support/sidekey.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { startUpstream, upstreamCa, upstreamHost, upstreamLeaf } from '../support/upstream.ts';

const skopeo = await findClient('skopeo', ['--version']);
const token = 'token-of-the-hub-0123456789';
const basic = `Basic ${Buffer.from(`ann:${token}`).toString('base64')}`;
const tokenHost = 'tokens.acme.test';
const objectHost = 'objects.acme.test';

/** An image of one layer, as a folder in the layout of OCI. Answers with its layer. */
async function writeImage(folder: string): Promise<Buffer> {
  const blobs = join(folder, 'blobs', 'sha256');
  await mkdir(blobs, { recursive: true });
  const keep = async (mediaType: string, content: Buffer) => {
    const digest = digestOf(content);
    await writeFile(join(blobs, digest.slice('sha256:'.length)), content);
    return { mediaType, digest, size: content.length };
  };
  // Two blocks of zeros are the end of a tar file; what stands behind them nobody reads.
  const tar = Buffer.concat([Buffer.alloc(1024), randomBytes(1 << 20)]);
  const layer = gzipSync(tar);
  const config = {
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: [digestOf(tar)] },
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: await keep('application/vnd.oci.image.config.v1+json', Buffer.from(JSON.stringify(config))),
    layers: [await keep('application/vnd.oci.image.layer.v1.tar+gzip', layer)],
  };
  const described = await keep(manifest.mediaType, Buffer.from(JSON.stringify(manifest)));
  await writeFile(join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  await writeFile(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [described] }));
  return layer;
}

describe.skipIf(skopeo.missing !== false)(
  `skopeo${skopeo.missing === false ? '' : ` (${skopeo.missing})`}`,
  () => {
    test.each(['another host', 'the registry itself'])(
      'pushes and pulls an image with a token that it gets for a credential it never sees, from %s',
      async (where) => {
        const isOther = where === 'another host';
        const folder = await tempFolder();
        const realm = tokenRealm(basic);
        const atRealm: RegistryRequest[] = [];
        const realmHost = await startUpstream((request, response) => {
          const { method = '', url: target = '', headers } = request;
          atRealm.push({ method, target, authorization: headers.authorization });
          realm.answer(request, response);
        }, upstreamLeaf(tokenHost));
        const blobs = new Map<string, Buffer>();
        const atObjects: string[] = [];
        const objects = await startUpstream((request, response) => {
          atObjects.push(JSON.stringify(request.headers));
          response.end(blobs.get(request.url?.split('?', 1)[0]?.split('/').at(-1) ?? ''));
        }, upstreamLeaf(objectHost));
        const tokens = `${tokenHost}:${realmHost.port}`;
        const registry = await startImageRegistry(
          realm,
          {
            realm: isOther ? `https://${tokens}/token` : null,
            objects: `https://${objectHost}:${objects.port}`,
          },
          blobs,
        );
        const credentialGoesTo = isOther ? tokens : registry.authority;
        const sidekey = await startSidekey({
          domains: {
            [registry.authority]: { grant: 'hub' },
            [tokens]: { grant: 'hub' },
            [`${objectHost}:${objects.port}`]: 'tunnel',
          },
          config: {
            providers: {
              hub: {
                audience: [credentialGoesTo],
                inject: [
                  { hosts: [credentialGoesTo], paths: ['/token'], as: { basic: 'token' } },
                  { hosts: [registry.authority], as: 'own' },
                ],
              },
            },
            upstream: {
              ca: ['upstream-ca.pem'],
              resolve: { [upstreamHost]: '127.0.0.1', [tokenHost]: '127.0.0.1', [objectHost]: '127.0.0.1' },
              private_addresses: ['127.0.0.1/32'],
            },
          },
        });
        await sidekey.grant([credentialGoesTo], {
          name: 'hub',
          provider: 'hub',
          credential: { type: 'basic', username: 'ann', password: token },
        });
        const bundle = join(folder, 'bundle.pem');
        await writeFile(bundle, `${sidekey.caPem}\n${upstreamCa}`);
        const env = clientEnvironment({ url: sidekey.url, caFile: bundle });
        const policy = join(folder, 'policy.json');
        await writeFile(policy, JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] }));
        const copy = (from: string, to: string) =>
          skopeo.succeed(['--policy', policy, 'copy', from, to], { cwd: folder, env });

        const layer = await writeImage(join(folder, 'image'));
        const name = `docker://${registry.authority}/acme/widgets:latest`;
        await copy(`oci:${join(folder, 'image')}`, name);
        await copy(name, `dir:${join(folder, 'pulled')}`);
        const pulled = await readFile(join(folder, 'pulled', digestOf(layer).slice('sha256:'.length)));
        expect(layer.equals(pulled)).toBe(true);

        // The credential was where tokens are handed out, and nowhere else.
        const asking = isOther ? atRealm : registry.seen.filter(({ target }) => target.startsWith('/token'));
        expect(asking.length).toBeGreaterThanOrEqual(2);
        for (const { authorization } of asking) expect(authorization).toBe(basic);
        const rest = registry.seen.filter((each) => !asking.includes(each));
        const used = new Set(rest.map(({ authorization }) => authorization));
        for (const authorization of used) {
          const isHandedOut = realm.tokens.has(authorization?.slice('Bearer '.length) ?? '');
          expect(authorization === undefined || isHandedOut).toBe(true);
        }
        expect(used.size).toBeGreaterThan(1);
        expect(atObjects.length).toBeGreaterThan(0);
        expect(atObjects.join('\n')).not.toMatch(/authorization/i);

        // All of it is in the audit file; a credential only where one left.
        const lines = (await sidekey.audit()).filter(
          ({ event, path }) => event === 'access' && path !== undefined,
        );
        expect(lines).toHaveLength(registry.seen.length + atRealm.length);
        for (const { path, credential } of lines) {
          expect([path, credential !== undefined]).toEqual([path, path === '/token']);
        }
      },
    );
  },
);
