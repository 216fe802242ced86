/**
 * One branch of a soak: a real Postgres that writes its WAL, the safekeepers that have it, and the model: every version that
 * redo of all WAL from scratch gives, kept in a map, with no layer, no compaction and no collection in between.
 */
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { formatLsn, parseLsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { newWalRecord } from '../../../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../../../lib/postgres/wal/decoder.ts';
import type { TimelineSpec } from '../../../../lib/protocol/specs.ts';
import type { Emit } from '../../../../lib/storage/value.ts';
import { MemoryStore, MemoryTimeline } from '../../../support/memory-store.ts';
import type { PostgresCluster } from '../../../support/postgres-cluster.ts';
import { readWal } from '../../../support/wal-files.ts';
import { FakeSafekeepers, type Wal } from '../timeline/support.ts';

export interface RecordPosition {
  lsn: Lsn;
  previousLsn: Lsn;
}

/** A log that grows. */
class GrowingWal implements Wal {
  readonly startLsn: Lsn;
  /** The end of the last whole record. */
  endLsn: Lsn;
  #bytes: Uint8Array = new Uint8Array(0);

  constructor(startLsn: Lsn) {
    this.startLsn = startLsn;
    this.endLsn = startLsn;
  }
  get readLsn(): Lsn {
    return (this.startLsn + this.#bytes.length) as Lsn;
  }
  append(bytes: Uint8Array): void {
    this.#bytes = new Uint8Array(Buffer.concat([this.#bytes, bytes]));
  }
  bytes(from: Lsn, to: Lsn): Uint8Array {
    return this.#bytes.subarray(from - this.startLsn, to - this.startLsn);
  }
}

export class Branch {
  readonly spec: TimelineSpec;
  readonly parent: Branch | null;
  readonly start: RecordPosition;
  readonly wal: GrowingWal;
  readonly safekeepers: FakeSafekeepers;
  readonly store: MemoryStore;
  /** Ends of all own records. */
  readonly records: RecordPosition[];
  cluster: PostgresCluster | null = null;
  readonly #decoder: WalDecoder;
  readonly #record = newWalRecord();
  #model!: MemoryTimeline;

  private constructor(
    { spec, start }: { spec: TimelineSpec; start: RecordPosition },
    parent: Branch | null,
    done: Pick<Branch, 'wal' | 'store' | 'records'> = {
      wal: new GrowingWal(start.lsn),
      store: new MemoryStore(),
      records: [],
    },
  ) {
    this.spec = spec;
    this.parent = parent;
    this.start = start;
    this.wal = done.wal;
    this.store = done.store;
    this.records = done.records;
    this.safekeepers = new FakeSafekeepers(this.wal);
    this.safekeepers.commitLsn = start.lsn;
    this.#decoder = new WalDecoder({ startLsn: parent?.rootStart ?? start.lsn, facts: postgres18 });
  }
  static async create(
    spec: TimelineSpec,
    options: { parent: Branch | null; start: RecordPosition; importTemplate: (emit: Emit) => Promise<void> },
  ): Promise<Branch> {
    const branch = new Branch({ spec, start: options.start }, options.parent);
    const rootStart = branch.rootStart;
    await options.importTemplate((key, value) => branch.store.put(rootStart, key, value));
    branch.#model = await MemoryTimeline.open(branch.store, rootStart);
    for (const { wal, to } of branch.parent?.chain(branch.start.lsn) ?? [])
      branch.#decoder.push(wal.bytes(wal.startLsn, to));
    await branch.#redo(false);
    if (branch.#model.endLsn !== branch.start.lsn) throw new Error('a branch begins at the end of a record');
    return branch;
  }
  /** The same log and model, none of which a safekeeper has told of yet. It takes no more WAL. */
  rewound(parent: Branch | null): Branch {
    return new Branch(this, parent, this);
  }
  get rootStart(): Lsn {
    return this.parent?.rootStart ?? this.start.lsn;
  }
  /** The logs that make up this branch, oldest first, each up to where the next one begins. */
  chain(to: Lsn): { wal: GrowingWal; to: Lsn }[] {
    return [...(this.parent?.chain(this.start.lsn) ?? []), { wal: this.wal, to }];
  }
  get head(): RecordPosition {
    return this.records.at(-1) ?? this.start;
  }

  /** Takes what the Postgres has written since: into the model, then to the safekeepers. */
  async takeWal(): Promise<void> {
    const cluster = this.cluster!;
    const [{ lsn }] = await cluster.query<{ lsn: string }>('select pg_current_wal_flush_lsn() as lsn');
    for (const bytes of readWal(cluster.dataDirectory, this.wal.readLsn, parseLsn(lsn))) this.append(bytes);
    await this.#redo(true);
    this.wal.endLsn = this.head.lsn;
    this.safekeepers.commit();
  }
  append(bytes: Uint8Array): void {
    this.wal.append(bytes);
    this.#decoder.push(bytes);
  }
  async #redo(isOwn: boolean): Promise<void> {
    // The same each time: it may hold the beginning of a record.
    const record = this.#record;
    while (this.#decoder.next(record)) {
      await this.#model.ingest(record);
      if (isOwn) this.records.push({ lsn: record.endLsn, previousLsn: record.lsn });
    }
  }
  toString(): string {
    return `branch ${this.spec.timelineId.slice(-2)} (from ${formatLsn(this.start.lsn)})`;
  }
}
