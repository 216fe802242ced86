/**
 * The world of a soak: branches, one pageserver after another over one bucket, and the project that records horizons.
 * The bucket fails now and then, pageservers are killed, disks are lost.
 */
import { join } from 'node:path';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { importTemplate } from '../../../../containers/pageserver/import/template.ts';
import type { CompactionRunner } from '../../../../containers/pageserver/maintenance/job.ts';
import { runJob } from '../../../../containers/pageserver/maintenance/run-job.ts';
import { Pageserver } from '../../../../containers/pageserver/pageserver.ts';
import { withFaults } from '../../../../containers/pageserver/remote/faults.ts';
import { MemoryStorage } from '../../../../containers/pageserver/remote/memory.ts';
import { withRetries } from '../../../../containers/pageserver/remote/retry.ts';
import {
  StorageError,
  type ByteRange,
  type ObjectStorage,
  type PartsUpload,
  type PutCondition,
  type TaggedObject,
} from '../../../../containers/pageserver/remote/storage.ts';
import type { Horizon, TimelineSettings } from '../../../../containers/pageserver/timeline/context.ts';
import { SupersededError } from '../../../../containers/pageserver/timeline/errors.ts';
import type { Timeline } from '../../../../containers/pageserver/timeline/timeline.ts';
import { formatLsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import type { TimelineSpec } from '../../../../lib/protocol/specs.ts';
import { testContext, type TestContext } from '../timeline/support.ts';
import { Branch, type RecordPosition } from './branch.ts';
import type { Random } from './random.ts';

/** Layers of a few pages, everything done at once, a short history. */
const TINY: Partial<TimelineSettings> = {
  openLayerBytesMax: 150_000,
  openLayerMsMax: 200,
  quietMs: 30,
  level0Max: 3,
  imageDeltasMax: 2,
  imageBytesRatio: 0.2,
  imageFilesMax: 4,
  layerBytesTarget: 150_000,
  retentionMs: 0,
  retentionBytes: 300_000,
  gcPeriodMs: 100,
  gcBytesMin: 50_000,
};

/** Less than the layers of a soak take: files are evicted, and read in ranges. */
const DISK_BYTES_MAX = 2_500_000;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The bucket as one process has it: once that is killed, nothing that it still tries takes effect. */
class ProcessStorage implements ObjectStorage {
  readonly #bucket: MemoryStorage;
  isDead = false;
  constructor(bucket: MemoryStorage) {
    this.#bucket = bucket;
  }
  #step<T>(operation: () => Promise<T>): Promise<T> {
    return this.isDead ? new Promise(() => undefined) : operation();
  }
  put(key: string, bytes: Uint8Array, condition?: PutCondition): Promise<string> {
    return this.#step(() => this.#bucket.put(key, bytes, condition));
  }
  get(key: string, range?: ByteRange): Promise<Uint8Array | null> {
    return this.#step(() => this.#bucket.get(key, range));
  }
  getTagged(key: string): Promise<TaggedObject | null> {
    return this.#step(() => this.#bucket.getTagged(key));
  }
  list(prefix: string): Promise<string[]> {
    return this.#step(() => this.#bucket.list(prefix));
  }
  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) await this.#step(() => this.#bucket.delete([key]));
  }
  beginParts(key: string): Promise<PartsUpload> {
    return this.#step(() => this.#bucket.beginParts(key));
  }
}

export interface WorldOptions {
  template: string;
  systemIdentifier: bigint;
  startLsn: Lsn;
  random: Random;
  compaction?: CompactionRunner;
  diskBytesMax?: number;
  /** Of an operation of the bucket. */
  faults?: number;
}

export class World {
  readonly branches: Branch[] = [];
  readonly bucket = new MemoryStorage();
  /** Of each timeline, as the project has recorded it. */
  readonly horizons = new Map<string, Lsn>();
  /** Branch points of branches that are being made. */
  readonly #reserved = new Map<string, Lsn[]>();
  readonly errors: string[] = [];
  readonly events = new Map<string, number>();
  pageserver!: Pageserver;
  readonly #options: WorldOptions;
  #generation = 0;
  #operationsLeft = Infinity;
  #killed: (() => void) | null = null;
  #process: { storage: ProcessStorage; context: TestContext } | null = null;
  #disk = mkdtempSync(join(tmpdir(), 'ebb-soak-'));

  constructor(options: WorldOptions) {
    this.#options = options;
    this.bucket.before = () => {
      if (--this.#operationsLeft === 0) {
        this.#process!.storage.isDead = true;
        this.#killed?.();
      }
    };
  }
  importTemplate(emit: Parameters<TestContext['importTemplate']>[1]): Promise<void> {
    const { template: directory, startLsn, systemIdentifier } = this.#options;
    return importTemplate({ directory, startLsn, systemIdentifier }, emit);
  }

