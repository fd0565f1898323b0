import { expect, test } from 'vitest';
import type { Grant } from '../../../src/domain/grant.ts';
import { createGone, type Reply } from '../../../src/proxy/http/message.ts';
import { MintReply, type Mints } from '../../../src/proxy/mint-reply.ts';
import type { MintRow } from '../../../src/proxy/policy/domain-map.ts';

const placeholders = new Map([['a-real-credential', 'sidekeyPlaceholder']]);
const row = {
  name: 'a',
  members: [['token']],
  expires: null,
  hostMember: null,
  keep: [],
  goesTo: [],
  keys: null,
};

/** Runs one answer through a reply whose client leaves while the grant is stored, if `leaves`. */
async function answered(leaves: boolean, isNew: boolean) {
  const gone = createGone();
  const written: string[] = [];
  const forgotten: string[] = [];
  const answers: Promise<void>[] = [];
  const ended = Promise.withResolvers<void>();
  const mints: Mints = {
    rows: [row as unknown as MintRow],
    now: () => 1_000,
    async keep() {
      if (leaves) gone.tell();
      return { grant: { id: 'g' } as Grant, isNew, placeholders };
    },
    forget: async ({ id }) => {
      forgotten.push(id);
    },
    answering: (answer) => answers.push(answer),
  };
  const reply = {
    gone,
    head: (status: number) => void written.push(String(status)),
    write: (piece: Buffer) => written.push(piece.toString()) > 0,
    end: () => ended.resolve(),
  } as unknown as Reply;
  const sink = new MintReply(reply, { isOver: false, stop: () => ended.resolve() }, 'GET', mints);
  sink.head(200, 'OK', []);
  sink.write(Buffer.from('{"token":"a-real-credential"}'));
  sink.end([]);
  await Promise.all([...answers, leaves ? null : ended.promise]);
  return { written, forgotten };
}

test('a grant whose client left while it was stored is removed, and nothing is sent', async () => {
  expect(await answered(true, true)).toEqual({ written: [], forgotten: ['g'] });
});

test('a grant of an earlier answer stays when the client of a later one leaves', async () => {
  expect(await answered(true, false)).toEqual({ written: [], forgotten: [] });
});

test('the answer is sent once the grant is stored', async () => {
  expect(await answered(false, true)).toEqual({
    written: ['200', '{"token":"sidekeyPlaceholder"}'],
    forgotten: [],
  });
});

test('the end of an answer that was refused before stores nothing', () => {
  const mints = { rows: [row as unknown as MintRow], now: () => 1_000 } as unknown as Mints;
  const refusals: string[] = [];
  const owner = { isOver: true, stop: ({ code }: { code: string }) => void refusals.push(code) };
  const sink = new MintReply({} as Reply, owner, 'GET', mints);
  sink.write(Buffer.from('no JSON'));
  sink.end([]);
  return new Promise<void>((resolve) => setImmediate(resolve)).then(() => expect(refusals).toEqual([]));
});
