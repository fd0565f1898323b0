import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type RawFields, responseFields, withoutFields } from './http/fields.ts';
import { type BodyReader, createBodyReader } from './http/h1/body.ts';
import type { ResponseFraming } from './http/framing.ts';
import type { ResponseHeadBytes } from './http/head.ts';
import { Malformed } from './http/h1/scan.ts';
import { ownHead } from './http/h1/write.ts';
import type { EarlyFrames, ExchangeResult, Meter, UpgradeSide } from './http/message.ts';
import { left as clientLeft, PendingBytes } from './http/server/h1-request.ts';
import { lingerOn } from './http/problem.ts';
import { guardReply, guardFields, type ReplySink } from './leak-guard/response.ts';
import { type FailureCode } from '../lib/failures.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Authority, authorityText } from './policy/authority.ts';
import type { Limits } from './policy/limits.ts';
import { framedFor, type Sending, Upload, upstreamFailure } from './attempt.ts';
import { ResponseHeads } from './forward-h1.ts';
import { messageRewriting, type MessageRewriting } from './placeholders/stream.ts';
import { isRefusal } from './response.ts';
import { ToolListReply } from './tool-list.ts';

const upgrading = ['Connection', 'Upgrade', 'Upgrade', 'websocket'] as const;

/**
 * Returns the side of an HTTP/1.1 client, whose handshake is forwarded unchanged.
 *
 * @param protocols see `UpgradeSide.protocols`
 */
export function upgradedSocket(
  client: Duplex,
  frames: EarlyFrames,
  protocols: UpgradeSide['protocols'],
): UpgradeSide {
  return {
    client,
    frames,
    asks: [],
    protocols,
    switched(fields, protocol) {
      const head = [...fields, 'Connection', 'Upgrade', 'Upgrade', protocol];
      client.write(ownHead('HTTP/1.1 101 Switching Protocols', head));
    },
    cut: () => void client.destroy(),
  };
}

/**
 * Carries an admitted handshake, and then frames of a WebSocket or bytes of another protocol, over a
 * connection of the dialer. Both heads are written by Sidekey, and so is every answer but a 101. Resolves
 * when the connection has closed.
 */
