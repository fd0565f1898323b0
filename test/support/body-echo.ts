import { requestBytes } from './request-body.ts';
import { startUpstream } from './upstream.ts';

/** Starts an upstream that answers with the bytes and the type of each body. Returns its address. */
export async function startEcho(): Promise<string> {
  const { url } = await startUpstream((request, response) => {
    void requestBytes(request).then((bytes) =>
      response.end(JSON.stringify([bytes.toString('hex'), request.headers['content-type'] ?? null])),
    );
  });
  return `${url}/`;
}
