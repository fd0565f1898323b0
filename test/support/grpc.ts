import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  status,
  type ChannelCredentials,
  type ClientOptions,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { onTestFinished } from 'vitest';
import type { Identity } from './upstream.ts';

/** A gRPC service without a schema: messages are text. */

const serialize = (text: string) => Buffer.from(text);
const deserialize = (bytes: Buffer) => bytes.toString();

const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Words/${name}`,
  requestStream,
  responseStream,
  requestSerialize: serialize,
  requestDeserialize: deserialize,
  responseSerialize: serialize,
  responseDeserialize: deserialize,
});

export const words = {
  Shout: method('Shout', false, false),
  Fail: method('Fail', false, false),
  Split: method('Split', false, true),
  Join: method('Join', true, false),
  Echo: method('Echo', true, true),
  Hang: method('Hang', false, false),
} as const satisfies ServiceDefinition;

type Unary = ServerUnaryCall<string, string>;
type Answered = sendUnaryData<string>;

/** The facts of calls that a server received, besides their messages. */
export interface WordsServer {
  readonly port: number;
  /** The metadata of each call, in order. */
  readonly calls: Metadata[];
  /** Resolves with the deadline of the next `Hang`. */
  hung(): Promise<unknown>;
  /** Resolves when a call was cancelled. */
  cancelled(): Promise<void>;
}

/** A real gRPC server with this certificate; closed when the test ends. */
export async function startWords({ key, cert }: Identity): Promise<WordsServer> {
  const server = new Server();
  const calls: Metadata[] = [];
  const hung = Promise.withResolvers<unknown>();
  const cancelled = Promise.withResolvers<void>();
  const note = (call: {
    readonly metadata: Metadata;
    once(event: 'cancelled', listener: () => void): unknown;
  }) => {
    calls.push(call.metadata);
    call.once('cancelled', () => cancelled.resolve());
  };
  const implementation: UntypedServiceImplementation = {
    Shout(call: Unary, callback: Answered) {
      note(call);
      const trailers = new Metadata();
      trailers.set('x-trailer', 'at the end');
      callback(null, `${call.request}!`, trailers);
    },
    Fail(call: Unary, callback: Answered) {
      note(call);
      callback({ code: status.NOT_FOUND, details: 'no such word' });
    },
    Split(call: ServerWritableStream<string, string>) {
      note(call);
      for (const word of call.request.split(' ')) call.write(word);
      call.end();
    },
    Join(call: ServerReadableStream<string, string>, callback: Answered) {
      note(call);
      const all: string[] = [];
      call.on('data', (word: string) => all.push(word)).on('end', () => callback(null, all.join(' ')));
    },
    Echo(call: ServerDuplexStream<string, string>) {
      note(call);
      call.on('data', (word: string) => call.write(word)).on('end', () => call.end());
    },
    Hang(call: Unary) {
      note(call);
      hung.resolve(call.getDeadline());
    },
  };
  server.addService(words, implementation);
  const creds = ServerCredentials.createSsl(null, [
    { private_key: Buffer.from(key), cert_chain: Buffer.from(cert) },
  ]);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', creds, (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  onTestFinished(() => server.forceShutdown());
  return { port, calls, hung: () => hung.promise, cancelled: () => cancelled.promise };
}

/** A real gRPC client; closed when the test ends. */
export function wordsClient(
  address: string,
  creds: ChannelCredentials = credentials.createInsecure(),
  options: ClientOptions = {},
): Client {
  const client = new Client(address, creds, options);
  onTestFinished(() => client.close());
  return client;
}

/** The response of a unary call. */
export function ask(
  client: Client,
  name: 'Shout' | 'Fail' | 'Hang',
  text: string,
  { metadata = new Metadata(), deadline }: { readonly metadata?: Metadata; readonly deadline?: number } = {},
) {
  const { path } = words[name];
  const { promise, resolve, reject } = Promise.withResolvers<{ text: string; trailers: Metadata }>();
  let answer = '';
  const call = client.makeUnaryRequest(
    path,
    serialize,
    deserialize,
    text,
    metadata,
    deadline === undefined ? {} : { deadline },
    (error, value) => {
      if (error !== null) reject(error);
      else answer = value ?? '';
    },
  );
  call.on('status', ({ code, metadata: trailers }) => {
    if (code === status.OK) resolve({ text: answer, trailers });
  });
  return { call, answer: promise };
}

/** A call with a stream of messages from the server. */
export function split(client: Client, text: string) {
  return client.makeServerStreamRequest(words.Split.path, serialize, deserialize, text);
}

/** A call with a stream of messages from the client. */
export function join(client: Client, done: (error: Error | null, text?: string) => void) {
  return client.makeClientStreamRequest(words.Join.path, serialize, deserialize, done);
}

/** A call with streams of messages both ways. */
export function echo(client: Client) {
  return client.makeBidiStreamRequest(words.Echo.path, serialize, deserialize);
}
