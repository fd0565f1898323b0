import { systemTimers } from '../../../../src/lib/timers.ts';
import { defaultLimits, type Limits } from '../../../../src/policy/limits.ts';
import type { Service } from '../../../../src/http/server/h1-connection.ts';
import { refuseOn } from '../../../../src/http/problem.ts';

/** A service that answers as the test says, and refuses as the listener does. */
export function serviceOf(
  exchange: Service['exchange'],
  more: Partial<Service> & { readonly limited?: Partial<Limits> } = {},
): Service {
  const limits = { ...defaultLimits, ...more.limited };
  return {
    timers: systemTimers,
    now: () => performance.now(),
    limits: () => limits,
    isClosing: () => false,
    exchange,
    takesOver: ({ method }) => method === 'CONNECT',
    takeOver: (_head, { socket }) => void socket.destroy(),
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
