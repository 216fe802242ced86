/**
 * Runs the acceptor's step over WebSockets and SQLite; decides nothing itself.
 *
 *   messages ──► queue ──► step … step ──► one transaction ──► sync ──► answers
 *
 * What arrives while a sync runs waits for the next one: that is the group commit. An error of the storage
 * leaves memory ahead of it, so the whole object is aborted and starts again from what is durable.
 * A sleeping object's connections live on in their attachments.
 */
import { formatLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import {
  needsSync,
  startAcceptor,
  statusOf,
  stepAcceptor,
  type AcceptorConnection,
  type AcceptorInput,
  type AcceptorLog,
  type AcceptorRead,
  type AcceptorState,
  type AcceptorStatus,
  type AcceptorWrite,
} from '../../lib/consensus/acceptor.ts';
import {
  CONSENSUS_MESSAGE_BYTES_MAX,
  decodeProposerMessage,
  encodeAcceptorMessage,
} from '../../lib/consensus/codec.ts';
import type { Configuration } from '../../lib/consensus/configuration.ts';
import { REFUSALS, type AcceptorMessage, type RefusalReason } from '../../lib/consensus/messages.ts';
import { MalformedMessage } from '../../lib/protocol/bytes.ts';
import type { SafekeeperStore } from './store.ts';
import type { FoundWal, WalSource } from './wal-source.ts';

/** Kept with a proposer's WebSocket while the object sleeps. */
export interface AcceptorAttachment {
  kind: 'acceptor';
  connection: number;
  proposerId: string | null;
  generation: number;
  writing: boolean;
  backupBy: number;
  left: boolean;
}

/** How old a commit position in storage may be: it goes with WAL that is written after this time, or by itself. */
const POSITIONS_DELAY_MS = 500;
/** A close reason may take 123 bytes. */
const CLOSE_REASON_LENGTH_MAX = 120;

interface Host {
  store: SafekeeperStore;
  source: WalSource;
  /** After steps that may have moved `commitLsn` or who backs up. */
  onProgress(): void;
  /** How far storage reaches for now. */
  limitLsn(): Lsn;
  /** What runs on by itself. */
  waitUntil(promise: Promise<void>): void;
  /** Storage failed: memory must be thrown away. */
  abort(error: unknown): void;
}

export class AcceptorShell {
  readonly #host: Host;
  #state: AcceptorState;
  readonly #sockets = new Map<number, WebSocket>();
  readonly #attachments = new WeakMap<WebSocket, AcceptorAttachment>();
  #queue: AcceptorInput[] = [];
  #draining = false;
  #drained: Promise<void> = Promise.resolve();
  #nextConnection = 1;
  /** To be written, with WAL or by the timer. */
  #unsavedPositions: AcceptorWrite | null = null;
  #positionsSavedAt = 0;
  #positionsTimer: ReturnType<typeof setTimeout> | undefined;

  /** `sockets` are those that outlived a sleep. */
  constructor(host: Host, sockets: readonly WebSocket[]) {
    this.#host = host;
    const state = startAcceptor(host.store.identity, host.store.number, host.store.loadLog());
    const connections = new Map<number, AcceptorConnection>();
    let awake: Partial<AcceptorState> = {};
    for (const socket of sockets) {
      const attachment = socket.deserializeAttachment() as AcceptorAttachment;
      const { connection, proposerId, generation, writing, backupBy, left } = attachment;
      this.#sockets.set(connection, socket);
      this.#attachments.set(socket, attachment);
      this.#nextConnection = Math.max(this.#nextConnection, connection + 1);
      if (proposerId !== null) connections.set(connection, { proposerId, generation });
      if (writing) awake = { writing: connection, backupBy, left };
    }
    this.#state = { ...state, connections, ...awake, limitLsn: host.limitLsn() };
  }

  get log(): AcceptorLog {
    return this.#state.log;
  }
  get state(): AcceptorState {
    return this.#state;
  }

  /** A proposer has connected; `socket` is accepted for hibernation by the caller with the returned attachment. */
  register(socket: WebSocket): AcceptorAttachment {
    const connection = this.#nextConnection++;
    const attachment: AcceptorAttachment = {
      kind: 'acceptor',
      connection,
      proposerId: null,
      generation: 0,
      writing: false,
      backupBy: 0,
      left: false,
    };
    this.#sockets.set(connection, socket);
    this.#attachments.set(socket, attachment);
    return attachment;
  }

  /** Takes one message; what it leads to happens when its turn has come. */
  receive(socket: WebSocket, data: ArrayBuffer | string): Promise<void> {
    const connection = this.#attachmentOf(socket).connection;
    if (typeof data === 'string')
      return this.#refuse(connection, 'malformed', 'text message: binary expected');
    if (data.byteLength > CONSENSUS_MESSAGE_BYTES_MAX) {
      const detail = `message of ${data.byteLength} bytes: at most ${CONSENSUS_MESSAGE_BYTES_MAX}`;
      return this.#refuse(connection, 'oversize', detail);
    }
    try {
      const message = decodeProposerMessage(new Uint8Array(data));
      this.#queue.push({ type: 'message', connection, message });
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      return this.#refuse(connection, 'malformed', error.message);
    }
    return this.#drain();
  }

  /** The control plane has another configuration; resolves when it is durable, with where this acceptor is. */
  async configure(configuration: Configuration): Promise<AcceptorStatus> {
    await this.#take({ type: 'configure', configuration });
    return statusOf(this.#state.log);
  }

  /** Finished segments before `backupLsn` are in object storage. */
  backedUp(backupLsn: Lsn): Promise<void> {
    return this.#take({ type: 'backedUp', backupLsn });
  }

  async #take(input: AcceptorInput): Promise<void> {
    this.#queue.push(input);
    await this.#drain();
    while (this.#draining) await this.#drained;
  }

  /** Storage reaches further now. */
  roomChanged(): Promise<void> {
    const limitLsn = this.#host.limitLsn();
    return limitLsn === this.#state.limitLsn ? Promise.resolve() : this.#take({ type: 'room', limitLsn });
  }

  closed(socket: WebSocket): Promise<void> {
    const { connection } = this.#attachmentOf(socket);
    this.#sockets.delete(connection);
    this.#queue.push({ type: 'disconnected', connection });
    return this.#drain();
  }

  /** Resolves when it is taken note of. */
  learnCommit(term: number, commitLsn: Lsn): Promise<void> {
    this.#queue.push({ type: 'committed', term, commitLsn });
    return this.#drain();
  }

  /** Whether `socket` is a proposer's that this object has met since it woke. */
  has(socket: WebSocket): boolean {
    return this.#attachments.has(socket);
  }

  #attachmentOf(socket: WebSocket): AcceptorAttachment {
    const known = this.#attachments.get(socket) ?? (socket.deserializeAttachment() as AcceptorAttachment);
    this.#attachments.set(socket, known);
    return known;
  }

  #drain(): Promise<void> {
    if (this.#draining) return Promise.resolve();
    this.#draining = true;
    this.#drained = this.#drainQueue();
    return this.#drained;
  }

  async #drainQueue(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        const inputs = this.#queue;
        this.#queue = [];
        await this.#runBatch(inputs);
      }
    } catch (error) {
      this.#host.abort(error);
      throw error;
    } finally {
      this.#draining = false;
    }
  }

  async #runBatch(inputs: readonly AcceptorInput[]): Promise<void> {
    const writes: AcceptorWrite[] = [];
    const answers: { connection: number; message: AcceptorMessage }[] = [];
    const reads: AcceptorRead[] = [];
    const before = this.#state;
    for (const input of inputs) {
      const output = stepAcceptor(this.#state, input);
      this.#state = output.state;
      writes.push(...output.writes);
      answers.push(...output.messages);
      reads.push(...output.reads);
      for (const { connection, reason, detail } of output.refusals) {
        await this.#refuse(connection, reason, detail);
      }
    }
    await this.#persist(writes);
    // A cut, or a beginning elsewhere, moves it.
    const limitLsn = this.#host.limitLsn();
    if (limitLsn !== this.#state.limitLsn) this.#queue.push({ type: 'room', limitLsn });
    this.#rememberConnections(before);
    for (let i = 0; i < answers.length; i++) {
      // A later position of the same connection says all that an earlier one does.
      const { connection, message } = answers[i];
      if (message.type === 'position' && answers[i + 1]?.connection === connection) {
        if (answers[i + 1].message.type === 'position') continue;
      }
      this.#send(connection, encodeAcceptorMessage(message));
    }
    // Not waited for: object storage may be slow, and appends are not to wait for it.
    for (const read of reads) this.#host.waitUntil(this.#answerRead(read));
    if (
      before.log !== this.#state.log ||
      before.left !== this.#state.left ||
      before.writing !== this.#state.writing
    ) {
      this.#host.onProgress();
    }
  }

  async #persist(writes: readonly AcceptorWrite[]): Promise<void> {
    const { store } = this.#host;
    const positions = writes.findLast((write) => write.type === 'positions');
    if (positions !== undefined) this.#unsavedPositions = positions;
    const idle = this.#state.left || this.#state.writing === null;
    if (needsSync(writes)) {
      const log = writes.filter((write) => write.type !== 'positions');
      const due = Date.now() - this.#positionsSavedAt >= POSITIONS_DELAY_MS;
      store.apply(due ? [...log, ...this.#takePositions()] : log);
      await store.sync();
    }
    if (this.#unsavedPositions === null) return;
    if (idle) this.savePositions();
    else this.#positionsTimer ??= setTimeout(() => this.savePositions(), POSITIONS_DELAY_MS);
  }

  /** Writes what is known to be committed, so that it is known after a sleep too. */
  savePositions(): void {
    this.#host.store.apply(this.#takePositions());
  }

  #takePositions(): AcceptorWrite[] {
    if (this.#positionsTimer !== undefined) clearTimeout(this.#positionsTimer);
    this.#positionsTimer = undefined;
    if (this.#unsavedPositions === null) return [];
    const positions = this.#unsavedPositions;
    this.#unsavedPositions = null;
    this.#positionsSavedAt = Date.now();
    return [positions];
  }

  /** Attachments follow the state, where they differ from what the sockets have. */
  #rememberConnections(before: AcceptorState): void {
    const { writing, backupBy, left, connections } = this.#state;
    const same = before.writing === writing && before.backupBy === backupBy && before.left === left;
    if (same && before.connections === connections) return;
    for (const [connection, socket] of this.#sockets) {
      const attachment: AcceptorAttachment = {
        kind: 'acceptor',
        connection,
        proposerId: connections.get(connection)?.proposerId ?? null,
        generation: connections.get(connection)?.generation ?? 0,
        writing: writing === connection,
        backupBy,
        left,
      };
      this.#attachments.set(socket, attachment);
      socket.serializeAttachment(attachment);
    }
  }

  async #answerRead({ connection, term, beginLsn, endLsn, bytesMax }: AcceptorRead): Promise<void> {
    let found: FoundWal | null = null;
    try {
      found = await this.#host.source.read({ fromLsn: beginLsn, endLsn, bytesMax });
    } catch (error) {
      console.warn(
        `WAL at ${formatLsn(beginLsn)} from object storage, for another safekeeper: ${String(error)}`,
      );
    }
    // Without bytes it says that there are none: the connection serves commits, and is not ended for that.
    const { wal, recordEndLsn } = found ?? { wal: new Uint8Array(0), recordEndLsn: beginLsn };
    this.#send(connection, encodeAcceptorMessage({ type: 'wal', term, beginLsn, recordEndLsn, wal }));
  }

  #send(connection: number, message: Uint8Array): void {
    const socket = this.#sockets.get(connection);
    if (socket === undefined || socket.readyState !== WebSocket.OPEN) return; // its end is on its way to us
    socket.send(message);
  }

  /** Ends a connection with the documented close code. */
  async #refuse(connection: number, reason: RefusalReason, detail: string): Promise<void> {
    const socket = this.#sockets.get(connection);
    this.#sockets.delete(connection);
    socket?.close(REFUSALS[reason].code, `${reason}: ${detail}`.slice(0, CLOSE_REASON_LENGTH_MAX));
    this.#queue.push({ type: 'disconnected', connection });
    await this.#drain();
  }
}
