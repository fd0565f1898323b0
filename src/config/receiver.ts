import type { z } from 'zod';
import { canonicalHost, isLoopback } from '../policy/host.ts';
import { text } from './scalar.ts';

/** A URL that facts about agents and hosts are sent to: they are nobody else's affair. */
export function receiver(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['https://siem.example.com/sidekey'] }, readReceiver);
}

/** What `receiver` checks: https, or on this machine; without user information and fragment. */
export function readReceiver(value: string): string | { readonly problem: string } {
  const url = /^[\x21-\x7e]+$/.test(value) ? URL.parse(value) : null;
  if (url === null) return { problem: 'is no URL' };
  if (url.username !== '' || url.password !== '') return { problem: 'has user information' };
  if (url.hash !== '') return { problem: 'has a fragment' };
  if (canonicalHost(url.hostname) === null) return { problem: 'has a host that is not one' };
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLocal(url.hostname))) {
    return { problem: 'is not https, and not on this machine' };
  }
  return value;
}

/** Of the host of a URL, which has all of 127/8 in one form (RFC 1122 §3.2.1.3). */
function isLocal(host: string): boolean {
  return isLoopback(host) || /^127\.\d+\.\d+\.\d+$/.test(host);
}
