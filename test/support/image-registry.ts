import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { startUpstream, type Upstream } from './upstream.ts';

/** One request as a host received it. */
export interface RegistryRequest {
  readonly method: string;
  readonly target: string;
  readonly authorization: string | undefined;
}

export interface ImageRegistry extends Upstream {
  readonly seen: readonly RegistryRequest[];
}

/** Issues registry tokens for the one valid credential, and verifies them. */
export interface TokenRealm {
  readonly tokens: ReadonlySet<string>;
  readonly answer: (request: IncomingMessage, response: ServerResponse) => void;
}

/**
 * The token endpoint of the Bearer challenge of registries: `GET /token?service=…&scope=…`.
 * @param hold awaited before a token is issued
 */
export function tokenRealm(authorization: string, hold = async () => {}): TokenRealm {
  const tokens = new Set<string>();
  return {
    tokens,
    answer(request, response) {
      request.resume();
      if (request.headers.authorization !== authorization) {
        response.writeHead(401).end();
        return;
      }
      void hold().then(() => {
        const token = `registry-token-${randomUUID()}`;
        tokens.add(token);
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify({ token, access_token: token, expires_in: 300 }));
      });
    },
  };
}

const part = /^\/v2\/(?<name>.+?)\/(?<kind>manifests|blobs)\/(?<id>uploads\/?[^/]*|[^/]+)$/;

/**
 * A registry of images (OCI Distribution 1.1) that accepts only the tokens of a realm. Blobs are downloaded
 * from another host by a signed address.
 * @param realm URL of the realm; null: `/token` of the registry
 * @param objects URL of the host of blobs
 */
export async function startImageRegistry(
  { tokens, answer }: TokenRealm,
  { realm, objects }: { readonly realm: string | null; readonly objects: string },
  blobs: Map<string, Buffer>,
): Promise<ImageRegistry> {
  const seen: RegistryRequest[] = [];
  const manifests = new Map<string, { readonly type: string; readonly body: Buffer }>();
  const uploads = new Map<string, Buffer>();
  let own = '';
  const listener = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method = '', url: target = '', headers } = request;
    seen.push({ method, target, authorization: headers.authorization });
    const url = new URL(target, own);
    if (url.pathname === '/token') return answer(request, response);
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const end = (status: number, fields: Readonly<Record<string, string>> = {}, content?: Buffer) => {
      response.writeHead(status, fields);
      response.end(content);
    };
    const [, token = ''] = /^Bearer (.+)$/.exec(headers.authorization ?? '') ?? [];
    if (!tokens.has(token)) {
      const challenge = `Bearer realm="${realm ?? `${own}/token`}",service="registry.acme.test"`;
      return end(401, { 'www-authenticate': challenge });
    }
    if (url.pathname === '/v2/') return end(200);
    const { name = '', kind, id = '' } = part.exec(url.pathname)?.groups ?? {};
    if (kind === 'manifests') {
      if (method === 'PUT') {
        const manifest = { type: headers['content-type'] ?? '', body };
        manifests.set(`${name}@${id}`, manifest).set(`${name}@${digestOf(body)}`, manifest);
        return end(201, { 'docker-content-digest': digestOf(body) });
      }
      const found = manifests.get(`${name}@${id}`);
      if (found === undefined) return end(404);
      return end(
        200,
        {
          'content-type': found.type,
          'content-length': `${found.body.length}`,
          'docker-content-digest': digestOf(found.body),
        },
        method === 'HEAD' ? undefined : found.body,
      );
    }
    if (kind === 'blobs' && id.startsWith('uploads')) {
      const upload = id.slice('uploads/'.length) || randomUUID();
      const held = Buffer.concat([uploads.get(upload) ?? Buffer.alloc(0), body]);
      uploads.set(upload, held);
      const location = `/v2/${name}/blobs/uploads/${upload}`;
      if (method !== 'PUT') return end(202, { location, range: `0-${Math.max(0, held.length - 1)}` });
      const digest = url.searchParams.get('digest') ?? '';
      if (digest !== digestOf(held)) return end(400);
      blobs.set(digest, held);
      return end(201, { location: `/v2/${name}/blobs/${digest}` });
    }
    const blob = blobs.get(id);
    if (blob === undefined) return end(404);
    if (method === 'HEAD') return end(200, { 'content-length': `${blob.length}` });
    return end(307, { location: `${objects}/store/${id}?signature=made-for-this` });
  };
  const upstream = await startUpstream((request, response) => void listener(request, response));
  own = upstream.url;
  return { ...upstream, seen };
}

/** The digest by which registries name content. */
export function digestOf(content: Buffer): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}