  async addRoot(): Promise<Branch> {
    const spec = this.#spec(this.#options.startLsn, { kind: 'template' });
    const start = { lsn: this.#options.startLsn, previousLsn: 0 as Lsn };
    return this.#add(spec, null, start);
  }
  /** A branch where its parent's history is still kept, as the project sees it. */
  async addBranch(parent: Branch, start: RecordPosition): Promise<Branch> {
    const horizon = this.horizons.get(parent.spec.timelineId) ?? 0;
    if (start.lsn < horizon) throw new Error(`the project refuses a branch below ${horizon}`);
    const { timelineId } = parent.spec;
    this.#reserved.set(timelineId, [...(this.#reserved.get(timelineId) ?? []), start.lsn]);
    const spec = this.#spec(start.lsn, {
      kind: 'branch',
      ancestor: parent.spec,
      ancestorLsn: formatLsn(start.lsn),
      previousLsn: formatLsn(start.previousLsn),
    });
    return this.#add(spec, parent, start);
  }
  #spec(startLsn: Lsn, origin: TimelineSpec['origin']): TimelineSpec {
    return {
      projectId: 'soak',
      timelineId: (this.branches.length + 1).toString(16).padStart(32, '0'),
      postgresMajor: 18,
      systemIdentifier: String(this.#options.systemIdentifier),
      startLsn: formatLsn(startLsn),
      origin,
    };
  }
  async #add(spec: TimelineSpec, parent: Branch | null, start: RecordPosition): Promise<Branch> {
    const branch = await Branch.create(spec, {
      parent,
      start,
      importTemplate: (emit) => this.importTemplate(emit),
    });
    this.branches.push(branch);
    return branch;
  }
  branchPoints(of: Branch): Lsn[] {
    const made = this.branches.filter(({ parent }) => parent === of).map(({ start }) => start.lsn);
    return [...new Set([...made, ...(this.#reserved.get(of.spec.timelineId) ?? [])])];
  }
  /** The same branches, models and logs, in a world where none of it has been ingested yet. */
  static replay(recorded: World, options: Partial<WorldOptions>): World {
    const world = new World({ ...recorded.#options, faults: 0, ...options });
    const copies = new Map<Branch, Branch>();
    for (const branch of recorded.branches) {
      const copy = branch.rewound(branch.parent === null ? null : copies.get(branch.parent)!);
      copies.set(branch, copy);
      world.branches.push(copy);
    }
    return world;
  }

  /** What a Project answers. */
  #horizon(timelineId: string, wanted: Lsn): Horizon {
    const horizonLsn = Math.max(wanted, this.horizons.get(timelineId) ?? 0) as Lsn;
    this.horizons.set(timelineId, horizonLsn);
    const branch = this.branches.find(({ spec }) => spec.timelineId === timelineId)!;
    return { horizonLsn, retainedLsns: this.branchPoints(branch).filter((each) => each < horizonLsn) };
  }

  /** A pageserver of the next generation; the one before may still run. */
  start(): void {
    const { compaction = { run: runJob } } = this.#options;
    const generation = ++this.#generation;
    const storage = new ProcessStorage(this.bucket);
    const { random, faults = 0 } = this.#options;
    const faulty = withFaults(storage, {
      faults: { down: faults, throttled: faults, unanswered: faults, delayMsMax: faults > 0 ? 4 : 0 },
      random: () => random.fraction(),
      sleep,
    });
    const retried = withRetries(faulty, {
      attemptsMax: 4,
      delayMs: 1,
      delayMsMax: 10,
      sleep,
    });
    const context = testContext({
      storage: retried,
      safekeepers: this.branches[0].safekeepers,
      generation,
      settings: TINY,
      diskFolder: this.#disk,
      diskBytesMax: this.#options.diskBytesMax ?? DISK_BYTES_MAX,
    });
    Object.assign(context, {
      compaction,
      importTemplate: (_: TimelineSpec, emit: Parameters<TestContext['importTemplate']>[1]) =>
        this.importTemplate(emit),
      openWal: ((n, { timelineId }, from) =>
        this.branches
          .find(({ spec }) => spec.timelineId === timelineId)!
          .safekeepers.connect(n, from)) satisfies TestContext['openWal'],
      horizon: (timelineId: string, wanted: Lsn) => Promise.resolve(this.#horizon(timelineId, wanted)),
      onEvent: (what: string) => this.events.set(what, (this.events.get(what) ?? 0) + 1),
      onError: (error: unknown, what: string) => {
        const isExpected = error instanceof StorageError || error instanceof SupersededError;
        if (!isExpected && !storage.isDead) this.errors.push(`${what}: ${String(error)}`);
      },
    });
    this.#process = { storage, context };
    const spec = { projectId: 'soak', generation, sessionToken: 'token', stopAfterMs: 0 };
    this.pageserver = new Pageserver(spec, context);
  }
  timeline(branch: Branch): Promise<Timeline> {
    return this.pageserver.timeline(branch.spec);
  }
  /** The process dies with the `operations`th operation of the bucket from now on: then the promise resolves. */
  dies(operations: number): Promise<void> {
    this.#operationsLeft = operations;
    return new Promise((resolve) => (this.#killed = resolve));
  }
  /** It lives on after all. */
  spare(): void {
    this.#operationsLeft = Infinity;
  }
  /** Kills the process where it stands, perhaps its disk too, and starts the next. */
  restart(isDiskLost: boolean): void {
    this.spare();
    this.#process!.storage.isDead = true;
    void this.pageserver.abandon(); // what it waits for in its bucket never comes
    if (isDiskLost) {
      rmSync(this.#disk, { recursive: true, force: true });
      this.#disk = mkdtempSync(join(tmpdir(), 'ebb-soak-'));
    }
    this.start();
  }
  /** Of the process that runs now. */
  get metrics() {
    return this.#process!.context.metrics;
  }
  async close(): Promise<void> {
    this.#process!.storage.isDead = true;
    await this.pageserver.abandon();
    for (const { cluster } of this.branches) await cluster?.remove();
    rmSync(this.#disk, { recursive: true, force: true });
  }
}
