/**
 * Physical replication from this compute's own Postgres: WAL in, flush positions out.
 *
 *   START_REPLICATION SLOT s PHYSICAL lsn TIMELINE 1      then CopyData both ways:
 *   'w'  start u64, server's end u64, clock i64, WAL          'k'  server's end u64, clock i64, reply wanted u8
 *   'r'  write, flush, apply u64, clock i64, reply wanted u8  (ours)
 *
 * Postgres holds each commit until its `flush` comes (synchronous_standby_names). Framing is own code: a parser
 * that reuses its buffer would change WAL that is still on its way to a safekeeper.
 * Source: src/backend/replication/walsender.c, the protocol's chapter "Streaming Replication Protocol".
 */
import { connect as connectSocket, type Socket } from 'node:net';
import { serialize } from 'pg-protocol';
import { formatLsn, lsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { parseErrorFields } from '../../../lib/postgres/wire/error-response.ts';

export interface ReplicationOptions {
  /** The unix socket's file: `…/.s.PGSQL.5432`. */
  socketPath: string;
  user: string;
  applicationName: string;
  /** A replication slot that exists: Postgres keeps the WAL that was not acknowledged, however much it is. */
  slot?: string;
  /** The first byte to be streamed. */
  startLsn: Lsn;
  /** `wal` may be kept: nothing changes it later. */
  onWal(startLsn: Lsn, wal: Uint8Array): void;
  /** The end of what Postgres has flushed, whether streamed yet or not. */
  onServerEnd(endLsn: Lsn): void;
  /** Once, when the stream is over: null after an orderly shutdown of Postgres. */
  onEnd(error: Error | null): void;
}

const TAG = {
  authentication: 0x52,
  error: 0x45,
  ready: 0x5a,
  copyBoth: 0x57,
  copyData: 0x64,
  copyDone: 0x63,
  complete: 0x43,
};
const WAL_DATA = 0x77;
const KEEPALIVE = 0x6b;
const WAL_HEADER_BYTES = 25;
/** Larger than any message of a walsender (MAX_SEND_SIZE is 128 KiB). */
const BODY_BYTES_MAX = 1 << 20;
/** While paused, Postgres is told this often that somebody is there (wal_sender_timeout is 60 s). */
const PAUSED_STATUS_MS = 10_000;
/** 2000-01-01, from which Postgres counts microseconds. */
const POSTGRES_EPOCH_MS = 946_684_800_000;

export class ReplicationClient {
  readonly #options: ReplicationOptions;
  readonly #socket: Socket;
  readonly #started = Promise.withResolvers<void>();
  #streaming = false;
  #ended = false;
  #orderly = false;
  #flushLsn: Lsn;
  #pausedTimer: ReturnType<typeof setInterval> | undefined;
  /** Header bytes, then the body, of the message that has not come whole. */
  #head = Buffer.alloc(5);
  #headLength = 0;
  #body: Buffer | null = null;
  #bodyLength = 0;

  private constructor(options: ReplicationOptions) {
    this.#options = options;
    this.#flushLsn = options.startLsn;
    this.#socket = connectSocket(options.socketPath);
    this.#socket.setNoDelay(true);
    this.#socket.on('connect', () => {
      const { user, applicationName } = options;
      this.#socket.write(serialize.startup({ user, replication: 'true', application_name: applicationName }));
    });
    this.#socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    // A walsender that has said goodbye does not read our last status any more: the socket is reset then.
    this.#socket.on('error', (error) => this.#end(this.#orderly ? null : error));
    this.#socket.on('close', () =>
      this.#end(this.#orderly ? null : new Error('Postgres ended the WAL stream')),
    );
  }

  /** Connects and resolves when Postgres has begun to stream. Rejects with what it said otherwise. */
  static async start(options: ReplicationOptions): Promise<ReplicationClient> {
    const client = new ReplicationClient(options);
    await client.#started.promise;
    return client;
  }

  /** Everything before `position` is durable at a quorum: commits that end there are released. */
  acknowledge(position: Lsn): void {
    if (position <= this.#flushLsn) return;
    this.#flushLsn = position;
    this.#sendStatus();
  }

  /** Takes no more WAL until `resume`. */
  pause(): void {
    if (this.#pausedTimer !== undefined || this.#ended) return;
    this.#socket.pause();
    this.#pausedTimer = setInterval(() => this.#sendStatus(), PAUSED_STATUS_MS);
  }
  resume(): void {
    if (this.#pausedTimer === undefined) return;
    clearInterval(this.#pausedTimer);
    this.#pausedTimer = undefined;
    this.#socket.resume();
  }

  /** Ends the stream at once; `onEnd` is not called. */
  stop(): void {
    this.#ended = true;
    clearInterval(this.#pausedTimer);
    this.#socket.destroy();
  }

  #sendStatus(): void {
    if (!this.#streaming || this.#ended) return;
    const body = Buffer.alloc(34);
    body[0] = 0x72;
    // Write and apply are the flush position too, so that synchronous_commit = remote_write or remote_apply wait as well.
    for (const offset of [1, 9, 17]) body.writeBigUInt64BE(BigInt(this.#flushLsn), offset);
    body.writeBigInt64BE(BigInt(Date.now() - POSTGRES_EPOCH_MS) * 1000n, 25);
    this.#socket.write(serialize.copyData(body));
  }

  #end(error: Error | null): void {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#pausedTimer);
    this.#socket.destroy();
    this.#started.reject(error ?? new Error('Postgres shut down'));
    // Before the stream began, the rejection says it.
    if (this.#streaming) this.#options.onEnd(error);
  }

  #receive(chunk: Buffer): void {
    try {
      for (let at = 0; at < chunk.length && !this.#ended;) at = this.#take(chunk, at);
    } catch (error) {
      this.#end(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** Takes bytes from `at` on, up to the end of one message; returns where it stopped. */
  #take(chunk: Buffer, at: number): number {
    if (this.#headLength < 5) {
      const count = Math.min(5 - this.#headLength, chunk.length - at);
      chunk.copy(this.#head, this.#headLength, at, at + count);
      this.#headLength += count;
      if (this.#headLength < 5) return at + count;
      at += count;
    }
    const length = this.#head.readUInt32BE(1) - 4;
    if (length < 0 || length > BODY_BYTES_MAX) {
      throw new Error(`message of ${length} bytes from Postgres: at most ${BODY_BYTES_MAX} expected`);
    }
    if (this.#body === null && chunk.length - at >= length) {
      this.#headLength = 0;
      this.#dispatch(this.#head[0], chunk.subarray(at, at + length));
      return at + length;
    }
    this.#body ??= Buffer.allocUnsafeSlow(length);
    const count = Math.min(length - this.#bodyLength, chunk.length - at);
    chunk.copy(this.#body, this.#bodyLength, at, at + count);
    this.#bodyLength += count;
    if (this.#bodyLength === length) {
      const body = this.#body;
      this.#body = null;
      this.#bodyLength = 0;
      this.#headLength = 0;
      this.#dispatch(this.#head[0], body);
    }
    return at + count;
  }

  #dispatch(tag: number, body: Buffer): void {
    switch (tag) {
      case TAG.authentication:
        if (body.readUInt32BE(0) !== 0) throw new Error('Postgres asks its own proposer for a password');
        return;
      case TAG.error: {
        const fields = parseErrorFields(body);
        throw new Error(`Postgres: ${fields.get('C') ?? ''} ${fields.get('M') ?? ''}`);
      }
      case TAG.ready: {
        if (this.#streaming) return;
        const slot = this.#options.slot === undefined ? '' : `SLOT "${this.#options.slot}"`;
        this.#socket.write(
          serialize.query(
            `START_REPLICATION ${slot} PHYSICAL ${formatLsn(this.#options.startLsn)} TIMELINE 1`,
          ),
        );
        return;
      }
      case TAG.copyBoth:
        this.#streaming = true;
        this.#started.resolve();
        this.#sendStatus();
        return;
      case TAG.copyDone:
      case TAG.complete:
        this.#orderly = true;
        return;
      case TAG.copyData:
        return this.#onCopyData(body);
      default: // ParameterStatus, BackendKeyData, NoticeResponse
    }
  }

  #onCopyData(body: Buffer): void {
    if (body[0] === WAL_DATA && body.length >= WAL_HEADER_BYTES) {
      this.#options.onServerEnd(lsn(body.readBigUInt64BE(9)));
      this.#options.onWal(lsn(body.readBigUInt64BE(1)), body.subarray(WAL_HEADER_BYTES));
    } else if (body[0] === KEEPALIVE && body.length === 18) {
      this.#options.onServerEnd(lsn(body.readBigUInt64BE(1)));
      if (body[17] !== 0) this.#sendStatus();
    } else {
      throw new Error(`replication message ${body[0]} of ${body.length} bytes`);
    }
  }
}
