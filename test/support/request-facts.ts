import { parseAbsoluteTarget } from '../../src/proxy/policy/authority.ts';
import type { RequestFacts } from '../../src/proxy/policy/request.ts';

/** The facts of a request without a body, from an unidentified local caller. */
export function factsOf(url: string, facts: Partial<RequestFacts> = {}): RequestFacts {
  const target = parseAbsoluteTarget(url);
  if (target === null) throw new Error(`${url} is no absolute URL`);
  return {
    ...target,
    method: 'GET',
    methodFields: [],
    pathFields: [],
    methodParameters: [],
    upgrades: false,
    client: '127.0.0.1',
    agent: null,
    user: null,
    labels: [],
    reason: null,
    contentType: null,
    contentLength: 0,
    now: 0,
    body: null,
    ...facts,
  };
}
