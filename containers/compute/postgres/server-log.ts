/**
 * Postgres's log as lines, and the one message in it that Ebb's safety rests on.
 *
 * A commit whose wait for the quorum is cancelled is reported to its client as a success, with a WARNING that the
 * client may have switched off (client_min_messages). The server's log always has it: the backend writes it
 * before it answers, and no user can switch that off (log_min_messages and lc_messages are a superuser's).
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

/** SyncRepWaitForLSN's message for a query cancel (replication/syncrep.c), behind our prefix. */
const CANCELLED_WAIT = /\[(\d{1,10})\] WARNING: {2}canceling wait for synchronous replication/g;
const CANCELLED_WAIT_BYTES_MAX = '[4294967295] WARNING:  canceling wait for synchronous replication'.length;

/**
 * Finds the backends whose wait was cancelled. It looks at the bytes and not at lines, because a long message of
 * another backend can be cut in two by this one. A user can write a text that looks the same, and makes some
 * session a suspect by it; which costs that session one look at the quorum and nothing else.
 */
export class CancelledWaits {
  readonly #onFound: (pid: number) => void;
  /** The end of what came before: a match may lie across two chunks. */
  #tail = '';

  constructor(onFound: (pid: number) => void) {
    this.#onFound = onFound;
  }
  push(chunk: Buffer): void {
    const text = this.#tail + chunk.toString('latin1');
    let end = 0;
    for (const match of text.matchAll(CANCELLED_WAIT)) {
      this.#onFound(Number(match[1]));
      end = match.index + match[0].length;
    }
    this.#tail = text.slice(Math.max(end, text.length - CANCELLED_WAIT_BYTES_MAX + 1));
  }
}
