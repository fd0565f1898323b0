import type { Socket } from 'node:net';
import { SidekeyError } from '../errors.ts';
import { authorityText, type Authority } from '../policy/authority.ts';
import type { Peer } from '../policy/peer.ts';
import type { Limits } from '../policy/limits.ts';
import { PendingBytes } from './front/pending-bytes.ts';
import { Malformed } from './h1/faults.ts';
import { responsePlan, type ResponsePlan } from './h1/framing.ts';
import { createResponseReader } from './h1/head-reader.ts';
import type { ResponseHeadBytes } from './h1/response-head.ts';
import { upstreamFailure } from './upstream-failure.ts';

/** What an upstream answered to a handshake, and what came behind its head. */
export interface Handshake {
  readonly head: ResponseHeadBytes;
  readonly plan: ResponsePlan;
  readonly rest: Buffer;
}

/**
 * Waits for the answer to a WebSocket handshake that was sent: a 101, or a final one. Leaves the connection paused.
 *
 * Rejects with SidekeyError `upstream_timeout`, `upstream_unreachable`, `upstream_tls` or `upstream_protocol`.
 */
export function shakeHands(upstream: Socket, peer: Peer, limits: Limits): Promise<Handshake> {
  const heads = createResponseReader(limits);
  const pending = new PendingBytes();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => fail(timedOut(peer)), limits.upstream_head);
    function settle(): void {
      clearTimeout(timer);
      upstream.off('data', read).off('error', fail).off('end', lost).off('close', lost).pause();
    }
    function fail(error: Error): void {
      settle();
      // An error that comes later concerns nobody, and must have a listener.
      upstream.on('error', () => {});
      reject(upstreamFailure(error, peer, heads.begun));
    }
    function lost(): void {
      fail(Object.assign(new Error('closed'), { code: 'ECONNRESET' }));
    }
    function read(piece: Buffer): void {
      const bytes = pending.with(piece);
      let at = 0;
      for (;;) {
        const head = heads.read(bytes, at, bytes.length);
        if (head === 'incomplete') break;
        const plan = head instanceof Malformed ? head : responsePlan(head, 'GET');
        if (head instanceof Malformed || plan instanceof Malformed) {
          fail(plan as Malformed);
          return;
        }
        at += head.size;
        if (head.status < 200 && head.status !== 101) continue;
        settle();
        resolve({ head, plan, rest: bytes.subarray(at) });
        return;
      }
      pending.keep(bytes, at);
    }
    upstream.on('data', read).on('error', fail).once('end', lost).once('close', lost).resume();
  });
}

function timedOut(authority: Authority): SidekeyError {
  return new SidekeyError('upstream_timeout', `${authorityText(authority)} did not answer in time.`);
}
