import { createHash, randomBytes } from 'node:crypto';
import { SidekeyError } from '../../errors.ts';
import { valuesOf } from '../fields.ts';
import type { Meter } from '../meter.ts';
import type { UpgradeSide } from '../upgrade.ts';
import type { RequestStream } from './request-stream.ts';

/** RFC 6455 §1.3. */
const acceptGuid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/**
 * A stream as the client's side of a WebSocket (RFC 8441): the handshake of HTTP/1.1 with the upstream is the proxy's own,
 * key and proof too. The client sees a 200, and frames as the body of both directions.
 */
export function streamSide(request: RequestStream): UpgradeSide {
  const key = randomBytes(16).toString('base64');
  return {
    client: request.stream,
    // A client that leaves resets its stream: nobody need read it to see that.
    frames: { early: Buffer.alloc(0), heard() {} },
    asks: ['Sec-WebSocket-Key', key],
    switched(fields) {
      const proofs = valuesOf(fields, 'sec-websocket-accept');
      if (proofs.length !== 1 || proofs[0] !== proofOf(key)) {
        throw new SidekeyError(
          'upstream_protocol',
          'The upstream accepted another WebSocket than was asked for.',
        );
      }
      const { webSocketKey } = request;
      request.reply.tunnel([
        ...fields.filter((_text, i) => !ofHandshake.has(fields[i - (i % 2)]!.toLowerCase())),
        // Node 26.10 sends a key all the same and closes where there is no proof; other clients do neither.
        ...(webSocketKey === undefined ? [] : ['Sec-WebSocket-Accept', proofOf(webSocketKey)]),
      ]);
    },
    cut: () => request.destroy(),
  };
}

/** Has the session told of the frames that go through a stream: they explain what its client sends. */
export function tellingMeter(meter: Meter, { passed }: RequestStream): Meter {
  return {
    get bytesIn() {
      return meter.bytesIn;
    },
    get bytesOut() {
      return meter.bytesOut;
    },
    get echoes() {
      return meter.echoes;
    },
    received(bytes) {
      passed(bytes, 0);
      meter.received(bytes);
    },
    sent(bytes) {
      passed(0, bytes);
      meter.sent(bytes);
    },
    echoed: (times) => meter.echoed(times),
    settle: () => meter.settle(),
    onOverdrawn: (stop) => meter.onOverdrawn(stop),
    close: () => meter.close(),
  };
}

const ofHandshake = new Set(['sec-websocket-accept', 'content-length', 'trailer']);

function proofOf(key: string): string {
  return createHash('sha1').update(`${key}${acceptGuid}`).digest('base64');
}
