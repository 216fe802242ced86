/**
 * Postgres's log as lines, and the one line that Ebb's safety rests on.
 *
 * A commit whose wait for the quorum is cancelled is reported to its client as a success, with a WARNING that the
 * client may have switched off (client_min_messages). The server's log always has it: the backend writes the line
 * before it answers, and no user can switch that off (log_min_messages and lc_messages are a superuser's).
 * A line of a message's continuation begins with a tab (elog.c append_with_tabs), so no text of a
 * user can look like another backend's first line.
 */

export interface LogLine {
  /** Backend that wrote it; null for a continuation of the line before or a line without our prefix. */
  pid: number | null;
  /** `LOG`, `WARNING`, …; null as above. */
  severity: string | null;
  text: string;
}

/** log_line_prefix is `[%p] `. */
const FIRST_LINE = /^\[(\d+)\] ([A-Z]+[0-9]?): {2}(.*)$/s;
/** Longer lines are handed on in pieces of this size, in bytes. */
const LINE_BYTES_MAX = 64 << 10;

export function parseLogLine(line: string): LogLine {
  const match = FIRST_LINE.exec(line);
  if (match === null) return { pid: null, severity: null, text: line };
  return { pid: Number(match[1]), severity: match[2], text: match[3] };
}

/** SyncRepWaitForLSN's message for a query cancel (replication/syncrep.c). */
export const isCancelledQuorumWait = (line: LogLine): boolean =>
  line.severity === 'WARNING' && line.text.startsWith('canceling wait for synchronous replication');

/** The postmaster's word that it takes connections (postmaster.c, when the startup process has ended). */
export const isReadyLine = (line: LogLine): boolean =>
  line.severity === 'LOG' && line.text.startsWith('database system is ready to accept');

/** Cuts a byte stream into lines; bounded memory. */
export class LineSplitter {
  readonly #onLine: (line: string) => void;
  #rest: Buffer[] = [];
  #restBytes = 0;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }
  push(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      this.#emit(chunk.subarray(start, end));
      start = end + 1;
    }
    if (start === chunk.length) return;
    this.#rest.push(chunk.subarray(start));
    this.#restBytes += chunk.length - start;
    if (this.#restBytes > LINE_BYTES_MAX) this.#emit(Buffer.alloc(0));
  }
  end(): void {
    if (this.#restBytes > 0) this.#emit(Buffer.alloc(0));
  }
  #emit(last: Buffer): void {
    const line = this.#rest.length === 0 ? last : Buffer.concat([...this.#rest, last]);
    this.#rest = [];
    this.#restBytes = 0;
    this.#onLine(line.toString('utf8'));
  }
}
