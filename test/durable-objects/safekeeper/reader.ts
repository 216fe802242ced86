/** A reader of committed WAL that checks that what it gets is contiguous. */
import { expect } from 'vitest';
import { formatLsn, lsn, lsnPlus, type Lsn } from '../../../lib/postgres/lsn.ts';
import { decodeWalChunk, encodeWalReaderReport } from '../../../lib/protocol/wal-stream.ts';
import type { SafekeeperEdge } from './edge.ts';

export class Reader {
  readonly socket: WebSocket;
  readonly closed = Promise.withResolvers<{ code: number; reason: string }>();
  readonly #parts: Uint8Array[] = [];
  commitLsn: Lsn;
  readonly #from: Lsn;
  readonly #waiters = new Set<{ endLsn: Lsn; resolve: () => void }>();

  constructor(edge: SafekeeperEdge, n: number, from: Lsn, onChunk?: (reader: Reader) => void) {
    this.#from = from;
    this.commitLsn = from;
    this.#endLsn = from;
    let length = 0;
    this.socket = edge.connect(n, `wal?from=${formatLsn(from)}`);
    this.socket.addEventListener('close', ({ code, reason }) => this.closed.resolve({ code, reason }));
    this.socket.addEventListener('message', ({ data }) => {
      const chunk = decodeWalChunk(new Uint8Array(data as ArrayBuffer));
      expect(chunk.startLsn).toBe(from + length);
      expect(chunk.startLsn + chunk.bytes.length).toBeLessThanOrEqual(chunk.commitLsn);
      this.#parts.push(chunk.bytes);
      length += chunk.bytes.length;
      this.commitLsn = chunk.commitLsn;
      for (const waiter of this.#waiters) {
        if (from + length < waiter.endLsn) continue;
        this.#waiters.delete(waiter);
        waiter.resolve();
      }
      this.#endLsn = lsnPlus(from, length);
      onChunk?.(this);
    });
  }
  #endLsn: Lsn;
  get endLsn(): Lsn {
    return this.#endLsn > this.#from ? this.#endLsn : this.#from;
  }
  async upTo(endLsn: Lsn): Promise<Uint8Array> {
    if (this.endLsn < endLsn) {
      await new Promise<void>((resolve) => this.#waiters.add({ endLsn, resolve }));
    }
    return new Uint8Array(Buffer.concat(this.#parts));
  }
  report(ingestedLsn: Lsn, remoteConsistentLsn = lsn(0)): void {
    this.socket.send(encodeWalReaderReport({ ingestedLsn, remoteConsistentLsn }));
  }
}
export const reportAll = (reader: Reader): void => reader.report(reader.endLsn);
