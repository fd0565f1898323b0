import type { SidekeyError } from '../../errors.ts';
import type { Timers } from '../../grants/timers.ts';
import type { Limits } from '../../policy/limits.ts';
import type { Arrival, Client } from '../message.ts';
import type { ClientSession } from './client-session.ts';
import type { RequestStream } from './request-stream.ts';

/** What a session hands its requests to. */
export interface StreamService {
  readonly timers: Timers;
  /** A clock that goes forward alone, in milliseconds. */
  readonly now: () => number;
  readonly limits: () => Limits;
  /** Answers a request. Never rejects. */
  exchange(arrival: Arrival, stream: RequestStream): Promise<void>;
  /** Carries a WebSocket (RFC 8441). Never rejects. */
  webSocket(arrival: Arrival, stream: RequestStream): Promise<void>;
  /** A request was refused before it was one. */
  denied(client: Client, why: SidekeyError): void;
  /** The session is gone. */
  left(session: ClientSession): void;
}
