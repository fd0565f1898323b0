import { get, type IncomingMessage, type RequestOptions } from 'node:http';

/** Sends a GET to this machine. Resolves with the response; its body is not read. */
export function readHead(options: RequestOptions): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', agent: false, ...options }, (answer) => resolve(answer.resume())).once(
      'error',
      reject,
    );
  });
}
