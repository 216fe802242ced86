/**
 * What a running Ebb says of itself at an LSN, for comparison: a pageserver's files and pages, and the WAL that its
 * safekeepers have or have put into the bucket.
 */
import { formatRuns } from '../../containers/pageserver/read/inspected-runs.ts';
import { formatLsn, lsn, parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import {
  segmentFileName,
  segmentNumber,
  segmentStart,
  WAL_SEGMENT_BYTES,
} from '../../lib/postgres/wal/geometry.ts';
import { PAGE_SIZE, PAGES_MAX, type BootManifest, type PageRun } from '../../lib/protocol/pages.ts';
import { SAFEKEEPER_COUNT } from '../../lib/protocol/specs.ts';
import type { Ebb } from './ebb.ts';
import type { GroundTruthSubject } from './ground-truth.ts';

const ARCHIVED_TIMEOUT_MS = 30_000;
/** They stand in an address. */
const RUNS_MAX = 200;

export interface InspectedTimeline {
  projectId: string;
  timelineId: string;
}

async function ask(ebb: Ebb, path: string): Promise<Response> {
  const response = await ebb.inspect(path);
  if (!response.ok) throw new Error(`${path.slice(0, 200)}: ${response.status} ${await response.text()}`);
  return response;
}

/** The pageserver's answers as of `at`, which it may have yet to ingest. */
export async function inspectedSubject(
  ebb: Ebb,
  { projectId, timelineId }: InspectedTimeline,
  at: Lsn,
): Promise<GroundTruthSubject> {
  const pageserver = `/projects/${projectId}/pageserver/${timelineId}`;
  const answer = await ask(ebb, `${pageserver}/boot?lsn=${formatLsn(at)}`);
  const { manifest, blobs } = (await answer.json()) as { manifest: BootManifest; blobs: string };

  const read = async (runs: PageRun[]): Promise<Uint8Array[]> => {
    const query = `runs=${formatRuns(runs)}&lsn=${formatLsn(at)}`;
    const bytes = new Uint8Array(await (await ask(ebb, `${pageserver}/pages?${query}`)).arrayBuffer());
    return Array.from({ length: bytes.length / PAGE_SIZE }, (_, i) =>
      bytes.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE),
    );
  };
  // Most forks are small, and asked for one by one: those that follow come along.
  const small = manifest.relations
    .filter(([, , , , blocks]) => blocks > 0 && blocks <= RUNS_MAX)
    .map(([spcOid, dbOid, relNumber, fork, blocks]): PageRun => {
      return { kind: 'relation', spcOid, dbOid, relNumber, fork, block: 0, count: blocks };
    });
  const position = new Map(small.map((run, i) => [formatRuns([run]), i]));
  let ahead = new Map<string, Uint8Array[]>();
  const readAhead = async (from: number): Promise<void> => {
    const runs: PageRun[] = [];
    let pages = 0;
    for (const run of small.slice(from, from + RUNS_MAX)) {
      if ((pages += run.count) > PAGES_MAX) break;
      runs.push(run);
    }
    const found = await read(runs);
    let at = 0;
    ahead = new Map(runs.map((run) => [formatRuns([run]), found.slice(at, (at += run.count))]));
  };
  const pages = async (runs: PageRun[]): Promise<(Uint8Array | null)[]> => {
    const name = formatRuns(runs);
    const from = position.get(name);
    if (from === undefined) return read(runs);
    if (!ahead.has(name)) await readAhead(from);
    return ahead.get(name)!;
  };
  return { manifest, blobs: Buffer.from(blobs, 'base64'), pages };
}

export interface InspectedWal {
  startLsn: Lsn;
  /** As far as a quorum has it. */
  commitLsn: Lsn;
  wal: Uint8Array;
}

/** All WAL of a timeline: what is in local storage from a safekeeper, the rest from the bucket. */
export async function inspectedWal(
  ebb: Ebb,
  { projectId, timelineId }: InspectedTimeline,
): Promise<InspectedWal> {
  const keepers = await Promise.all(
    Array.from({ length: SAFEKEEPER_COUNT }, async (_, i) => {
      const path = `/projects/${projectId}/safekeepers/${timelineId}/${i + 1}`;
      const status = (await (await ask(ebb, `${path}/status`)).json()) as Record<string, string>;
      const at = (name: string): Lsn => parseLsn(status[name]);
      return {
        path,
        startLsn: at('startLsn'),
        localBeginLsn: at('localBeginLsn'),
        commitLsn: at('commitLsn'),
      };
    }),
  );
  const keeper = keepers.reduce((best, each) => (each.commitLsn > best.commitLsn ? each : best));
  const { startLsn, commitLsn } = keeper;
  const wal = new Uint8Array(commitLsn - startLsn);
  for (let from: number = startLsn; from < commitLsn;) {
    const to = Math.min(segmentStart(lsn(from)) + WAL_SEGMENT_BYTES, commitLsn);
    wal.set(await segmentPart(lsn(from), lsn(to)), from - startLsn);
    from = to;
  }
  return { startLsn, commitLsn, wal };

  async function segmentPart(from: Lsn, to: Lsn): Promise<Uint8Array> {
    const range = `from=${formatLsn(from)}&to=${formatLsn(to)}`;
    const response = await ebb.inspect(`${keeper.path}/wal?${range}`);
    if (response.ok) return new Uint8Array(await response.arrayBuffer());
    const key = `projects/${projectId}/wal/${timelineId}/${segmentFileName(1, segmentNumber(from))}`;
    const segment = await ebb.waitForObject(key, ARCHIVED_TIMEOUT_MS);
    return segment.subarray(from - segmentStart(from), to - segmentStart(from));
  }
}
