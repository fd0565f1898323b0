import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';

/**
 * Resolves with the body of a request to a server of a test. If the client leaves before the end of the body,
 * the promise stays pending. A rejection may come after the end of the test, when its server closes, and
 * would be an unhandled error of the whole run.
 */
export function requestBytes(request: Readable): Promise<Buffer> {
  return new Promise((resolve) => {
    buffer(request).then(resolve, () => {});
  });
}

/** Resolves with the body as text, as `requestBytes`. */
export async function requestBody(request: Readable): Promise<string> {
  return (await requestBytes(request)).toString();
}
