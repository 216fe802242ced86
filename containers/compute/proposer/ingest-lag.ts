/**
 * Backpressure from the pageserver: how far its ingest is behind what Postgres writes, and whether the stream of WAL waits for it.
 *
 *   ingested ─────────── bytesMax ──────────►  the stream is held here, commits wait; with each `told` it goes on a piece
 *
 * A read of the newest pages waits until the pageserver has ingested so far: without a bound a bulk load would leave reads
 * and the next wake waiting for as long as it took. The pageserver tells over the compute's own connection (`progress` in
 * lib/protocol/pages.ts). It never stops commits for good: nothing is held while it is not connected, and no longer when it did
 * not get on for `patienceMs`, until it does.
 */
import type { Lsn } from '../../../lib/postgres/lsn.ts';

export interface IngestLagOptions {
  /** WAL that may be streamed and not ingested. Two to five seconds of ingest. */
  bytesMax: number;
  /** How long the stream is held while nothing is ingested. */
  patienceMs?: number;
  /** Whether the stream is to be held may have changed. */
  onChange: () => void;
  /** The pageserver is not connected, though much has been written: asked now and then. */
  connect: () => void;
  log: (fields: object, message: string) => void;
}
export interface IngestLagStatus {
  /** Null while the pageserver is not connected. */
  ingestedLsn: Lsn | null;
  /** `lapsed`: the pageserver does not get on, and nobody waits for it. */
  state: 'unknown' | 'free' | 'held' | 'lapsed';
  heldMs: number;
}

export const INGEST_LAG_BYTES_MAX = 64 << 20;
/** Less than reads wait for an LSN, with what they then wait in all. */
const PATIENCE_MS = 8_000;
const CONNECT_AGAIN_MS = 1_000;

export class IngestLag {
  readonly #options: Required<IngestLagOptions>;
  #ingestedLsn: Lsn | null = null;
  #state: IngestLagStatus['state'] = 'unknown';
  #heldSince = 0;
  #heldMs = 0;
  #patience: ReturnType<typeof setTimeout> | undefined;
  #streamedAtLossLsn: Lsn | null = null;
  #connectAt = 0;
  #isClosed = false;

  constructor(options: IngestLagOptions) {
    this.#options = { patienceMs: PATIENCE_MS, ...options };
  }
  /** For /status. */
  status(): IngestLagStatus {
    const heldMs = this.#heldMs + (this.#state === 'held' ? performance.now() - this.#heldSince : 0);
    return { ingestedLsn: this.#ingestedLsn, state: this.#state, heldMs: Math.round(heldMs) };
  }

  /** The pageserver has ingested everything up to here. */
  told(ingestedLsn: Lsn): void {
    const isFurther = this.#ingestedLsn === null || ingestedLsn > this.#ingestedLsn;
    this.#ingestedLsn = ingestedLsn;
    this.#streamedAtLossLsn = null;
    if (!isFurther) return;
    this.#become('free');
    this.#options.onChange();
  }
  /** The connection is gone: how far it is nobody knows. */
  lost(): void {
    if (this.#ingestedLsn === null) return;
    this.#ingestedLsn = null;
    this.#become('unknown');
    this.#options.onChange();
  }

  /** Whether the stream, which has come to `streamedLsn`, is to wait. */
  holds(streamedLsn: Lsn): boolean {
    const { bytesMax } = this.#options;
    if (this.#isClosed) return false;
    if (this.#ingestedLsn === null) {
      this.#streamedAtLossLsn ??= streamedLsn;
      if (streamedLsn - this.#streamedAtLossLsn > bytesMax / 2) this.#connect();
      return false;
    }
    if (this.#state === 'lapsed') return false;
    const isBehind = streamedLsn - this.#ingestedLsn > bytesMax;
    if (isBehind !== (this.#state === 'held')) this.#become(isBehind ? 'held' : 'free');
    return isBehind;
  }
  /** Nothing is held any more: what is left is to reach the quorum, and the compute ends. */
  close(): void {
    this.#isClosed = true;
    this.#become('free');
    this.#options.onChange();
  }

  #become(state: IngestLagStatus['state']): void {
    if (state === this.#state) return;
    if (this.#state === 'held') this.#heldMs += performance.now() - this.#heldSince;
    clearTimeout(this.#patience);
    this.#state = state;
    if (state !== 'held') return;
    this.#heldSince = performance.now();
    this.#patience = setTimeout(() => this.#lapse(), this.#options.patienceMs);
    this.#patience.unref();
  }
  #lapse(): void {
    const { ingestedLsn } = this.status();
    this.#become('lapsed');
    this.#options.log({ ingestedLsn }, 'the pageserver does not get on: commits do not wait for it');
    this.#options.onChange();
  }
  #connect(): void {
    const now = performance.now();
    if (now < this.#connectAt) return;
    this.#connectAt = now + CONNECT_AGAIN_MS;
    this.#options.connect();
  }
}