export async function upgrade(
  { request, reply, config: { dialer, limits }, meter, credentials }: Sending,
  side: UpgradeSide,
): Promise<ExchangeResult> {
  const { authority, method, path, fields, carriesGrant, maxResponse, conceal = (all) => all } = request;
  const { peer, leakGuard: search, secrets, isListed } = request;
  const { protocols } = side;
  const messages = protocols === undefined ? request.messages : undefined;
  // Compressed or otherwise changed frames could not be read (RFC 6455 §9): none of that is offered.
  const withoutThose = (sent: RawFields) =>
    messages === undefined ? sent : withoutFields(sent, (name) => name === 'sec-websocket-extensions');
  const { client, frames } = side;
  const what = protocols === undefined ? 'a WebSocket' : `a connection that switches to ${protocols[0]}`;
  if (maxResponse !== null) {
    const sentence = `A rule limits the size of responses here, and ${what} has no limit.`;
    const whose = protocols === undefined ? 'WebSockets a rule of their own' : 'it a rule of its own';
    const hint = `give ${whose}, without max_response`;
    throw new SidekeyError('rule_denied', sentence, { hint });
  }
  if (search?.isAsked === true) {
    const sentence = `The leak guard of this domain cannot search the ${protocols === undefined ? 'frames' : 'bytes'} of ${what}.`;
    const hint = 'set leak_guard: auto or off on the domain if its responses cannot contain the credential';
    throw new SidekeyError('policy_violation', sentence, { hint });
  }
  const body = await bodyOf(request);
  meter.received(body.length);
  let upstream = await dialer.connect(peer);
  const { promise: over, resolve, reject } = Promise.withResolvers<ExchangeResult>();
  let status = 0;
  let protocol: string | undefined;
  const finish = (outcome: ExchangeResult['outcome'], code?: FailureCode) => {
    upstream.destroy();
    const { bytesIn, bytesOut } = meter;
    resolve({ status, bytesIn, bytesOut, outcome, protocol, ...(code === undefined ? {} : { code }) });
  };
  const left = () => finish(status === 101 ? 'complete' : 'gone');
  if (client.destroyed) {
    left();
    return over;
  }
  client.once('close', left);
  const stop = ({ code }: SidekeyError) => {
    finish('broken', code);
    side.cut();
  };
  meter.stops({ stop });
  const shake = (sent: RawFields): Promise<Handshake | ExchangeResult> => {
    const asks = protocols === undefined ? upgrading : ['Connection', 'Upgrade'];
    const head = [...withoutThose(sent), ...side.asks, ...asks];
    upstream.write(ownHead(`${method} ${path} HTTP/1.1`, head));
    if (body.length > 0) upstream.write(body);
    return Promise.race([shakeHands(upstream, { peer, method }, limits), over]);
  };
  const wantsProof = (answer: Handshake | ExchangeResult) =>
    'head' in answer &&
    credentials.readProof(request, answer.head.status, (name) => answer.head.values(name)) === 'again';
  let shaken: Handshake | ExchangeResult;
  try {
    shaken = await shake(fields);
    if (wantsProof(shaken)) {
      upstream.on('error', ignore).destroy();
      upstream = await dialer.connect(peer);
      // If the client has left meanwhile, or was cut because its right ended, no further proof is sent.
      shaken = client.destroyed ? await over : await shake(credentials.prove(request).fields);
      // Once is enough; its nonce is for the next.
      wantsProof(shaken);
    }
  } catch (error) {
    upstream.destroy();
    throw error;
  } finally {
    frames.heard();
  }
  if ('outcome' in shaken) {
    upstream.destroy();
    return shaken;
  }
  const { head, framing, rest } = shaken;
  const isSwitched = head.status === 101;
  const chosen = isSwitched ? chosenOf(head.values('upgrade'), protocols) : null;
  if (isSwitched && chosen === null) {
    upstream.destroy();
    throw upstreamFailure(new Error('101 for a protocol that was not asked for'), authority, true);
  }
  status = head.status;
  const answered = conceal(responseFields(head.raw(), carriesGrant));
  if (rest.length > 0) upstream.unshift(rest);
  if (chosen !== null) {
    if (protocols !== undefined) protocol = chosen;
    const guarded = { search: search && { ...search, covers: 'all' as const }, secrets, meter };
    try {
      side.switched(guardFields(guarded, status, answered), chosen);
    } catch (error) {
      upstream.destroy();
      throw error;
    }
    const rewriting =
      messages === undefined ? null : messageRewriting(messages(), secrets, (times) => meter.addLeaks(times));
    for (const way of rewriting === null ? [] : [rewriting.toUpstream, rewriting.toClient])
      way.once('error', (error) => {
        finish('broken', error instanceof SidekeyError ? error.code : 'internal');
        side.cut();
      });
    join(client, upstream, meter, rewriting);
    upstream.setTimeout(limits.tunnel_idle, () => upstream.destroy());
    upstream.once('close', () => finish('complete'));
  } else {
    const owner = {
      isOver: false,
      stop(why: SidekeyError) {
        this.isOver = true;
        if (reply.started) reply.abort();
        else reject(why);
        finish('broken', why.code);
      },
    };
    const limited =
      isListed === undefined ? reply : new ToolListReply(reply, owner, method === 'GET', isListed);
    const into = guardReply({ reply: limited, search, secrets, meter, overBound: () => null }, status, owner);
    const hint = isRefusal(status) ? credentials.consentHint(request, conceal(head.raw())) : [];
    into.head(status, head.reason, [...answered, ...hint]);
    const body = createBodyReader(framing, { whose: 'response', limits, spans: true });
    passBody(upstream, body, { meter, reply: into, finish });
    upstream.setTimeout(limits.upstream_idle, () => upstream.destroy());
  }
  return over;
}

/** Returns the body of a handshake, at most `earlyBytes`, with its credential. */
async function bodyOf({ body, rewriteBody, framing }: Sending['request']): Promise<Buffer> {
  if (body === null) return Buffer.alloc(0);
  const pieces: Buffer[] = [];
  const write = (piece: string | Buffer) => pieces.push(Buffer.from(piece as string, 'latin1')) > 0;
  const sent = { framing, pieces: rewriteBody?.(body) ?? body, trailers: () => [] };
  await new Upload(framedFor(framing, { write })).send(sent, ignore);
  return Buffer.concat(pieces);
}

/** Returns the protocol of a 101 (RFC 9110 §15.2.2), or null if it was not asked for. */
function chosenOf(named: readonly string[], protocols: UpgradeSide['protocols']): string | null {
  if (protocols === undefined) return isWebSocket(named) ? 'websocket' : null;
  const isAsked = protocols.some((asked) => asked.toLowerCase() === named[0]?.toLowerCase());
  return named.length === 1 && isAsked ? named[0]! : null;
}

