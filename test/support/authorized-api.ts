import { startUpstream, upstreamHost } from './upstream.ts';

/** Starts an API that answers 200 to the authorizations that `isGood` names, else 401, and records them. */
export async function startAuthorizedApi(isGood: (authorization: string) => boolean, provider: object = {}) {
  const asked: string[] = [];
  const upstream = await startUpstream((request, response) => {
    const { authorization = '' } = request.headers;
    asked.push(authorization);
    response.statusCode = isGood(authorization) ? 200 : 401;
    response.end('{}');
  });
  return {
    asked,
    upstream,
    /** Config with the API as the provider `desk`. `upstream-ca.pem` beside it has the CA. */
    settings: {
      upstream: {
        ca: ['upstream-ca.pem'],
        resolve: { [upstreamHost]: '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
      },
      providers: {
        desk: { audience: [upstream.authority], probe: { url: `${upstream.url}/me` }, ...provider },
      },
    },
  };
}
