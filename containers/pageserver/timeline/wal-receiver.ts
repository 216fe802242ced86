/**
 * Committed WAL from one of the three safekeepers, reconnecting for as long as the timeline is attached.
 *
 *   connecting ──open──► streaming ──error, close, or no progress while a read waits──► next safekeeper, with backoff
 *
 * What has been ingested and uploaded is reported after each chunk, so that safekeepers send on and trim. A chunk that
 * does not follow the one before, or WAL that does not decode, ends the connection; the next one begins at the
 * last whole record.
 */
import { formatLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { SAFEKEEPER_COUNT } from '../../../lib/protocol/specs.ts';
import { decodeWalChunk, encodeWalReaderReport, type WalChunk } from '../../../lib/protocol/wal-stream.ts';

/** What the receiver needs of a WebSocket; the global one has it. */
export interface WalSocket {
  binaryType: string;
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: ((event: unknown) => void) | null;
  send(bytes: Uint8Array): void;
  close(): void;
}

/** Takes the WAL of one connection. */
export interface WalSink {
  /** Where the next bytes must stand. */
  readonly receivedLsn: Lsn;
  push(bytes: Uint8Array): Promise<void>;
}

export interface WalReceiverOptions {
  /** Opens the stream of safekeeper `n` (1 to 3) from `from`. */
  connect: (n: number, from: Lsn) => WalSocket;
  /** A sink that goes on at the end of the last whole record. */
  sink: () => Promise<WalSink>;
  ingestedLsn: () => Lsn;
  remoteConsistentLsn: () => Lsn;
  onReconnect: () => void;
  onError: (error: unknown, what: string) => void;
}

const CONNECT_TIMEOUT_MS = 5_000;
const BACKOFF_MS = 20;
const BACKOFF_MS_MAX = 1_000;
/** Records longer than this are reported as received before they are whole, or the window would never move. */
const PARTIAL_BYTES_MAX = 8 << 20;

export class WalReceiver {
  readonly #options: WalReceiverOptions;
  #safekeeper = 1;
  #commitLsn = 0 as Lsn;
  #stopped = false;
  #end: ((reason: Error | null) => void) | null = null;
  #report: (() => void) | null = null;
  #wake: (() => void) | null = null;
  #running: Promise<void> | null = null;
  #lastError: Error | null = null;
  #busy = false;

  constructor(options: WalReceiverOptions) {
    this.#options = options;
  }
  start(): void {
    this.#running ??= this.#run();
  }
  /** Resolves when nothing is ingested any more; a record that is being ingested is finished. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#end?.(null);
    this.#wake?.();
    await this.#running;
  }
  /** The commit LSN that a safekeeper last told; 0/0 before. */
  get commitLsn(): Lsn {
    return this.#commitLsn;
  }
  get isConnected(): boolean {
    return this.#report !== null;
  }
  /** A chunk is being ingested. */
  get isBusy(): boolean {
    return this.#busy;
  }
  get safekeeper(): number {
    return this.#safekeeper;
  }
  get lastError(): Error | null {
    return this.#lastError;
  }
  /** Somebody waits and nothing comes: this safekeeper may be behind the others. */
  tryAnother(): void {
    this.#end?.(new Error('no progress while a read waits'));
    this.#wake?.();
  }
  /** Tells the safekeeper now where we are. */
  report(): void {
    this.#report?.();
  }

  async #run(): Promise<void> {
    let backoff = BACKOFF_MS;
    while (!this.#stopped) {
      const before = this.#options.ingestedLsn();
      try {
        await this.#stream();
      } catch (error) {
        this.#lastError = error instanceof Error ? error : new Error(String(error));
        this.#options.onError(error, `WAL from safekeeper ${this.#safekeeper}`);
      }
      if (this.#stopped) return;
      this.#options.onReconnect();
      this.#safekeeper = (this.#safekeeper % SAFEKEEPER_COUNT) + 1;
      backoff = this.#options.ingestedLsn() > before ? BACKOFF_MS : Math.min(backoff * 2, BACKOFF_MS_MAX);
      await this.#pause(backoff * (0.5 + Math.random() / 2));
    }
  }
  /** Waits, unless `tryAnother` or `stop` cuts it short. */
  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** One connection, until it ends. Rejects with the reason, resolves when stopped. */
  async #stream(): Promise<void> {
    const sink = await this.#options.sink();
    if (this.#stopped) return;
    const socket = this.#options.connect(this.#safekeeper, sink.receivedLsn);
    socket.binaryType = 'arraybuffer';
    const chunks: WalChunk[] = [];
    let wake: (() => void) | null = null;
    let ended: { reason: Error | null } | null = null;
    const end = (reason: Error | null) => {
      ended ??= { reason };
      wake?.();
    };
    this.#end = end;
    const deadline = setTimeout(
      () => end(new Error(`no answer within ${CONNECT_TIMEOUT_MS} ms`)),
      CONNECT_TIMEOUT_MS,
    );
    socket.onopen = () => {
      clearTimeout(deadline);
      this.#report = () => this.#sendReport(socket, sink);
    };
    socket.onclose = ({ code, reason }) =>
      end(new Error(`closed with ${code}${reason ? `: ${reason}` : ''}`));
    socket.onerror = (event) => end(new Error(`connection failed: ${describeEvent(event)}`));
    socket.onmessage = ({ data }) => {
      try {
        chunks.push(decodeWalChunk(new Uint8Array(data as ArrayBuffer)));
        wake?.();
      } catch (error) {
        end(error as Error);
      }
    };
    try {
      for (;;) {
        const chunk = chunks.shift();
        if (ended !== null) {
          const { reason } = ended as { reason: Error | null };
          if (reason !== null) throw reason;
          return;
        }
        if (chunk !== undefined) await this.#take(chunk, sink);
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      clearTimeout(deadline);
      this.#end = null;
      this.#report = null;
      socket.onmessage = null;
      socket.onclose = null;
      socket.onerror = () => {};
      socket.close();
    }
  }

  async #take({ startLsn, commitLsn, bytes }: WalChunk, sink: WalSink): Promise<void> {
    if (bytes.length > 0 && startLsn !== sink.receivedLsn) {
      const expected = formatLsn(sink.receivedLsn);
      throw new Error(`WAL chunk at ${formatLsn(startLsn)}: ${expected} expected`);
    }
    this.#commitLsn = Math.max(this.#commitLsn, commitLsn) as Lsn;
    this.#busy = true;
    try {
      if (bytes.length > 0) await sink.push(bytes);
    } finally {
      this.#busy = false;
    }
    this.#lastError = null;
    this.report();
  }

  #sendReport(socket: WalSocket, sink: WalSink): void {
    const whole = this.#options.ingestedLsn();
    const ingestedLsn = sink.receivedLsn - whole > PARTIAL_BYTES_MAX ? sink.receivedLsn : whole;
    socket.send(
      encodeWalReaderReport({ ingestedLsn, remoteConsistentLsn: this.#options.remoteConsistentLsn() }),
    );
  }
}

function describeEvent(event: unknown): string {
  const { message, error } = event as { message?: string; error?: { message?: string } };
  return message || error?.message || 'no reason given';
}
