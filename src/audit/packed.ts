import fs from 'node:fs';
import { promisify } from 'node:util';
import { constants, crc32, deflateRaw, inflateRawSync } from 'node:zlib';

/*
 * Packed files, `<file>.000001.gz`, are gzip (RFC 1952; `gunzip` and `zcat` read them) in a series of
 * members, so that a reader finds a position without inflating all text before it.
 *
 * Every byte is checked: the header is constant. Its extra field (RFC 1952 §2.3.1.1) has the size of the
 * block and a CRC-32 of its compressed bytes, because deflate ignores some bits. The chain of the lines, not
 * the CRC, detects a deliberate change.
 */

/** Bytes of text in a block, which inflates within a millisecond. */
export const blockSize = 262_144;

/** ID1 ID2, CM deflate, FLG.FEXTRA, no time, no flags, OS unknown; XLEN 12: subfield `SK`, 8 bytes. */
const fixedHeader = Buffer.from('1f8b08040000000000ff0c00534b0800', 'hex');
const headerSize = fixedHeader.length + 8;
/** CRC-32 and size of the text (RFC 1952 §2.3.1). */
const trailerSize = 8;

const deflate = promisify(deflateRaw);

/** Thrown if a packed file is not as it was written. */
export class PackedDamage extends Error {
  override readonly name = 'PackedDamage';
}

/** Packs `text` of at most `blockSize` bytes as one block. */
export async function packBlock(text: Uint8Array): Promise<Buffer> {
  const body = await deflate(text, { level: constants.Z_DEFAULT_COMPRESSION });
  const block = Buffer.alloc(headerSize + body.length + trailerSize);
  fixedHeader.copy(block);
  block.writeUInt32LE(body.length, fixedHeader.length);
  block.writeUInt32LE(crc32(body), fixedHeader.length + 4);
  body.copy(block, headerSize);
  block.writeUInt32LE(crc32(text), headerSize + body.length);
  block.writeUInt32LE(text.length, headerSize + body.length + 4);
  return block;
}

interface Block {
  /** Offset of its header in the packed file. */
  readonly at: number;
  readonly bodySize: number;
  /** Offset and size of its text in the whole text. */
  readonly textAt: number;
  readonly textSize: number;
}

/** Reads the block table of the packed file `fd`. Keeps one inflated block in memory. */
export function openPacked(fd: number) {
  const { blocks, size, damage } = findBlocks(fd);
  let inflated: { block: Block; text: Buffer } | undefined;

  function blockAt(at: number): Block | undefined {
    let [low, high] = [0, blocks.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const { textAt, textSize } = blocks[middle] ?? { textAt: 0, textSize: 0 };
      if (textAt + textSize > at) high = middle;
      else low = middle + 1;
    }
    return blocks[low];
  }

  return {
    /** Bytes of text in the sound blocks. */
    size,
    /** The damage behind `size`; undefined if the whole file is sound. */
    damage,
    /**
     * Copies text from the offset `at`; returns the number of bytes, 0 at the end.
     * @throws PackedDamage
     */
    read(into: Buffer, at: number): number {
      const block = blockAt(at);
      if (block === undefined) {
        if (damage !== undefined && into.length > 0) throw damage;
        return 0;
      }
      if (inflated?.block !== block) inflated = { block, text: inflate(fd, block) };
      return inflated.text.copy(into, 0, at - block.textAt);
    },
  };
}

function findBlocks(fd: number): { blocks: Block[]; size: number; damage: PackedDamage | undefined } {
  const end = fs.fstatSync(fd).size;
  const header = Buffer.alloc(headerSize);
  const trailer = Buffer.alloc(trailerSize);
  const blocks: Block[] = [];
  let textAt = 0;
  for (let at = 0; at < end;) {
    const isWhole =
      fs.readSync(fd, header, 0, headerSize, at) === headerSize &&
      header.subarray(0, fixedHeader.length).equals(fixedHeader);
    const bodySize = isWhole ? header.readUInt32LE(fixedHeader.length) : 0;
    const trailerAt = at + headerSize + bodySize;
    if (!isWhole || fs.readSync(fd, trailer, 0, trailerSize, trailerAt) !== trailerSize)
      return { blocks, size: textAt, damage: new PackedDamage('a block of it was changed or cut off') };
    const textSize = trailer.readUInt32LE(4);
    if (textSize === 0 || textSize > blockSize)
      return { blocks, size: textAt, damage: new PackedDamage('the size of a block was changed') };
    blocks.push({ at, bodySize, textAt, textSize });
    textAt += textSize;
    at = trailerAt + trailerSize;
  }
  return { blocks, size: textAt, damage: undefined };
}

function inflate(fd: number, { at, bodySize, textSize }: Block): Buffer {
  const bytes = Buffer.alloc(headerSize + bodySize + trailerSize);
  fs.readSync(fd, bytes, 0, bytes.length, at);
  const body = bytes.subarray(headerSize, headerSize + bodySize);
  if (crc32(body) !== bytes.readUInt32LE(fixedHeader.length + 4))
    throw new PackedDamage('the bytes of a block were changed');
  let text: Buffer;
  try {
    text = inflateRawSync(body, { maxOutputLength: blockSize });
  } catch (cause) {
    throw new PackedDamage('a block of it cannot be inflated', { cause });
  }
  if (text.length !== textSize || crc32(text) !== bytes.readUInt32LE(headerSize + bodySize))
    throw new PackedDamage('the text of a block is not what was packed');
  return text;
}
