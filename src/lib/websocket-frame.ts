/** The head of a WebSocket frame (RFC 6455 §5.2). */
interface FrameHead {
  readonly opcode: number;
  readonly isFinal: boolean;
  /** Control frames may stand between the fragments of a message (§5.4), and have 125 bytes at most. */
  readonly isControl: boolean;
  /** Number of bytes of the head, with its mask. */
  readonly length: number;
  /** Number of bytes of the payload. */
  readonly payload: number;
  /** The mask of a client's frame, else empty. A part of the bytes that were read. */
  readonly mask: Buffer;
}

const firstControl = 8;

/**
 * Reads the head of a frame. `malformed`: it uses an extension, is masked by a server, or is not masked by a client
 * (§5.1).
 */
export function readFrameHead(
  bytes: Buffer,
  sender: 'client' | 'server',
): FrameHead | 'incomplete' | 'malformed' {
  if (bytes.length < 2) return 'incomplete';
  const [first, second] = [bytes[0]!, bytes[1]!];
  const isMasked = (second & 0x80) !== 0;
  if ((first & 0x70) !== 0 || isMasked !== (sender === 'client')) return 'malformed';
  const short = second & 0x7f;
  const start = short === 127 ? 10 : short === 126 ? 4 : 2;
  const length = isMasked ? start + 4 : start;
  if (bytes.length < length) return 'incomplete';
  const payload =
    short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
  const opcode = first & 0x0f;
  const isControl = opcode >= firstControl;
  if (!Number.isSafeInteger(payload) || (isControl && payload > 125)) return 'malformed';
  const mask = bytes.subarray(start, length);
  return { opcode, isFinal: (first & 0x80) !== 0, isControl, length, payload, mask };
}
