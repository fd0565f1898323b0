import { isIP } from 'node:net';
import type { z } from 'zod';
import { text } from './scalar.ts';

/** Where a server of ours listens. */
export interface ListenAddress {
  /** An IP address without brackets, or `localhost`. */
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
}

const listenForm = 'ADDRESS:PORT, such as 127.0.0.1:8377';

/** `ADDRESS:PORT`. */
export function listenAddress(description: string): z.ZodType<ListenAddress, string> {
  return text<ListenAddress>(
    { description, examples: ['127.0.0.1:8377', '[::1]:8377'], kind: listenForm },
    (value) => {
      const [, bracketed, plain, portText] = /^(?:\[([^\]]*)\]|([^:[\]]*)):([0-9]{1,5})$/.exec(value) ?? [];
      const port = Number(portText);
      if (portText === undefined) return { problem: `must be ${listenForm}` };
      if (port > 65_535 || /^0./.test(portText))
        return { problem: 'has a port that is not between 0 and 65535' };
      const host = (bracketed ?? plain ?? '').toLowerCase();
      const fits = bracketed === undefined ? host === 'localhost' || isIP(host) === 4 : isIP(host) === 6;
      if (!fits || host.includes('%')) {
        return { problem: 'must begin with an IP address (IPv6 in brackets) or localhost' };
      }
      return { host, port };
    },
  );
}

/**
 * Whether only this machine reaches what listens there: RFC 1122 §3.2.1.3 (127/8), RFC 4291 §2.5.3 (::1). Every other
 * way to write them counts as open.
 */
export function isLoopbackListen({ host }: Pick<ListenAddress, 'host'>): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}
