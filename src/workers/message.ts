/** What a supervisor and its workers say to each other, over the channel between them: nobody else can. */
import type { AuditEvent } from '../audit/event.ts';
import type { FailureCode } from '../errors.ts';

/** Where the pages for people are, in the supervisor. */
export interface Pages {
  /** What links begin with; null: nothing listens for them. */
  readonly url: string | null;
  readonly port: number | null;
}

/** From the supervisor. The listening socket comes with `serve`. */
export type ToWorker =
  | {
      readonly kind: 'serve';
      /** The config file, and the text of it that is in force: the file itself may be wrong by now. */
      readonly file: string;
      readonly text: string;
      readonly pages: Pages;
      /** What keys of session tickets are derived from: a client may come back to another worker. */
      readonly ticketMaterial: Uint8Array;
    }
  /** Reads the config file anew. */
  | { readonly kind: 'reload' }
  /** Lets what is under way end, for as long as the config says, and ends. */
  | { readonly kind: 'stop' };

/** From a worker. */
export type ToSupervisor =
  /** It serves. A handle of the listening socket comes with it. */
  | { readonly kind: 'ready' }
  /** It could not begin. */
  | {
      readonly kind: 'failed';
      readonly code: FailureCode;
      readonly message: string;
      readonly hint: string | undefined;
    }
  /** A config has come into force in it, or was refused. */
  | { readonly kind: 'config'; readonly event: AuditEvent }
  /** A request got a credential; said now and then. */
  | { readonly kind: 'used' }
  /** It was told by the system to end, and takes no more. */
  | { readonly kind: 'leaving' };
