/**
 * WAL bytes into the open layer: decode, ingest, file, advance; in slices, so that reads in between stay quick.
 *
 * A record's values are filed only when all of them are known, and the position advances after that: a reader sees
 * a record whole or not at all. After an error the caller makes a new one at the stack's position.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../../lib/postgres/wal/decoder.ts';
import type { TimelineSpec } from '../../../lib/protocol/specs.ts';
import { copyDatabase, ingestRecord } from '../../../lib/storage/ingest/ingest.ts';
import type { Key } from '../../../lib/storage/key.ts';
import { TimelineState } from '../../../lib/storage/state/timeline-state.ts';
import type { Emit, Value } from '../../../lib/storage/value.ts';
import type { StorageView } from '../../../lib/storage/view.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { LayerStack } from './layer-stack.ts';

export interface WalIngestOptions {
  spec: TimelineSpec;
  stack: LayerStack;
  view: (lsn: Lsn) => StorageView;
  /** Called after every record. */
  onAdvance: () => void;
  /** Called after every record; when it returns a promise, ingest waits for it. */
  pause: () => Promise<void> | null;
  metrics: Metrics;
}

/** Time after which other work gets a turn, and records after which the clock is read. */
const SLICE_MS = 1;
const CLOCK_RECORDS = 32;
const NO_BLOCK = -1;

export class WalIngest {
  readonly #options: WalIngestOptions;
  readonly #state: TimelineState;
  readonly #decoder: WalDecoder;
  readonly #record = newWalRecord();
  /** Keys, or prefixes of pages whose block is the number of the same place. */
  readonly #keys: string[] = [];
  readonly #blocks: number[] = [];
  readonly #values: Value[] = [];
  readonly #emit: Emit = Object.assign(
    (key: Key, value: Value): void => {
      this.#keys.push(key);
      this.#blocks.push(NO_BLOCK);
      this.#values.push(value);
    },
    {
      page: (prefix: string, block: number, value: Value): void => {
        this.#keys.push(prefix);
        this.#blocks.push(block);
        this.#values.push(value);
      },
    },
  );
  records = 0;

  /** Loads the head's state. Throws StateError, and what the view throws. */
  static async load(options: WalIngestOptions): Promise<WalIngest> {
    const state = await TimelineState.load(options.view(options.stack.position.lsn));
    return new WalIngest(options, state);
  }
  private constructor(options: WalIngestOptions, state: TimelineState) {
    this.#options = options;
    this.#state = state;
    const { lsn, previousLsn } = options.stack.position;
    this.#decoder = new WalDecoder({
      startLsn: lsn,
      facts: postgres18,
      systemIdentifier: BigInt(options.spec.systemIdentifier),
      ...(previousLsn === 0 ? {} : { previous: previousLsn }),
    });
  }
  /** Where the next pushed byte must stand. */
  get receivedLsn(): Lsn {
    return this.#decoder.receivedLsn;
  }

  /** Takes the bytes at `receivedLsn` and ingests every record that is whole. Throws WalError, IngestError. */
  async push(bytes: Uint8Array): Promise<void> {
    const { stack, metrics } = this.#options;
    this.#decoder.push(bytes);
    const [records, { lsn }] = [this.records, stack.position];
    try {
      await this.#ingestAll();
    } finally {
      metrics.ingestedRecords.inc(this.records - records);
      metrics.ingestedBytes.inc(stack.position.lsn - lsn);
    }
  }
  async #ingestAll(): Promise<void> {
    const { stack, onAdvance, pause, metrics } = this.#options;
    let sliceEnd = performance.now() + SLICE_MS;
    for (let count = 1; this.#decoder.next(this.#record); count++) {
      const copying = this.#ingest();
      if (copying !== undefined) await copying;
      stack.advance({ lsn: this.#record.endLsn, previousLsn: this.#record.lsn });
      this.records++;
      onAdvance();
      const paused = pause();
      if (paused !== null) {
        const pausedAt = performance.now();
        await paused;
        metrics.ingestPausedSeconds.inc((performance.now() - pausedAt) / 1000);
      }
      if (count % CLOCK_RECORDS !== 0 || performance.now() < sliceEnd) continue;
      await nextTurn();
      sliceEnd = performance.now() + SLICE_MS;
    }
  }

  #ingest(): Promise<void> | undefined {
    const { stack, view } = this.#options;
    const { endLsn } = this.#record;
    this.#keys.length = 0;
    this.#blocks.length = 0;
    this.#values.length = 0;
    const copy = ingestRecord(this.#state, this.#record, this.#emit);
    const { open } = stack;
    for (let at = 0; at < this.#keys.length; at++) {
      const block = this.#blocks[at];
      if (block === NO_BLOCK) open.keep(this.#keys[at] as Key, endLsn, this.#values[at]);
      else open.keepPage(this.#keys[at], block, endLsn, this.#values[at]);
    }
    if (copy === null) return undefined;
    return copyDatabase(copy, view(copy.readLsn), (key, value) => stack.open.put(key, copy.writeLsn, value));
  }
}
