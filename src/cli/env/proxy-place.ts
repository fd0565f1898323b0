import { SidekeyError } from '../../errors.ts';
import { reachable } from '../proxy-url.ts';

/** Where the proxy is reached; an IPv6 address without brackets. */
export interface ProxyPlace {
  readonly host: string;
  readonly port: number;
}

/**
 * Of `--proxy`, else of what the config listens on.
 *
 * @throws SidekeyError `input_invalid`: no URL of a proxy, a token in it, or a port that is chosen at the start
 */
export function proxyPlace(listen: ProxyPlace, option: string | undefined): ProxyPlace {
  if (option === undefined) {
    if (listen.port !== 0) return { host: reachable(listen.host), port: listen.port };
    throw new SidekeyError('input_invalid', 'The config has the port of the proxy chosen at its start.', {
      hint: 'sidekey env --proxy http://127.0.0.1:PORT, with the port that it named then',
    });
  }
  const url = URL.parse(option.includes('://') ? option : `http://${option}`);
  if (url?.protocol !== 'http:' || url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw new SidekeyError('input_invalid', '--proxy is no URL of a proxy.', {
      hint: '--proxy http://127.0.0.1:8377',
    });
  }
  if (url.username !== '' || url.password !== '') {
    // Arguments are seen by every user of the machine.
    throw new SidekeyError('input_invalid', 'The URL of --proxy has user information in it.', {
      hint: 'leave it out, and have a lease made: --agent NAME --grant GRANT',
    });
  }
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? 80 : Number(url.port) };
}
