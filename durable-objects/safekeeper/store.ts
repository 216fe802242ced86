/**
 * The storage of a safekeeper: what the acceptor's step wrote, in SQLite.
 *
 * `apply` carries out the writes of any number of steps; they are one transaction, durable after `sync`. WAL
 * that is next to each other becomes one row of at most 1 MiB (group commit makes the rows larger as the load grows).
 */
import { formatLsn, lsn, lsnPlus, parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { emptyLog, type AcceptorLog, type AcceptorWrite } from '../../lib/consensus/acceptor.ts';
import type { TimelineIdentity } from '../../lib/consensus/messages.ts';
import { emptyHistory, type TermHistory } from '../../lib/consensus/term-history.ts';
import { assertNever } from '../../lib/assert.ts';
import type { TimelineSpec } from '../../lib/protocol/specs.ts';
import { NO_CONFIGURATION, type Configuration } from '../../lib/consensus/configuration.ts';
import {
  createTables,
  hasTables,
  migrateTables,
  parseTimeline,
  ROW_BYTES_MAX,
  type SafekeeperRow,
} from './schema.ts';

/** Positions that are not the acceptor's: how far WAL is safe elsewhere. */
export interface SafetyPositions {
  /** Finished segments before it are in object storage. */
  backupLsn: Lsn;
  /** The tail was last copied up to here. */
  partialLsn: Lsn;
  /** What the pageserver has made safe: it will never ask for what is before. */
  remoteConsistentLsn: Lsn;
}

/** Contiguous WAL from local storage. */
export interface LocalWal {
  parts: Uint8Array[];
  endLsn: Lsn;
  /** End of the last whole record up to `endLsn`, as far as this storage knows; else the timeline's start. */
  recordEndLsn: Lsn;
}

interface WalRow extends Record<string, SqlStorageValue> {
  begin_lsn: number;
  record_end_lsn: number;
  bytes: ArrayBuffer;
}

export class SafekeeperStore {
  readonly timeline: TimelineSpec;
  readonly number: number;
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;
  positions: SafetyPositions;

  private constructor(storage: DurableObjectStorage, row: SafekeeperRow) {
    this.#storage = storage;
    this.#sql = storage.sql;
    this.timeline = parseTimeline(row.timeline);
    this.number = row.number;
    this.positions = {
      backupLsn: lsn(row.backup_lsn),
      partialLsn: lsn(row.partial_lsn),
      remoteConsistentLsn: lsn(row.remote_consistent_lsn),
    };
  }

  /** The storage of a safekeeper that was created before; null where there is none. Writes nothing. */
  static open(storage: DurableObjectStorage): SafekeeperStore | null {
    if (!hasTables(storage.sql)) return null;
    migrateTables(storage.sql);
    return new SafekeeperStore(storage, storage.sql.exec<SafekeeperRow>(`SELECT * FROM safekeeper`).one());
  }

  /** Makes the storage of safekeeper `number` of a timeline that has no WAL yet. */
  static create(storage: DurableObjectStorage, timeline: TimelineSpec, number: number): SafekeeperStore {
    const start = parseLsn(timeline.startLsn);
    storage.transactionSync(() => {
      createTables(storage.sql);
      storage.sql.exec(
        `INSERT INTO safekeeper VALUES (1, ?1, ?2, 0, NULL, ?3, ?3, ?3, ?3, ?3, ?3, ?3, NULL)`,
        JSON.stringify(timeline),
        number,
        start,
      );
      for (const entry of emptyHistory(start)) {
        storage.sql.exec(`INSERT INTO history VALUES (?, ?)`, entry.term, entry.lsn);
      }
    });
    const store = SafekeeperStore.open(storage);
    if (store === null) throw new Error('safekeeper tables are missing after they were made');
    return store;
  }

  get identity(): TimelineIdentity {
    return {
      timelineId: this.timeline.timelineId,
      systemIdentifier: BigInt(this.timeline.systemIdentifier),
      startLsn: parseLsn(this.timeline.startLsn),
      postgresMajor: this.timeline.postgresMajor,
    };
  }

  /** What is durable of the acceptor's log. */
  loadLog(): AcceptorLog {
    const row = this.#sql.exec<SafekeeperRow>(`SELECT * FROM safekeeper`).one();
    const history: TermHistory = this.#sql
      .exec<{ term: number; lsn: number }>(`SELECT term, lsn FROM history ORDER BY term`)
      .toArray()
      .map((entry) => ({ term: entry.term, lsn: lsn(entry.lsn) }));
    const last = this.#sql
      .exec<{ begin_lsn: number; record_end_lsn: number; length: number }>(
        `SELECT begin_lsn, record_end_lsn, length(bytes) AS length FROM wal ORDER BY begin_lsn DESC LIMIT 1`,
      )
      .toArray()[0];
    return {
      ...emptyLog(parseLsn(this.timeline.startLsn)),
      term: row.term,
      votedFor: row.voted_for,
      configuration:
        row.configuration === null ? NO_CONFIGURATION : (JSON.parse(row.configuration) as Configuration),
      history,
      flushLsn: lsn(last === undefined ? row.log_lsn : last.record_end_lsn),
      writtenLsn: lsn(
        last === undefined ? Math.max(row.log_lsn, row.begin_lsn) : last.begin_lsn + last.length,
      ),
      commitLsn: lsn(row.commit_lsn),
      truncateLsn: lsn(row.truncate_lsn),
      backupLsn: lsn(row.backup_lsn),
    };
  }

  /**
   * Carries out the writes of one or several steps in order, as one transaction. Positions only ever grow, so
   * the last ones stand for all. Throws what SQLite throws; then nothing is written.
   */
  apply(writes: readonly AcceptorWrite[]): void {
    if (writes.length === 0) return;
    // By far the most; a statement alone is a transaction, without the two that make a savepoint.
    if (writes.length === 1 && writes[0].type === 'wal') return void this.#insertWal(writes, 0);
    const positions = writes.findLast((write) => write.type === 'positions');
    const others = writes.filter((write) => write.type !== 'positions');
    this.#storage.transactionSync(() => {
      for (let i = 0; i < others.length;) {
        const write = others[i];
        if (write.type === 'wal') i += this.#insertWal(others, i);
        else {
          this.#applyOne(write);
          i++;
        }
      }
      if (positions !== undefined) this.#applyOne(positions);
    });
  }
  /** Resolves when everything applied is durable. */
  sync(): Promise<void> {
    return this.#storage.sync();
  }

  #applyOne(write: Exclude<AcceptorWrite, { type: 'wal' }>): void {
    switch (write.type) {
      case 'term':
        this.#sql.exec(`UPDATE safekeeper SET term = ?, voted_for = ?`, write.term, write.votedFor);
        return;
      case 'positions':
        this.#sql.exec(
          `UPDATE safekeeper SET commit_lsn = ?, truncate_lsn = ?`,
          write.commitLsn,
          write.truncateLsn,
        );
        this.savePositions({ backupLsn: write.backupLsn, partialLsn: write.backupLsn });
        return;
      case 'configuration':
        this.#sql.exec(`UPDATE safekeeper SET configuration = ?`, JSON.stringify(write.configuration));
        return;
      case 'begin':
        this.#localBeginLsn = null;
        this.#sql.exec(`DELETE FROM wal`);
        this.#sql.exec(`UPDATE safekeeper SET begin_lsn = ?, log_lsn = ?`, write.lsn, write.recordEndLsn);
        this.savePositions({ backupLsn: write.lsn, partialLsn: write.lsn });
        return;
      case 'history':
        this.#replaceHistory(write.history);
        return;
      case 'truncate':
        this.#truncate(write.lsn);
        return;
      default:
        assertNever(write, 'acceptor write');
    }
  }

  #replaceHistory(history: TermHistory): void {
    const kept = new Map(
      this.#sql
        .exec<{ term: number; lsn: number }>(`SELECT term, lsn FROM history`)
        .toArray()
        .map((entry) => [entry.term, entry.lsn]),
    );
    for (const { term, lsn: position } of history) {
      if (kept.get(term) !== position) {
        this.#sql.exec(`INSERT OR REPLACE INTO history VALUES (?, ?)`, term, position);
      }
      kept.delete(term);
    }
    for (const term of kept.keys()) this.#sql.exec(`DELETE FROM history WHERE term = ?`, term);
  }

  /** `at` is the end of a record, and at or before the end of the log. */
  #truncate(at: Lsn): void {
    this.#localBeginLsn = null;
    this.#sql.exec(`DELETE FROM wal WHERE begin_lsn >= ?`, at);
    this.#sql.exec(
      `UPDATE wal SET record_end_lsn = ?1, bytes = substr(bytes, 1, ?1 - begin_lsn)
        WHERE begin_lsn = (SELECT max(begin_lsn) FROM wal)`,
      at,
    );
    this.#sql.exec(`UPDATE safekeeper SET log_lsn = ?1, begin_lsn = min(begin_lsn, ?1)`, at);
  }

  /** Makes one row of `writes[from]` and what continues it; returns how many writes that took. */
  #insertWal(writes: readonly AcceptorWrite[], from: number): number {
    const parts: Uint8Array[] = [];
    let length = 0;
    let count = 0;
    let [beginLsn, recordEndLsn] = [0, 0];
    for (let i = from; i < writes.length; i++) {
      const write = writes[i];
      if (write.type !== 'wal') break;
      const more = write.wal.reduce((sum, part) => sum + part.length, 0);
      if (count > 0 && length + more > ROW_BYTES_MAX) break;
      if (count === 0) beginLsn = write.beginLsn;
      parts.push(...write.wal);
      length += more;
      recordEndLsn = write.recordEndLsn;
      count++;
    }
    const bytes = joined(parts, length);
    this.#sql.exec(`INSERT INTO wal VALUES (?, ?, ?)`, beginLsn, recordEndLsn, bytes);
    return count;
  }

  /** SQLite's file, with pages that are free again. */
  get databaseBytes(): number {
    return this.#sql.databaseSize;
  }

  /** Where the WAL that is kept here begins; the end of the log where there is none. */
  localBeginLsn(): Lsn {
    return (this.#localBeginLsn ??= this.#findLocalBegin());
  }
  /** Null when it may have changed. The first row of an empty log begins where the log ended. */
  #localBeginLsn: Lsn | null = null;
  #findLocalBegin(): Lsn {
    const { at } = this.#sql.exec<{ at: number | null }>(`SELECT min(begin_lsn) AS at FROM wal`).one();
    if (at !== null) return lsn(at);
    const sql = `SELECT max(log_lsn, begin_lsn) AS at FROM safekeeper`;
    return lsn(this.#sql.exec<{ at: number }>(sql).one().at);
  }

  /**
   * WAL from `fromLsn` on: at most `bytesMax`, not beyond `endLsn`, whole rows where possible. Null when the
   * row that holds `fromLsn` is not here any more.
   */
  readWal({ fromLsn, endLsn, bytesMax }: { fromLsn: Lsn; endLsn: Lsn; bytesMax: number }): LocalWal | null {
    let rest = Math.min(bytesMax, endLsn - fromLsn);
    // All of them are taken: a cursor left open would keep SQLite from ever starting its own log anew.
    const rows = this.#sql
      .exec<WalRow>(
        `SELECT begin_lsn, record_end_lsn, bytes FROM wal
          WHERE begin_lsn >= (SELECT max(begin_lsn) FROM wal WHERE begin_lsn <= ?1) AND begin_lsn < ?2 ORDER BY begin_lsn`,
        fromLsn,
        fromLsn + rest,
      )
      .toArray();
    const parts: Uint8Array[] = [];
    let at = fromLsn;
    let recordEndLsn = parseLsn(this.timeline.startLsn);
    for (const row of rows) {
      if (rest <= 0) break;
      const skip = at - row.begin_lsn;
      if (skip >= row.bytes.byteLength) break;
      const part = new Uint8Array(row.bytes, skip, Math.min(rest, row.bytes.byteLength - skip));
      if (parts.length > 0 && part.length < row.bytes.byteLength && at + part.length < endLsn) break;
      parts.push(part);
      at = lsnPlus(at, part.length);
      rest -= part.length;
      if (row.record_end_lsn <= at && row.record_end_lsn > recordEndLsn)
        recordEndLsn = lsn(row.record_end_lsn);
    }
    return parts.length === 0 ? null : { parts, endLsn: at, recordEndLsn };
  }

  /** Keeps the positions of what is safe elsewhere. None of them goes back. */
  savePositions(positions: Partial<SafetyPositions>): void {
    const now = this.positions;
    const next = { ...now };
    for (const key of ['backupLsn', 'partialLsn', 'remoteConsistentLsn'] as const) {
      const value = positions[key];
      if (value !== undefined && value > next[key]) next[key] = value;
    }
    if (JSON.stringify(next) === JSON.stringify(now)) return;
    this.positions = next;
    this.#sql.exec(
      `UPDATE safekeeper SET backup_lsn = ?, partial_lsn = ?, remote_consistent_lsn = ?`,
      next.backupLsn,
      next.partialLsn,
      next.remoteConsistentLsn,
    );
  }

  /** Deletes rows that lie wholly before `beforeLsn`; the last row always stays. True when the log begins later then. */
  trim(beforeLsn: Lsn): boolean {
    const begin = this.localBeginLsn();
    if (beforeLsn <= this.#trimmedBeforeLsn || beforeLsn <= begin) return false;
    this.#trimmedBeforeLsn = beforeLsn;
    this.#localBeginLsn = null;
    this.#sql.exec(
      `DELETE FROM wal WHERE begin_lsn + length(bytes) <= ?1
          AND begin_lsn < ?1 AND begin_lsn < (SELECT max(begin_lsn) FROM wal)`,
      beforeLsn,
    );
    return this.localBeginLsn() > begin;
  }
  #trimmedBeforeLsn = lsn(0);

  /** All local WAL; where the log ended stays known. */
  dropWal(): void {
    const { flushLsn } = this.loadLog();
    this.#localBeginLsn = null;
    this.#sql.exec(`DELETE FROM wal`);
    this.#sql.exec(`UPDATE safekeeper SET log_lsn = ?1, begin_lsn = ?1`, flushLsn);
  }

  describe(): string {
    return `${this.timeline.projectId}/${this.timeline.timelineId}/${this.number} from ${formatLsn(this.localBeginLsn())}`;
  }
}

/**
 * All parts in one piece; a single one as it is. SQLite takes a view of a buffer as well, which the types do not
 * say; it copies the bytes, so the message around them is free to go.
 */
function joined(parts: readonly Uint8Array[], length: number): ArrayBuffer {
  if (parts.length === 1) return parts[0] as unknown as ArrayBuffer;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes.buffer;
}
