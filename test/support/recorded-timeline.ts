/**
 * A real Postgres's WAL in a memory store: runs a workload, keeps the WAL, imports the template and ingests. Then the
 * store can be asked for any LSN, and so can a Postgres that recovers to it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { importTemplate } from '../../containers/pageserver/import/template.ts';
import { decodeControlFile } from '../../lib/postgres/control-file.ts';
import { parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { postgres18 } from '../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../lib/postgres/wal/decoder.ts';
import { recordTypeName, resourceManagerName } from '../../lib/postgres/wal/describe.ts';
import type { PageRun } from '../../lib/protocol/pages.ts';
import { relationPageKey, slruPageKey } from '../../lib/storage/key.ts';
import { buildBootManifest } from '../../lib/storage/state/boot-manifest.ts';
import type { GroundTruthSubject } from './ground-truth.ts';
import { MemoryStore, MemoryTimeline } from './memory-store.ts';
import type { WorkloadStep } from './mixed-workload.ts';
import { initdbTemplate, PostgresCluster } from './postgres-cluster.ts';
import { recover, type Recovered } from './recovered-postgres.ts';
import { readWal } from './wal-files.ts';

export interface Recording {
  settings: Readonly<Record<string, string>>;
  steps: readonly WorkloadStep[];
  /** Names of steps after which the timeline is to be looked at; the end is added as `end`. */
  cutsAfter?: readonly string[];
  /** Runs before the server is killed. */
  finish?: (cluster: PostgresCluster) => Promise<void>;
}
/** A position to look at, and the start of the last record before it. */
export interface Cut {
  after: string;
  lsn: Lsn;
  previousLsn: Lsn;
}

export class RecordedTimeline {
  readonly template: string;
  readonly startLsn: Lsn;
  readonly wal: Uint8Array;
  readonly store = new MemoryStore();
  readonly cuts: Cut[] = [];
  /** `Heap/INSERT` and so on: every type that the WAL has. */
  readonly typesSeen = new Set<string>();
  readonly #settings: Readonly<Record<string, string>>;

  private constructor(
    template: string,
    startLsn: Lsn,
    wal: Uint8Array,
    settings: Readonly<Record<string, string>>,
  ) {
    this.template = template;
    this.startLsn = startLsn;
    this.wal = wal;
    this.#settings = settings;
  }

  static async record({ settings, steps, cutsAfter = [], finish }: Recording): Promise<RecordedTimeline> {
    const template = await initdbTemplate();
    const control = decodeControlFile(readFileSync(join(template, 'global/pg_control')));
    const targets: { after: string; lsn: Lsn }[] = [];
    await using cluster = await PostgresCluster.create({
      settings: { wal_level: 'replica', full_page_writes: 'off', wal_keep_size: '10GB', ...settings },
    });
    const position = async (which: string): Promise<Lsn> =>
      parseLsn((await cluster.query<{ lsn: string }>(`select ${which}() as lsn`))[0].lsn);
    for (const step of steps) {
      await step.run(cluster);
      if (!cutsAfter.includes(step.name)) continue;
      targets.push({ after: step.name, lsn: await position('pg_current_wal_insert_lsn') });
    }
    await finish?.(cluster);
    const endLsn = await position('pg_current_wal_flush_lsn');
    await cluster.kill();

    const startLsn = endOfRecord(cluster.dataDirectory, control.checkPoint);
    const wal = Buffer.concat([...readWal(cluster.dataDirectory, startLsn, endLsn)]);
    const recorded = new RecordedTimeline(template, startLsn, wal, settings);
    const source = { directory: template, startLsn, systemIdentifier: control.systemIdentifier };
    await importTemplate(source, (key, value) => recorded.store.put(startLsn, key, value));
    await recorded.#ingest(targets);
    return recorded;
  }

  /** Notes the first record end at or after each target; there the state in memory is thrown away and loaded. */
  async #ingest(targets: { after: string; lsn: Lsn }[]): Promise<void> {
    const timeline = await MemoryTimeline.open(this.store, this.startLsn);
    const decoder = new WalDecoder({ startLsn: this.startLsn, facts: postgres18 });
    decoder.push(this.wal);
    const record = newWalRecord();
    const cut = (after: string): void => {
      this.cuts.push({ after, lsn: timeline.endLsn, previousLsn: timeline.state.lastRecordLsn });
    };
    while (decoder.next(record)) {
      const { resourceManager, info } = record;
      this.typesSeen.add(
        `${resourceManagerName(resourceManager, postgres18)}/${recordTypeName(resourceManager, info, postgres18)}`,
      );
      await timeline.ingest(record);
      if (targets.length === 0 || timeline.endLsn < targets[0].lsn) continue;
      cut(targets[0].after);
      targets.shift();
      await timeline.reload();
    }
    cut('end');
  }

  cut(after: string): Cut {
    const found = this.cuts.find((cut) => cut.after === after);
    if (found === undefined) throw new Error(`the WAL has no position after ${after}`);
    return found;
  }

  /** What the store says as of a cut. */
  async subjectAt({ lsn, previousLsn }: Cut): Promise<GroundTruthSubject> {
    const { manifest, blobs } = await buildBootManifest(this.store.view(lsn, previousLsn));
    const read = (run: PageRun, block: number): Uint8Array | null =>
      this.store.get(
        run.kind === 'slru' ? slruPageKey(run.slru, run.segment, block) : relationPageKey(run, block),
        lsn,
      );
    // oxlint-disable-next-line typescript/require-await -- so that what read throws is a rejection
    const pages = async (runs: PageRun[]) =>
      runs.flatMap((run) => Array.from({ length: run.count }, (_, i) => read(run, run.block + i)));
    return { manifest, blobs, pages };
  }
  /** What a Postgres has that recovered to a cut. */
  recoveredAt({ lsn }: Cut): Promise<Recovered> {
    const { template, startLsn, wal } = this;
    return recover({ base: template, startLsn, wal, toLsn: lsn, settings: this.#settings });
  }
}

/** The end of the record at `start`: the template's WAL ends with its shutdown checkpoint. */
export function endOfRecord(dataDirectory: string, start: Lsn): Lsn {
  const decoder = new WalDecoder({ startLsn: start, facts: postgres18 });
  for (const bytes of readWal(dataDirectory, start, (start + 16_384) as Lsn)) decoder.push(bytes);
  if (!decoder.next(newWalRecord())) throw new Error('the template has no checkpoint record');
  return decoder.endLsn;
}
