import { once } from 'node:events';
import { Metadata, status, type Client } from '@grpc/grpc-js';
import { expect, it } from 'vitest';
import { ask, echo, join, split, type WordsServer } from './grpc.ts';

/** A client and its server, with anything between them. */
export interface GrpcPair {
  readonly client: Client;
  readonly server: WordsServer;
}

/** The tests of gRPC, for any transport. */
export function testGrpcBehaviour(between: () => Promise<GrpcPair>): void {
  it('carries a call with one message each way, its metadata and its trailers', async () => {
    const { client, server } = await between();
    const metadata = new Metadata();
    metadata.set('x-asked', 'yes');
    metadata.set('x-bytes-bin', Buffer.from([0, 255]));
    const { text, trailers } = await ask(client, 'Shout', 'hello', { metadata }).answer;
    expect([text, trailers.get('x-trailer')]).toEqual(['hello!', ['at the end']]);
    expect(server.calls[0]!.get('x-asked')).toEqual(['yes']);
    expect(server.calls[0]!.get('x-bytes-bin')).toEqual([Buffer.from([0, 255])]);
  });

  it('carries a response that has only trailers', async () => {
    const { client } = await between();
    await expect(ask(client, 'Fail', 'hello').answer).rejects.toMatchObject({
      code: status.NOT_FOUND,
      details: 'no such word',
    });
  });

  it('carries many messages from the server', async () => {
    const { client } = await between();
    const heard: string[] = [];
    for await (const word of split(client, 'one two three') as AsyncIterable<string>) heard.push(word);
    expect(heard).toEqual(['one', 'two', 'three']);
  });

  it('carries many messages from the client', async () => {
    const { client } = await between();
    const joined = Promise.withResolvers<string | undefined>();
    const call = join(client, (error, text) =>
      error === null ? joined.resolve(text) : joined.reject(error),
    );
    for (const word of ['one', 'two', 'three']) call.write(word);
    call.end();
    expect(await joined.promise).toBe('one two three');
  });

  it('carries messages in both directions as they are sent', async () => {
    const { client } = await between();
    const call = echo(client);
    for (const word of ['one', 'two', 'x'.repeat(300_000)]) {
      call.write(word);
      expect(await once(call, 'data')).toEqual([word]);
    }
    call.end();
    const [end] = (await once(call.resume(), 'status')) as [{ code: number }];
    expect(end.code).toBe(status.OK);
  });

  it('carries many calls at once', async () => {
    const { client } = await between();
    const all = Array.from({ length: 50 }, (_, i) => ask(client, 'Shout', `${i}`).answer);
    expect((await Promise.all(all)).map(({ text }) => text)).toEqual(all.map((_, i) => `${i}!`));
  });

  it('carries a deadline, and the end of a call whose deadline has passed', async () => {
    const { client, server } = await between();
    const { answer, call } = ask(client, 'Hang', 'hello', { deadline: Date.now() + 60_000 });
    answer.catch(() => {});
    expect(Number(await server.hung())).toBeGreaterThan(Date.now() + 30_000);
    call.cancel();
    await server.cancelled();
    const soon = ask(client, 'Hang', 'hello', { deadline: Date.now() + 50 }).answer;
    await expect(soon).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
  });

  it('carries a cancellation to the server', async () => {
    const { client, server } = await between();
    const call = echo(client);
    call.on('error', () => {});
    call.write('one');
    await once(call, 'data');
    call.cancel();
    await server.cancelled();
  });
}
