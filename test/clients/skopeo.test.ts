import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { digestOf, startImageRegistry, tokenRealm, type RegistryRequest } from '../support/image-registry.ts';
import { startUpstream, upstreamLeaf } from '../support/upstream.ts';
import { createSecret } from './support/secret.ts';
import { missing, openStage } from './support/stage.ts';

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

test.skipIf(missing('skopeo', '--version')).each(['another host', 'the registry itself'])(
  'skopeo pushes and pulls an image without seeing its credential, with a registry token from %s',
  { timeout: 120_000 },
  async (where) => {
    const isOther = where === 'another host';
    const secret = createSecret();
    const basic = secret.basic('ann');
    const realm = tokenRealm(basic, secret.hold);
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
    const { room, script, home, accesses } = await openStage(secret, {
      domains: {
        [registry.authority]: { grant: 'client-test' },
        [tokens]: { grant: 'client-test' },
        [`${objectHost}:${objects.port}`]: 'tunnel',
      },
      provider: 'hub',
      inject: [
        { hosts: [credentialGoesTo], paths: ['/token'], as: { basic: 'token' } },
        { hosts: [registry.authority], as: 'own' },
      ],
      definition: {
        environment: { HUB_TOKEN: 'dckr_pat_sidekeyPlaceholder0000000000' },
        mints: [
          {
            name: 'registry',
            path: '/token',
            member: ['token', 'access_token'],
            expires_member: 'expires_in',
            goes_to: [registry.authority],
            as: 'bearer',
          },
        ],
      },
      audience: credentialGoesTo,
      credential: { type: 'basic', username: 'ann', password: secret.token },
      hosts: [tokenHost, objectHost],
    });
    const layer = await writeImage(join(room, 'image'));
    await writeFile(
      join(room, 'policy.json'),
      JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] }),
    );
    const ran = await script(
      [
        // Pushed with what stands in for the credential, pulled with nothing.
        'skopeo --policy policy.json copy --dest-creds ann:$HUB_TOKEN oci:image $IMAGE',
        'skopeo --policy policy.json copy $IMAGE dir:pulled',
      ],
      {
        env: {
          IMAGE: `docker://${registry.authority}/acme/widgets:latest`,
          // A blind tunnel shows the certificate of the upstream itself.
          SSL_CERT_FILE: home.at('config', 'upstream-ca.pem'),
        },
      },
    );
    const pulled = await readFile(join(room, 'pulled', digestOf(layer).slice('sha256:'.length)));
    expect(layer.equals(pulled)).toBe(true);
    expect(ran.lookedInto).toContainEqual(expect.stringContaining('skopeo --policy'));

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

    // All of it is in the audit file; a credential only where one left, also one of a registry.
    const lines = (await accesses()).filter(({ path }) => path !== undefined);
    expect(lines).toHaveLength(registry.seen.length + atRealm.length);
    const carried = [...registry.seen, ...atRealm].filter(({ authorization }) => authorization !== undefined);
    expect(lines.filter(({ credential }) => credential !== undefined)).toHaveLength(carried.length);
  },
);
