import type { Dispatcher } from 'undici';
import { describe, expect, it, vi } from 'vitest';
import { defaultLimits } from '../../../src/policy/limits.ts';
import { createGone } from '../../../src/proxy/gone.ts';
import { forward, type Departure } from '../../../src/proxy/forward.ts';
import type { RawFields } from '../../../src/proxy/fields.ts';
import type { Reply } from '../../../src/proxy/message.ts';

/** A pool that does what the script says with the handler of each request. */
function poolOf(...script: ((handler: Required<Dispatcher.DispatchHandler>) => void)[]): Dispatcher {
  const dispatch = vi.fn((_options: unknown, handler: Required<Dispatcher.DispatchHandler>) => {
    script.shift()?.(handler);
    return true;
  });
  const pool: unknown = { dispatch };
  return pool as Dispatcher;
}

function controllerOf(fields: RawFields = []): Dispatcher.DispatchController {
  const controller: unknown = {
    rawHeaders: fields.map((text) => Buffer.from(text)),
    rawTrailers: [],
    pause: vi.fn<() => void>(),
    resume: vi.fn<() => void>(),
    abort: vi.fn<() => void>(),
  };
  return controller as Dispatcher.DispatchController;
}

function replyOf(gone = createGone()) {
  const said: unknown[] = [];
  let started = false;
  const reply: Reply = {
    get started() {
      return started;
    },
    gone,
    continue: () => said.push('continue'),
    informational: (status) => said.push(['informational', status]),
    last() {},
    head(status, reason) {
      started = true;
      said.push(['head', status, reason]);
    },
    write(chunk) {
      said.push(['write', chunk.toString()]);
      return true;
    },
    onDrain() {},
    end(_trailers, flushed) {
      said.push('end');
      flushed?.();
    },
    abort: () => said.push('abort'),
  };
  return { reply, said };
}

const departure = (renew: Departure['renew']): Departure => ({
  authority: { scheme: 'https', host: 'api.acme.test', port: 443 },
  method: 'GET',
  path: '/',
  fields: ['Host', 'api.acme.test'],
  body: null,
  carriesGrant: true,
  renew,
});

/** A 401 that is over, and whose connection is closed, before it is known whether there is a newer token. */
function unauthorized(handler: Required<Dispatcher.DispatchHandler>): void {
  const controller = controllerOf();
  handler.onRequestStart(controller, null);
  handler.onResponseStarted();
  handler.onResponseStart(controller, 401, {}, 'Unauthorized');
  handler.onResponseData(controller, Buffer.from('who are you?'));
  handler.onResponseEnd(controller, {});
}

describe('a 401 while the token is renewed', () => {
  it('is said to nobody before that is known, then whole', async () => {
    const renewal = Promise.withResolvers<RawFields | null>();
    const { reply, said } = replyOf();
    const carried = forward(
      departure(() => renewal.promise),
      reply,
      poolOf(unauthorized),
      defaultLimits,
    );
    await Promise.resolve();
    expect(said).toEqual([]);
    renewal.resolve(null);
    expect(await carried).toEqual({ status: 401, bytesIn: 0, bytesOut: 12, fate: 'complete' });
    expect(said).toEqual([['head', 401, 'Unauthorized'], ['write', 'who are you?'], 'end']);
  });

  it('is forgotten where the request is sent anew', async () => {
    const { reply, said } = replyOf();
    const carried = await forward(
      departure(async () => ['Host', 'api.acme.test', 'Authorization', 'Bearer second']),
      reply,
      poolOf(unauthorized, (handler) => {
        const controller = controllerOf();
        handler.onRequestStart(controller, null);
        handler.onResponseStart(controller, 200, {}, 'OK');
        handler.onResponseEnd(controller, {});
      }),
      defaultLimits,
    );
    expect(carried).toMatchObject({ status: 200, fate: 'complete' });
    expect(said).toEqual([['head', 200, 'OK'], 'end']);
  });

  it('says nothing to a client that left meanwhile', async () => {
    const renewal = Promise.withResolvers<RawFields | null>();
    const gone = createGone();
    const { reply, said } = replyOf(gone);
    const carried = forward(
      departure(() => renewal.promise),
      reply,
      poolOf(unauthorized),
      defaultLimits,
    );
    gone.tell();
    expect(await carried).toMatchObject({ status: 401, fate: 'gone' });
    renewal.resolve(null);
    await renewal.promise;
    await Promise.resolve();
    expect(said).toEqual([]);
  });
});

describe('a client that left before its request was sent', () => {
  it('has nothing sent', async () => {
    const gone = createGone();
    gone.tell();
    let sent = false;
    const pool = poolOf(() => (sent = true));
    const carried = await forward(departure(undefined), replyOf(gone).reply, pool, defaultLimits);
    expect([carried.status, carried.fate, sent]).toEqual([0, 'gone', false]);
  });
});
