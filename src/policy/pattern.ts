import { parsePort, splitPort } from './authority.ts';
import { canonicalHost, isAddress } from './host.ts';

/** A key of the domain map, or an entry of an audience: `host`, `host:port` or `*.suffix`, with or without a port. */
export interface DomainPattern {
  /** The canonical text: two patterns that match the same have the same. */
  readonly text: string;
  /** Canonical host; for a wildcard the suffix without its `*.`. */
  readonly host: string;
  readonly wildcard: boolean;
  /** Null: the default port of the request's scheme. */
  readonly port: number | null;
}

/** Why a text is no pattern, as the end of a sentence. */
export interface PatternProblem {
  readonly problem: string;
}

/** Reads one pattern. */
export function parsePattern(text: string): DomainPattern | PatternProblem {
  if (/^[a-z]+:\/\//i.test(text))
    return { problem: 'is a URL; write the host alone, such as api.example.com' };
  if (text.includes('/')) return { problem: 'has a path; write the host alone, such as api.example.com' };
  const wildcard = text.startsWith('*.');
  const rest = wildcard ? text.slice(2) : text;
  if (rest.includes('*')) {
    return { problem: 'has a * elsewhere than as its first label; only *.suffix is a wildcard' };
  }
  const { host: hostText, port: portText } = splitPort(rest);
  const port = portText === null ? null : parsePort(portText);
  if (portText !== null && port === null) return { problem: 'has a port that is not between 1 and 65535' };
  const host = canonicalHost(hostText);
  if (host === null) return { problem: 'is not a host name or an IP address' };
  if (wildcard && isAddress(host)) return { problem: 'puts a wildcard before an IP address' };
  if (wildcard && !host.includes('.')) {
    return { problem: 'is too wide: a wildcard needs two labels after it, such as *.example.com' };
  }
  return { text: `${wildcard ? '*.' : ''}${host}${port === null ? '' : `:${port}`}`, host, wildcard, port };
}

/** Whether `parsePattern` answered with a pattern. */
export function isPattern(parsed: DomainPattern | PatternProblem): parsed is DomainPattern {
  return !('problem' in parsed);
}
