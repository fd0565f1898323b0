import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { startH2Upstream, startUpstream, type Upstream } from './upstream.ts';

/** One request as a host received it. */
export interface SeenRequest {
  readonly method: string;
  /** The path with its query. */
  readonly target: string;
  readonly version: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Identifies the connection. */
  readonly connection: unknown;
  /** The status of the response. */
  status: number;
  /** Number of bytes of its encoded body. */
  bytes: number;
}

export interface GitHost extends Upstream {
  readonly seen: readonly SeenRequest[];
  /** Large files that were uploaded to `objects`, by SHA-256. */
  readonly files: ReadonlyMap<string, Buffer>;
}

export interface GitHostOptions {
  /** Bare repositories. */
  readonly root: string;
  /** The only accepted value of `Authorization` for git paths. */
  readonly authorization: string;
  readonly http2?: boolean;
  /** URL of the host of large files. */
  readonly objects?: string;
  /** Awaited before an authenticated request is read; its argument describes the request. */
  readonly hold?: (what: string) => Promise<void>;
}

const paths = /\/(info\/refs|git-upload-pack|git-receive-pack|info\/lfs\/.*)$/;

/** Git's own server behind TLS, with large files (LFS), and a public website around it. */
export async function startGitHost(options: GitHostOptions): Promise<GitHost> {
  const seen: SeenRequest[] = [];
  const files = new Map<string, Buffer>();
  const { hold = async () => {} } = options;
  const listener = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const target = request.url ?? '';
    const [path = ''] = target.split('?', 1);
    const record = recordOf(request);
    seen.push(record);
    response.once('finish', () => (record.status = response.statusCode));
    if (!paths.test(path)) {
      request.resume();
      response.end(`website, ${request.headers.authorization ?? 'anonymous'}`);
      return;
    }
    if (request.headers.authorization !== options.authorization) {
      request.resume();
      response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' });
      response.end();
      return;
    }
    await hold(target);
    request.on('data', (chunk: Buffer) => (record.bytes += chunk.length));
    if (path.endsWith('/info/lfs/objects/batch')) batch(request, response, options.objects ?? '');
    else backend(request, response, options.root);
  };
  // Node's HTTP/2 has the used parts of requests and responses under the same names.
  const start = options.http2 === true ? (startH2Upstream as unknown as typeof startUpstream) : startUpstream;
  const upstream = await start((request, response) => void listener(request, response));
  return { ...upstream, seen, files };
}

/**
 * A host of large files that stores each upload under the last segment of its path. It requires no
 * credential.
 */
export async function startObjectHost(identity: {
  readonly key: string;
  readonly cert: string;
}): Promise<GitHost> {
  const seen: SeenRequest[] = [];
  const files = new Map<string, Buffer>();
  const upstream = await startUpstream((request, response) => {
    const record = recordOf(request);
    seen.push(record);
    response.once('finish', () => (record.status = response.statusCode));
    const id = (request.url ?? '').split('?', 1)[0]?.split('/').at(-1) ?? '';
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.once('end', () => {
      const body = Buffer.concat(chunks);
      const known = files.get(id);
      if (request.method === 'PUT') {
        const isWhole = createHash('sha256').update(body).digest('hex') === id;
        if (isWhole) files.set(id, body);
        response.writeHead(isWhole ? 200 : 400).end();
      } else if (known === undefined) response.writeHead(404).end();
      else response.end(known);
    });
  }, identity);
  return { ...upstream, seen, files };
}

function recordOf(request: IncomingMessage): SeenRequest {
  return {
    method: request.method ?? '',
    target: request.url ?? '',
    version: request.httpVersion,
    headers: { ...request.headers },
    connection: request.socket,
    status: 0,
    bytes: 0,
  };
}

/** The batch API of git-lfs: the signed address for the upload or download of each object. */
function batch(request: IncomingMessage, response: ServerResponse, objects: string): void {
  let text = '';
  request.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  request.once('end', () => {
    const { operation, objects: wanted } = JSON.parse(text) as {
      readonly operation: 'upload' | 'download';
      readonly objects: readonly { readonly oid: string; readonly size: number }[];
    };
    response.writeHead(200, { 'content-type': 'application/vnd.git-lfs+json' });
    response.end(
      JSON.stringify({
        transfer: 'basic',
        objects: wanted.map(({ oid, size }) => ({
          oid,
          size,
          authenticated: true,
          actions: { [operation]: { href: `${objects}/store/${oid}?signature=made-for-this` } },
        })),
      }),
    );
  });
}

/** Runs git-http-backend, which is a CGI program (RFC 3875). */
function backend(request: IncomingMessage, response: ServerResponse, root: string): void {
  const [path = '', query = ''] = (request.url ?? '').split('?');
  const header = (name: string) => String(request.headers[name] ?? '');
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env['PATH'],
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_CONFIG_NOSYSTEM: '1',
      REMOTE_USER: 'known',
      REQUEST_METHOD: request.method,
      PATH_INFO: path,
      QUERY_STRING: query,
      CONTENT_TYPE: header('content-type'),
      HTTP_CONTENT_ENCODING: header('content-encoding'),
      GIT_PROTOCOL: header('git-protocol'),
      ...(request.headers['content-length'] === undefined
        ? {}
        : { CONTENT_LENGTH: header('content-length') }),
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdin.on('error', () => {});
  request.pipe(child.stdin);
  let head: Buffer | null = Buffer.alloc(0);
  child.stdout.on('data', (chunk: Buffer) => {
    if (head === null) {
      response.write(chunk);
      return;
    }
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) return;
    let status = 200;
    for (const line of head.subarray(0, end).toString('latin1').split('\r\n')) {
      const [, name = '', value = ''] = /^([^:]+): *(.*)$/.exec(line) ?? [];
      if (name.toLowerCase() === 'status') status = Number.parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.statusCode = status;
    const rest = head.subarray(end + 4);
    head = null;
    response.write(rest);
  });
  child.stdout.once('end', () => response.end());
}
