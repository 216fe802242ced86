/**
 * Three acceptors in this process, behind fake sockets: the real step and codec, with memory for storage.
 *
 * A test can silence an acceptor (it takes messages and answers nothing), cut its connections and keep it away.
 */
import {
  emptyLog,
  startAcceptor,
  stepAcceptor,
  type AcceptorInput,
  type AcceptorState,
} from '../../../../lib/consensus/acceptor.ts';
import { decodeProposerMessage, encodeAcceptorMessage } from '../../../../lib/consensus/codec.ts';
import { REFUSALS, type AcceptorMessage } from '../../../../lib/consensus/messages.ts';
import { parseLsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import type { TimelineSpec } from '../../../../lib/protocol/specs.ts';
import type { AcceptorSocket } from '../../../../containers/compute/proposer/acceptor-link.ts';

type Listeners = { [type: string]: ((event: never) => void)[] };

class FakeSocket implements AcceptorSocket {
  binaryType = 'arraybuffer';
  readonly #listeners: Listeners = {};
  readonly #onSend: (bytes: Uint8Array) => void;
  readonly #onClose: () => void;
  #open = true;

  constructor(onSend: (bytes: Uint8Array) => void, onClose: () => void) {
    this.#onSend = onSend;
    this.#onClose = onClose;
  }
  addEventListener(type: string, listener: (event: never) => void): void {
    (this.#listeners[type] ??= []).push(listener);
  }
  emit(type: string, event: object): void {
    setImmediate(() => {
      for (const listener of this.#listeners[type] ?? []) listener(event as never);
    });
  }
  send(data: Uint8Array): void {
    const copy = data.slice();
    if (this.#open) setImmediate(() => this.#onSend(copy));
  }
  close(code = 1000, reason = ''): void {
    if (!this.#open) return;
    this.#open = false;
    // What was sent before arrives before.
    setImmediate(() => this.#onClose());
    this.emit('close', { code, reason });
  }
}

interface Acceptor {
  state: AcceptorState;
  wal: Buffer;
  length: number;
  sockets: Map<number, FakeSocket>;
  silent: boolean;
  away: boolean;
}

export class MemoryAcceptors {
  readonly timeline: TimelineSpec;
  readonly startLsn: Lsn;
  readonly acceptors: Acceptor[];
  #nextConnection = 1;

  constructor(timeline: TimelineSpec) {
    this.timeline = timeline;
    this.startLsn = parseLsn(timeline.startLsn);
    const identity = {
      timelineId: timeline.timelineId,
      systemIdentifier: BigInt(timeline.systemIdentifier),
      startLsn: this.startLsn,
      postgresMajor: timeline.postgresMajor,
    };
    this.acceptors = [1, 2, 3].map((n) => ({
      state: startAcceptor(identity, n, emptyLog(this.startLsn)),
      wal: Buffer.alloc(1 << 16),
      length: 0,
      sockets: new Map(),
      silent: false,
      away: false,
    }));
  }

  readonly connect = (n: number): AcceptorSocket => {
    const acceptor = this.acceptors[n - 1];
    const connection = this.#nextConnection++;
    const socket: FakeSocket = new FakeSocket(
      (bytes) => {
        if (acceptor.silent || !acceptor.sockets.has(connection)) return;
        this.#step(acceptor, { type: 'message', connection, message: decodeProposerMessage(bytes) });
      },
      () => {
        acceptor.sockets.delete(connection);
        this.#step(acceptor, { type: 'disconnected', connection });
      },
    );
    if (acceptor.away) socket.emit('error', { message: 'away' });
    else {
      acceptor.sockets.set(connection, socket);
      socket.emit('open', {});
    }
    return socket;
  };

  /** Stored bytes of acceptor `n`. */
  wal(n: number): Buffer {
    const acceptor = this.acceptors[n - 1];
    return acceptor.wal.subarray(0, acceptor.length);
  }
  log(n: number) {
    return this.acceptors[n - 1].state.log;
  }
  /** Ends its connections and lets nobody in until `back`. */
  away(n: number): void {
    const acceptor = this.acceptors[n - 1];
    acceptor.away = true;
    for (const socket of acceptor.sockets.values()) socket.close(1006);
  }
  back(n: number): void {
    this.acceptors[n - 1].away = false;
  }

  #step(acceptor: Acceptor, input: AcceptorInput): void {
    const output = stepAcceptor(acceptor.state, input);
    acceptor.state = output.state;
    for (const write of output.writes) {
      if (write.type === 'truncate') acceptor.length = write.lsn - this.startLsn;
      if (write.type !== 'wal') continue;
      for (const part of write.wal) {
        while (acceptor.length + part.length > acceptor.wal.length) {
          acceptor.wal = Buffer.concat([acceptor.wal, Buffer.alloc(acceptor.wal.length)]);
        }
        acceptor.wal.set(part, acceptor.length);
        acceptor.length += part.length;
      }
    }
    const send = (connection: number, message: AcceptorMessage): void => {
      const data = encodeAcceptorMessage(message).slice().buffer;
      acceptor.sockets.get(connection)?.emit('message', { data });
    };
    for (const { connection, message } of output.messages) send(connection, message);
    for (const { connection, term, beginLsn, endLsn, bytesMax } of output.reads) {
      const from = beginLsn - this.startLsn;
      const to = Math.min(endLsn - this.startLsn, from + bytesMax);
      const recordEndLsn = to === endLsn - this.startLsn ? endLsn : this.startLsn;
      send(connection, { type: 'wal', term, beginLsn, recordEndLsn, wal: acceptor.wal.subarray(from, to) });
    }
    for (const { connection, reason, detail } of output.refusals) {
      acceptor.sockets.get(connection)?.close(REFUSALS[reason].code, `${reason}: ${detail}`);
    }
  }
}
