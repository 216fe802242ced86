/** A timeline in memory that is fed with records written by hand: for tests of what one kind of record does. */
import { CheckPoint, type CheckPointFields } from '../../lib/postgres/checkpoint.ts';
import { ControlFile, CONTROL_VERSION_18, encodeControlFile } from '../../lib/postgres/control-file.ts';
import { lsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { decodeRecord, newWalRecord } from '../../lib/postgres/wal/decode-record.ts';
import { recordEnd, recordStart } from '../../lib/postgres/wal/geometry.ts';
import {
  CHECKPOINT_KEY,
  CONTROL_FILE_KEY,
  databaseKey,
  formatKey,
  relationMapKey,
  type Key,
} from '../../lib/storage/key.ts';
import { decodeOperation } from '../../lib/storage/page-operation.ts';
import { decodeSize, imageValue, plainContent, VALUE_TAG, type Value } from '../../lib/storage/value.ts';
import { MemoryStore, MemoryTimeline } from './memory-store.ts';
import { encodeRecord, type WrittenRecord } from './wal-writer.ts';

export const START = lsn(0x300_0000);
/** Little-endian main data. */
export const u32s = (...values: number[]): Uint8Array => new Uint8Array(new Uint32Array(values).buffer);
export const u64 = (value: number): Uint8Array => u32s(value % 2 ** 32, Math.floor(value / 2 ** 32));
export const join = (...parts: Uint8Array[]): Uint8Array =>
  Uint8Array.from(parts.flatMap((part) => [...part]));

export class IngestHarness {
  readonly store: MemoryStore;
  readonly timeline: MemoryTimeline;
  /** Keys and values of the last record, in words. */
  said: string[] = [];
  #end: Lsn = START;

  private constructor(store: MemoryStore, timeline: MemoryTimeline) {
    this.store = store;
    this.timeline = timeline;
  }

  static async create(fields: Partial<CheckPointFields> = {}): Promise<IngestHarness> {
    const store = new MemoryStore();
    const checkPoint = {
      ...CheckPoint.decode(new Uint8Array(88)),
      nextXid: 752,
      nextMulti: 1,
      oldestXid: 744,
      oldestMulti: 1,
      ...fields,
    };
    const control = ControlFile.decode(new Uint8Array(296));
    store.put(START, CHECKPOINT_KEY, imageValue(CheckPoint.encode(checkPoint)));
    const controlFile = encodeControlFile({ ...control, controlVersion: CONTROL_VERSION_18 });
    store.put(START, CONTROL_FILE_KEY, imageValue(controlFile));
    store.put(START, databaseKey(1663, 5), imageValue(new Uint8Array(0)));
    store.put(START, relationMapKey(1663, 5), imageValue(Uint8Array.of(5)));
    return new IngestHarness(store, await MemoryTimeline.open(store, START));
  }

  get checkPoint(): CheckPointFields {
    return this.timeline.state.checkPoint;
  }
  /** Ingests one record; its modifications are in `said`, and returned. */
  async ingest(written: WrittenRecord): Promise<string[]> {
    const bytes = encodeRecord(written, this.timeline.state.lastRecordLsn);
    const start = recordStart(this.#end);
    this.#end = recordEnd(start, bytes.length);
    const record = newWalRecord();
    decodeRecord(bytes, start, this.#end, record);
    const said: string[] = [];
    const put = this.store.put.bind(this.store);
    this.store.put = (at: Lsn, key: Key, value: Value) => {
      said.push(`${formatKey(key)}: ${describeValue(key, value)}`);
      put(at, key, value);
    };
    try {
      await this.timeline.ingest(record);
    } finally {
      this.store.put = put;
    }
    this.said = said;
    return said;
  }
  /** The content as of the last record. */
  content(key: Key): Uint8Array | null {
    return this.store.get(key, this.timeline.endLsn);
  }
}

function describeValue(key: Key, value: Value): string {
  const name = Object.entries(VALUE_TAG).find(([, tag]) => tag === value[0])?.[0] ?? 'unknown';
  if (value[0] === VALUE_TAG.operation || value[0] === VALUE_TAG.operationFromZero) {
    const { kind, ...rest } = decodeOperation(value.subarray(1));
    const details = Object.values(rest).length === 0 ? '' : ` ${JSON.stringify(rest)}`;
    return `${name === 'operationFromZero' ? 'new ' : ''}${kind}${details}`;
  }
  const content = plainContent(value);
  if (content !== undefined && content !== null && formatKey(key).endsWith('size')) {
    return String(decodeSize(content));
  }
  return name;
}
