/**
 * A safekeeper's storage, as its shell uses it: transactions that are applied at once and durable after a sync.
 *
 * A crash keeps the transactions that were synced and any number of those after, in order and whole (SQLite). The
 * log that a start finds is made of the writes alone, not of the step's state: a write that the step forgot shows.
 */
import type { AcceptorLog, AcceptorWrite } from '../consensus/acceptor-state.ts';
import { assertNever } from '../assert.ts';
import type { Lsn } from '../postgres/lsn.ts';

/** Bytes of one simulated log. A byte's value is the number of the proposer process that wrote it. */
export const LOG_BYTES_MAX = 1 << 13;

interface Row {
  endLsn: number;
  recordEndLsn: number;
}
/** What takes a transaction back. */
interface Undo {
  log: AcceptorLog;
  rows: Row[];
  localBeginLsn: number;
  /** Bytes that were overwritten, from `from` on. */
  from: number;
  bytes: Uint8Array;
}

export class Disk {
  readonly startLsn: Lsn;
  /** As the next start finds it when everything applied becomes durable. */
  log: AcceptorLog;
  readonly wal = new Uint8Array(LOG_BYTES_MAX);
  #rows: Row[] = [];
  /** Local WAL begins here. */
  localBeginLsn: number;
  readonly #unsynced: Undo[] = [];

  constructor(startLsn: Lsn, log: AcceptorLog) {
    this.startLsn = startLsn;
    this.log = log;
    this.localBeginLsn = startLsn;
  }

  get unsynced(): number {
    return this.#unsynced.length;
  }

  apply(writes: readonly AcceptorWrite[]): void {
    const undo: Undo = {
      log: this.log,
      rows: this.#rows,
      localBeginLsn: this.localBeginLsn,
      from: 0,
      bytes: NOTHING,
    };
    this.#unsynced.push(undo);
    for (const write of writes) this.#applyOne(write, undo);
  }
  sync(): void {
    this.#unsynced.length = 0;
  }
  /** Keeps the first `kept` of the transactions that were not synced. */
  crash(kept: number): void {
    while (this.#unsynced.length > kept) {
      const undo = this.#unsynced.pop()!;
      this.log = undo.log;
      this.#rows = undo.rows;
      this.localBeginLsn = undo.localBeginLsn;
      this.wal.set(undo.bytes, undo.from);
    }
    this.#unsynced.length = 0;
  }

  /** What SQLite rules out: of a transaction that a crash takes back, the term history stays behind. */
  tear(kept: number): void {
    const { history } = this.log;
    this.crash(kept);
    this.log = { ...this.log, history };
  }

  #applyOne(write: AcceptorWrite, undo: Undo): void {
    const { log } = this;
    switch (write.type) {
      case 'term':
        this.log = { ...log, term: write.term, votedFor: write.votedFor };
        return;
      case 'history':
        this.log = { ...log, history: write.history };
        return;
      case 'configuration':
        this.log = { ...log, configuration: write.configuration };
        return;
      case 'truncate': {
        const from = write.lsn - this.startLsn;
        if (undo.bytes === NOTHING) {
          undo.from = from;
          undo.bytes = this.wal.slice(from, log.writtenLsn - this.startLsn);
        } else if (from < undo.from) {
          const bytes = new Uint8Array(undo.from - from + undo.bytes.length);
          bytes.set(this.wal.subarray(from, undo.from));
          bytes.set(undo.bytes, undo.from - from);
          undo.from = from;
          undo.bytes = bytes;
        }
        const rows = this.#rows.filter((row) => row.endLsn < write.lsn);
        if (write.lsn > this.localBeginLsn) rows.push({ endLsn: write.lsn, recordEndLsn: write.lsn });
        else this.localBeginLsn = write.lsn;
        this.#rows = rows;
        this.log = { ...log, flushLsn: write.lsn, writtenLsn: write.lsn };
        return;
      }
      case 'begin':
        this.#rows = [];
        this.localBeginLsn = write.lsn;
        this.log = {
          ...log,
          flushLsn: write.recordEndLsn,
          writtenLsn: write.lsn,
          backupLsn: write.lsn > log.backupLsn ? write.lsn : log.backupLsn,
        };
        return;
      case 'wal': {
        let at = write.beginLsn - this.startLsn;
        for (const part of write.wal) {
          this.wal.set(part, at);
          at += part.length;
        }
        const endLsn = (at + this.startLsn) as Lsn;
        this.#rows = [...this.#rows, { endLsn, recordEndLsn: write.recordEndLsn }];
        this.log = { ...log, writtenLsn: endLsn, flushLsn: write.recordEndLsn };
        return;
      }
      case 'positions': {
        const { commitLsn, truncateLsn, backupLsn } = write;
        this.log = { ...log, commitLsn, truncateLsn, backupLsn };
        return;
      }
      default:
        assertNever(write, 'acceptor write');
    }
  }

  /**
   * Drops local WAL before `lsn`, which is in object storage: that it is there was written before, so that no crash takes the
   * one back without the other.
   */
  trim(lsn: Lsn): void {
    if (lsn > this.log.backupLsn) this.log = { ...this.log, backupLsn: lsn };
    this.localBeginLsn = lsn;
    this.#rows = this.#rows.filter((row) => row.endLsn > lsn);
  }

  /** WAL from `fromLsn` on, a row's rest at most; null when it is not here. */
  read(fromLsn: number, endLsn: number, bytesMax: number): { wal: Uint8Array; recordEndLsn: Lsn } | null {
    if (fromLsn < this.localBeginLsn) return null;
    const row = this.#rows.find((candidate) => candidate.endLsn > fromLsn);
    if (row === undefined) return null;
    const to = Math.min(row.endLsn, endLsn, fromLsn + bytesMax);
    const wal = this.wal.slice(fromLsn - this.startLsn, to - this.startLsn);
    const recordEndLsn = (row.recordEndLsn <= to ? row.recordEndLsn : this.startLsn) as Lsn;
    return { wal, recordEndLsn };
  }
}

const NOTHING = new Uint8Array(0);
