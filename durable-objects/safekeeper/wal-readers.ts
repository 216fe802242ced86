/**
 * Pushes committed WAL to readers (the pageserver) as `commitLsn` advances: lib/protocol/wal-stream.ts.
 *
 * A reader's place lives in its socket's attachment, so the object may sleep between commits. At most
 * WAL_WINDOW_BYTES are on their way to a reader; its reports open the window again.
 */
import { formatLsn, lsn, lsnPlus, type Lsn } from '../../lib/postgres/lsn.ts';
import { MalformedMessage } from '../../lib/protocol/bytes.ts';
import {
  decodeWalReaderReport,
  encodeWalChunk,
  WAL_CHUNK_BYTES_MAX,
  WAL_WINDOW_BYTES,
} from '../../lib/protocol/wal-stream.ts';
import { REFUSALS, type RefusalReason } from '../../lib/consensus/messages.ts';
import type { WalSource } from './wal-source.ts';

export interface ReaderAttachment {
  kind: 'wal';
  sentLsn: Lsn;
  ingestedLsn: Lsn;
  remoteConsistentLsn: Lsn;
}

interface Reader extends ReaderAttachment {
  pumping: boolean;
}

interface Host {
  source: WalSource;
  commitLsn(): Lsn;
  onRemoteConsistent(position: Lsn): void;
  /** What runs on by itself. */
  waitUntil(promise: Promise<void>): void;
}

/** What is committed within this time of the last chunk goes in one with what follows it. */
const GATHER_MS = 20;

export class WalReaders {
  readonly #host: Host;
  readonly #readers = new Map<WebSocket, Reader>();
  /** While it runs, what comes gathers. */
  #gatherTimer: ReturnType<typeof setTimeout> | undefined;
  #gathered = false;

  constructor(host: Host, sockets: readonly WebSocket[]) {
    this.#host = host;
    for (const socket of sockets) {
      const attachment = socket.deserializeAttachment() as ReaderAttachment;
      this.#readers.set(socket, { ...attachment, pumping: false });
    }
  }

  /** For `ebb inspect`. */
  list(): { sentLsn: string; ingestedLsn: string; remoteConsistentLsn: string }[] {
    return [...this.#readers.values()].map((reader) => ({
      sentLsn: formatLsn(reader.sentLsn),
      ingestedLsn: formatLsn(reader.ingestedLsn),
      remoteConsistentLsn: formatLsn(reader.remoteConsistentLsn),
    }));
  }

  register(socket: WebSocket, fromLsn: Lsn): ReaderAttachment {
    const attachment: ReaderAttachment = {
      kind: 'wal',
      sentLsn: fromLsn,
      ingestedLsn: fromLsn,
      remoteConsistentLsn: lsn(0),
    };
    this.#readers.set(socket, { ...attachment, pumping: false });
    return attachment;
  }
  closed(socket: WebSocket): void {
    this.#readers.delete(socket);
  }

  async receive(socket: WebSocket, data: ArrayBuffer | string): Promise<void> {
    const reader = this.#readers.get(socket);
    if (reader === undefined) return; // closed by us a moment ago
    try {
      if (typeof data === 'string') throw new MalformedMessage('text message: binary expected');
      const report = decodeWalReaderReport(new Uint8Array(data));
      const { ingestedLsn, remoteConsistentLsn } = report;
      if (ingestedLsn > reader.sentLsn || remoteConsistentLsn > reader.sentLsn) {
        const detail = `report of ${formatLsn(ingestedLsn)}: sent up to ${formatLsn(reader.sentLsn)}`;
        return this.#refuse(socket, 'outOfRange', detail);
      }
      if (ingestedLsn > reader.ingestedLsn) reader.ingestedLsn = ingestedLsn;
      if (remoteConsistentLsn > reader.remoteConsistentLsn) {
        reader.remoteConsistentLsn = remoteConsistentLsn;
        this.#host.onRemoteConsistent(remoteConsistentLsn);
      }
      this.#remember(socket, reader);
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      return this.#refuse(socket, 'malformed', error.message);
    }
    await this.#pump(socket, reader);
  }

  /**
   * `commitLsn` may have moved: sends it at once after a pause, else together with what is committed next, for under load
   * a message to the reader and its report back would follow each commit.
   */
  pumpSoon(): void {
    if (this.#readers.size === 0) return;
    this.#gathered = true;
    if (this.#gatherTimer === undefined) this.#pumpAndGather();
  }
  #pumpAndGather(): void {
    this.#gatherTimer = undefined;
    if (!this.#gathered) return;
    this.#gathered = false;
    this.#gatherTimer = setTimeout(() => this.#pumpAndGather(), GATHER_MS);
    this.#host.waitUntil(this.pumpAll());
  }

  /** Sends each reader what it may have. */
  async pumpAll(): Promise<void> {
    await Promise.all([...this.#readers].map(([socket, reader]) => this.#pump(socket, reader)));
  }

  async #pump(socket: WebSocket, reader: Reader): Promise<void> {
    if (reader.pumping) return;
    reader.pumping = true;
    const before = reader.sentLsn;
    try {
      for (;;) {
        const commitLsn = this.#host.commitLsn();
        const room = WAL_WINDOW_BYTES - (reader.sentLsn - reader.ingestedLsn);
        if (reader.sentLsn >= commitLsn || room <= 0 || !this.#readers.has(socket)) return;
        const bytesMax = Math.min(WAL_CHUNK_BYTES_MAX, room);
        const range = { fromLsn: reader.sentLsn, endLsn: commitLsn, bytesMax };
        const found = this.#host.source.readLocal(range) ?? (await this.#host.source.readBackup(range));
        if (found === null) {
          const detail = `WAL at ${formatLsn(reader.sentLsn)} is neither here nor in object storage`;
          return this.#refuse(socket, 'storage', detail);
        }
        if (socket.readyState !== WebSocket.OPEN) return; // its close event is on its way
        socket.send(encodeWalChunk({ startLsn: reader.sentLsn, commitLsn, bytes: found.wal }));
        reader.sentLsn = lsnPlus(reader.sentLsn, found.wal.length);
      }
    } catch (error) {
      // Object storage is out of reach: the reader comes again.
      this.#refuse(socket, 'storage', `WAL at ${formatLsn(reader.sentLsn)}: ${String(error)}`);
    } finally {
      reader.pumping = false;
      if (reader.sentLsn !== before) this.#remember(socket, reader);
    }
  }

  #remember(socket: WebSocket, reader: Reader): void {
    if (!this.#readers.has(socket)) return;
    const { sentLsn, ingestedLsn, remoteConsistentLsn } = reader;
    const attachment: ReaderAttachment = { kind: 'wal', sentLsn, ingestedLsn, remoteConsistentLsn };
    socket.serializeAttachment(attachment);
  }

  #refuse(socket: WebSocket, reason: RefusalReason, detail: string): void {
    this.#readers.delete(socket);
    socket.close(REFUSALS[reason].code, `${reason}: ${detail}`.slice(0, 120));
  }
}
