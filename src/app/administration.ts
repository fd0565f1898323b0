import { isDeepStrictEqual } from 'node:util';
import type { ServiceParts } from '../api/parts.ts';
import type { Service } from '../api/service.ts';
import { someUnreadable } from '../grants/references.ts';
import { systemTimers as timers } from '../lib/timers.ts';
import { instanceOf } from '../store/vault/instance.ts';
import { createBackground } from './background.ts';
import type { Core, Credentials } from './core.ts';
import { createMetrics } from './metrics.ts';
import { createReadiness } from './readiness.ts';
import { refreshParts } from './refresh-parts.ts';
import { openApprovalService, openTracer } from './wiring.ts';

/** The parts that people and monitors reach: pages with the API, readiness, metrics and traces. */
export type Administration = Awaited<ReturnType<typeof openAdministration>>;

/** Opens the pages last: once they listen, the API may use every other part. */
export async function openAdministration(core: Core, credentials: Credentials) {
  const { initial, parts, opened, late, figures, state, ownPorts, current } = core;
  const { log, now, env, supervisor, worker, probePrograms } = parts;
  const { config, fetch, upstream } = current;
  const shared = { fetch, log, now, env };
  const background = opened.adopt(createBackground(), (it) => it.close());
  const { traces } = initial.telemetry;
  if (traces !== null && supervisor === undefined) {
    // Loaded on use: a start needs no tracer.
    const tracer = await openTracer(traces, { ...shared, file: initial.file });
    late.tracer = opened.adopt(tracer, (it) => it.close());
  }
  const accepts = () => late.listener?.accepts() ?? false;
  const readiness = createReadiness({ ...state, accepts, now, timers, log });
  const metrics = createMetrics({
    ...state,
    figures,
    tracer: () => late.tracer,
    upstream,
    config,
    isConfigRejected: current.isRejected,
    readiness,
    workers: supervisor?.figures,
    now,
  });
  const service = lazyService(() => serviceParts(core, credentials, administration));
  const approvals = opened.adopt(
    await openApprovalService(state, {
      ...shared,
      config,
      pages: worker?.pages,
      showBody: worker?.showBody,
      service: probePrograms && service,
    }),
    (it) => it.close(),
  );
  if (approvals.port !== null) ownPorts.push(approvals.port);
  const administration = { background, approvals, readiness, metrics };
  return administration;
}

/** Returns the handler of the API, which is loaded at its first request, so that a start is faster. */
function lazyService(parts: () => ServiceParts): Service['handle'] {
  let loaded: Promise<Service> | undefined;
  async function load(): Promise<Service> {
    const [{ createService }, { authenticator }] = await Promise.all([
      import('../api/service.ts'),
      import('../api/caller.ts'),
    ]);
    const given = parts();
    return createService(given, authenticator(given));
  }
  return async (request, response) => {
    loaded ??= load();
    await (await loaded).handle(request, response);
  };
}

function serviceParts(
  { initial, parts, late, state, current }: Core,
  { refreshing, tokens, quota }: Credentials,
  { background, approvals, readiness, metrics }: Administration,
): ServiceParts {
  const { log, now, env, probePrograms } = parts;
  const { config, fetch, newest } = current;
  return {
    ...state,
    listening: late.address.promise,
    config: newest,
    env,
    now,
    tokens,
    approvals: approvals.queue,
    quota,
    fetch,
    url: () => approvals.url ?? '',
    readMetrics: metrics.read,
    readiness,
    log,
    timers,
    probePrograms: probePrograms!,
    proxy: {
      health: async () =>
        isDeepStrictEqual(config().proxy.listen, initial.proxy.listen)
          ? { kind: 'serving', instance: instanceOf(state.vault) }
          : { kind: 'silent', why: 'proxy.listen has changed since the start' },
      unreadable: () => someUnreadable(refreshing),
    },
    renewal: ({ fetch: ownFetch, ...own }) =>
      refreshParts({ ...state, ...own }, { config: () => own.config, fetch: () => ownFetch, now, env }),
    inBackground: (work) => background.run(work),
  };
}