/** Frames both ways, until the upstream has closed; earlier messages are still delivered. */
function join(client: Duplex, upstream: Socket, meter: Meter, rewriting: MessageRewriting | null): void {
  client.on('data', (chunk: Buffer) => meter.received(chunk.length));
  upstream.on('data', (chunk: Buffer) => meter.sent(chunk.length)).on('error', ignore);
  const closed = () => {
    client.end(() => client.destroy());
    lingerOn(client);
  };
  if (rewriting === null) {
    upstream.once('close', closed);
    client.pipe(upstream);
    upstream.pipe(client);
    return;
  }
  const { toUpstream, toClient } = rewriting;
  // Buffered bytes are still to be delivered.
  upstream.once('close', () => toClient.end());
  toClient.once('end', closed);
  client.pipe(toUpstream).pipe(upstream);
  upstream.pipe(toClient).pipe(client);
}

interface BodyTarget {
  readonly meter: Meter;
  readonly reply: ReplySink;
  readonly finish: (outcome: ExchangeResult['outcome']) => void;
}

/** Forwards the body of an upstream that does not switch. The connection of the client ends with it. */
function passBody(upstream: Socket, body: BodyReader, { meter, reply, finish }: BodyTarget): void {
  const read = (chunk: Buffer) => {
    const end = body.read(chunk, 0, chunk.length);
    for (let i = 0; i < body.spans.length; i += 2) {
      const piece = chunk.subarray(body.spans[i], body.spans[i + 1]);
      meter.sent(piece.length);
      if (reply.write(piece) || upstream.isPaused()) continue;
      upstream.pause();
      reply.onDrain(() => upstream.resume());
    }
    if (body.over || typeof end !== 'number') close(body.over);
  };
  const ended = () => close(body.isWhole);
  // Without an end: an exchange that ends then may be incomplete.
  const lost = () => close(false);
  const close = (isWhole: boolean) => {
    upstream.off('data', read).off('end', ended).off('close', lost);
    if (isWhole) reply.end([], () => finish('complete'));
    else {
      finish('broken');
      reply.abort();
    }
  };
  upstream.on('error', ignore);
  if (body.over) close(true);
  else upstream.on('data', read).once('end', ended).once('close', lost).resume();
}

function ignore(): void {}

/** Bytes that a client may send before its handshake is answered: frames, or a body. */
export const earlyBytes = 65_536;

/** Reads the client while a person or the upstream answers, so that its end is noticed. Then cuts it. */
export function listenTo(client: Duplex, early: Buffer): EarlyFrames {
  const onLeft = () => client.destroy();
  let wake = ignore;
  client.once('close', () => wake());
  let chunks = [early];
  let size = early.length;
  const keep = (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    wake();
    if (size >= earlyBytes) client.pause();
  };
  client.on('data', keep).once('end', onLeft).resume();
  const heard = () => {
    client.off('data', keep).off('end', onLeft).pause();
    if (size > 0 && !client.destroyed && !client.readableEnded) client.unshift(Buffer.concat(chunks));
  };
  const take = async (bytes: number) => {
    while (!client.destroyed) {
      if (size >= bytes) {
        const all = Buffer.concat(chunks);
        chunks = [all.subarray(bytes)];
        size -= bytes;
        return all.subarray(0, bytes);
      }
      await new Promise<void>((resolve) => (wake = resolve));
    }
    throw clientLeft();
  };
  return { take, heard };
}

export function isWebSocket(fields: readonly string[]): boolean {
  return fields.length === 1 && fields[0]!.toLowerCase() === 'websocket';
}

/** Response of an upstream to a handshake, and the bytes after its head. */
interface Handshake {
  readonly head: ResponseHeadBytes;
  readonly framing: ResponseFraming;
  readonly rest: Buffer;
}

/**
 * Waits for the answer to a handshake: a 101, or a final one. Leaves the connection paused.
 *
 * @throws SidekeyError `upstream_timeout`, `upstream_unreachable`, `upstream_tls`, `upstream_protocol`
 */
function shakeHands(
  upstream: Socket,
  { peer, method }: Pick<Sending['request'], 'peer' | 'method'>,
  limits: Limits,
): Promise<Handshake> {
  const heads = new ResponseHeads(method, limits);
  let hasBegun = false;
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
      reject(upstreamFailure(error, peer, hasBegun));
    }
    function lost(): void {
      fail(Object.assign(new Error('closed'), { code: 'ECONNRESET' }));
    }
    function read(piece: Buffer): void {
      hasBegun = true;
      const bytes = pending.with(piece);
      let at = 0;
      for (;;) {
        const head = heads.read(bytes, at, bytes.length);
        if (head === 'incomplete') break;
        if (head instanceof Malformed) return fail(head);
        at += head.size;
        if (head.status < 200 && head.status !== 101) continue;
        settle();
        resolve({ head, framing: heads.framing, rest: bytes.subarray(at) });
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
