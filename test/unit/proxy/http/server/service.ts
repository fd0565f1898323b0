import { systemTimers } from '../../../../../src/lib/timers.ts';
import { defaultLimits, type Limits } from '../../../../../src/proxy/policy/limits.ts';
import type { Service } from '../../../../../src/proxy/http/server/h1-connection.ts';
import { refuseOn } from '../../../../../src/proxy/http/problem.ts';

/** Answers a request; resolves when that is done. */
export type ExchangeForTest = (...request: Parameters<Service['exchange']>) => Promise<void>;

/** A service that answers as the test says, and refuses as the listener does. */
export function serviceOf(
  exchange: ExchangeForTest,
  more: Partial<Omit<Service, 'exchange'>> & { readonly limited?: Partial<Limits> } = {},
): Service {
  const limits = { ...defaultLimits, ...more.limited };
  return {
    timers: systemTimers,
    now: () => performance.now(),
    limits: () => limits,
    isClosing: () => false,
    exchange(inbound, reply, from) {
      exchange(inbound, reply, from).then(() => from.answered(null), from.answered);
    },
    takesOver: ({ method }) => method === 'CONNECT',
    takeOver: (_head, { socket }) => void socket.destroy(),
    socks: ({ socket }) => void socket.destroy(),
    refuse(why, { socket }, answerable) {
      if (answerable) refuseOn(socket, why);
      else socket.destroy();
    },
    failed(error) {
      throw error;
    },
    left() {},
    ...more,
  };
}
