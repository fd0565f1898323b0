import type { SidekeyError } from '../../errors.ts';
import type { Timers } from '../../grants/timers.ts';
import type { Limits } from '../../policy/limits.ts';
import type { RequestHeadBytes } from '../h1/request-head.ts';
import type { BodyPlan } from '../../inject/body-plan.ts';
import type { Arrival } from '../message.ts';
import type { ClientConnection } from './client-connection.ts';
import type { ClientReply } from './client-reply.ts';

/** A request with its head as it stood in the bytes. */
export type ArrivedRequest = Arrival & { readonly head: RequestHeadBytes };

/** What a connection hands its requests to. */
export interface Service {
  readonly timers: Timers;
  /** A clock that goes forward alone, in milliseconds. */
  readonly now: () => number;
  readonly limits: () => Limits;
  /** Whether the proxy stops: each response is the last of its connection. */
  readonly isClosing: () => boolean;
  /** Answers a request; the next one waits until that has ended. Never rejects. */
  exchange(arrival: ArrivedRequest, reply: ClientReply, from: ClientConnection): Promise<void>;
  /** Whether a request takes the whole connection over: a CONNECT, a WebSocket handshake. */
  takesOver(head: RequestHeadBytes, plan: BodyPlan): boolean;
  /** Takes it over, with the bytes that came behind the head. The socket is paused. */
  takeOver(head: RequestHeadBytes, from: ClientConnection, early: Buffer): void;
  /**
   * What came is not served, and nothing behind it. `answerable`: nothing is under way, so that the client can still be
   * told, on the socket; else the connection is cut.
   */
  refuse(why: SidekeyError, from: ClientConnection, answerable: boolean): void;
  /** The connection is another's, or gone. */
  left(from: ClientConnection): void;
}
