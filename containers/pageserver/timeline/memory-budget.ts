/**
 * What the in-memory layers of all timelines take together, bounded: beyond half of it the largest open layer is frozen, so
 * that it goes to disk; where flushing does not keep up with that, ingest waits.
 *
 *   0 ────────── half: the largest open layer is frozen ────────── bytesMax: ingest waits
 *
 * Each timeline's ticker has it looked at. In between all of them together take in what one thread ingests, a few MiB.
 */
export interface MemoryHolder {
  /** Of the layer that takes values. */
  readonly openBytes: number;
  /** With those that wait to be flushed. */
  readonly residentBytes: number;
  /** The open layer is to go. It may be unable to for now. */
  freeze(): void;
}

export class MemoryBudget {
  readonly #bytesMax: number;
  readonly #holders = new Set<MemoryHolder>();
  #isFull = false;
  #waiting: (() => void)[] = [];

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }
  /** Returns how it leaves. */
  join(holder: MemoryHolder): () => void {
    this.#holders.add(holder);
    return () => {
      this.#holders.delete(holder);
      this.look();
    };
  }
  get bytes(): number {
    let bytes = 0;
    for (const { residentBytes } of this.#holders) bytes += residentBytes;
    return bytes;
  }
  /** Null while ingest may go on. */
  room(): Promise<void> | null {
    return this.#isFull ? new Promise((resolve) => this.#waiting.push(resolve)) : null;
  }

  look(): void {
    if (this.bytes > this.#bytesMax / 2) this.#freezeLargest();
    this.#isFull = this.bytes > this.#bytesMax;
    if (!this.#isFull) for (const resolve of this.#waiting.splice(0)) resolve();
  }
  /** Until what is open is no more than a quarter: what is frozen goes by itself. */
  #freezeLargest(): void {
    const largest = [...this.#holders].sort((a, b) => b.openBytes - a.openBytes);
    let open = largest.reduce((sum, { openBytes }) => sum + openBytes, 0);
    for (const holder of largest) {
      if (open <= this.#bytesMax / 4) return;
      open -= holder.openBytes;
      holder.freeze();
    }
  }
}
