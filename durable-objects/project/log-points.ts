/**
 * From what a person names (the head, an LSN, a time) to where a branch can begin: the end of a record in the log of one
 * timeline, which is committed and whose history is kept.
 *
 *   head   what the safekeepers have committed
 *   LSN    the last record that ends at or before it; in an ancestor where it lies before the branch's own start
 *   time   the last record before the first commit after it (containers/pageserver/timeline/commit-times.ts)
 */
import { formatLsn, lsn as asLsn, lsnPlus, parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { formatTimestamp, parseTimestamp, timestampOfMs } from '../../lib/postgres/timestamp.ts';
import { SAFEKEEPER_COUNT, type TimelineSpec } from '../../lib/protocol/specs.ts';
import type { PageserverRpc, PointText } from '../contracts.ts';
import { beforePageHeader } from '../../lib/postgres/wal/geometry.ts';
import type { LastRecord } from '../../lib/postgres/wal/last-record.ts';
import { logHead, type LogHead, type LogReach } from '../../lib/consensus/log-head.ts';
import { Refusal } from './refusal.ts';
import type { Timeline, Timelines } from './timelines.ts';

export type Point = { kind: 'head' } | { kind: 'lsn'; lsn: Lsn } | { kind: 'time'; time: number };

/** Where a branch can begin. */
export interface BranchPoint {
  timeline: Timeline;
  lsn: Lsn;
  /** Start of the record that ends there; 0/0 where there is none. */
  previousLsn: Lsn;
  /** The safekeepers know for good that it is committed; a crash may take from them what they only have in memory. */
  isSettled: boolean;
}

export interface SafekeeperQuestions {
  reach(): Promise<LogReach | null>;
  lastRecord(at: number): Promise<LastRecord | null>;
  learnCommit(term: number, commitLsn: number): Promise<void>;
}
export interface LogPointsOptions {
  timelines: Timelines;
  safekeeper: (spec: TimelineSpec, n: number) => SafekeeperQuestions;
  pageserver: () => Pick<PageserverRpc, 'firstCommitAfter'>;
}

const ANSWER_TIMEOUT_MS = 2_000;
const SETTLE_TIMEOUT_MS = 2_000;
const ASK_AGAIN_MS = 10;
const AHEAD_TIMEOUT_MS = 300;

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Throws Refusal `BAD_REQUEST`. */
export function parsePoint({ lsn, timestamp }: PointText): Point {
  if (lsn !== undefined && timestamp !== undefined)
    throw new Refusal('BAD_REQUEST', 'an LSN and a time are given: name one of them');
  try {
    if (lsn !== undefined) return { kind: 'lsn', lsn: parseLsn(lsn) };
    if (timestamp !== undefined) return { kind: 'time', time: parseTimestamp(timestamp) };
  } catch (error) {
    throw new Refusal('BAD_REQUEST', (error as Error).message, error);
  }
  return { kind: 'head' };
}

export class LogPoints {
  readonly #options: LogPointsOptions;

  constructor(options: LogPointsOptions) {
    this.#options = options;
  }

  /** Throws Refusal. */
  async find(timelineId: string, point: Point): Promise<BranchPoint> {
    const timeline = this.#get(timelineId);
    if (point.kind === 'lsn') return this.#atLsn(timeline, point.lsn);
    if (point.kind === 'time') return this.#atTime(timeline, point.time);
    const head = await this.#head(timeline.spec);
    return head === null ? startOf(timeline) : this.#atEnd(timeline, head);
  }

  #get(timelineId: string): Timeline {
    const timeline = this.#options.timelines.get(timelineId);
    if (timeline === null) throw new Refusal('NOT_FOUND', `timeline ${timelineId} not found`);
    return timeline;
  }

  async #atEnd(timeline: Timeline, head: LogHead): Promise<BranchPoint> {
    return { ...(await this.#recordEnd(timeline, head.committedLsn)), isSettled: false };
  }

  async #atLsn(branch: Timeline, position: Lsn): Promise<BranchPoint> {
    const at = beforePageHeader(position);
    let timeline = branch;
    for (
      let { origin } = timeline.spec;
      at < parseLsn(timeline.spec.startLsn);
      origin = timeline.spec.origin
    ) {
      if (origin.kind !== 'branch')
        throw new Refusal(
          'LSN_BELOW_HISTORY',
          `${formatLsn(at)} is before the history, which begins at ${timeline.spec.startLsn}`,
        );
      timeline = this.#get(origin.ancestor.timelineId);
    }
    const isOwn = timeline === branch;
    const head = isOwn ? await this.#headAt(timeline.spec, at) : await this.#head(timeline.spec);
    const found = { ...(await this.#recordEnd(timeline, at)), isSettled: head === null };
    if (found.lsn < timeline.horizonLsn)
      throw new Refusal(
        'LSN_BELOW_HISTORY',
        `${formatLsn(at)} is below the history that is kept, which begins at ${formatLsn(timeline.horizonLsn)}`,
      );
    return found;
  }

  /** The head, which `at` is not beyond. What a session has just seen of its own WAL may be a moment ahead of the commit. */
  async #headAt(spec: TimelineSpec, at: Lsn): Promise<LogHead | null> {
    const giveUpAt = Date.now() + AHEAD_TIMEOUT_MS;
    for (;;) {
      const head = await this.#head(spec);
      const end = head?.committedLsn ?? parseLsn(spec.startLsn);
      if (at <= end) return head;
      if (Date.now() > giveUpAt)
        throw new Refusal('LSN_BEYOND_HEAD', `${formatLsn(at)} is beyond the head at ${formatLsn(end)}`);
      await sleep(ASK_AGAIN_MS);
    }
  }

  async #atTime(timeline: Timeline, time: number): Promise<BranchPoint> {
    const text = formatTimestamp(time);
    if (time > timestampOfMs(Date.now()))
      throw new Refusal('TIMESTAMP_IN_FUTURE', `${text} is in the future`);
    const begin = this.#beginning(timeline);
    if (time < timestampOfMs(Date.parse(begin)))
      throw new Refusal('TIMESTAMP_BELOW_HISTORY', `${text} is before the history, which begins at ${begin}`);
    const head = await this.#head(timeline.spec);
    const end = head === null ? startOf(timeline) : await this.#atEnd(timeline, head);
    if (head !== null && head.knownLsn < end.lsn) await this.teach(timeline.spec, end.lsn); // the pageserver waits for it
    const found = await this.#options.pageserver().firstCommitAfter(timeline.spec, { time, to: end.lsn });
    if (!found.ok)
      throw found.code === 'belowWindow'
        ? new Refusal('TIMESTAMP_BELOW_HISTORY', `${text} is below the history that is kept`)
        : new Refusal('PAGESERVER_UNAVAILABLE', found.message);
    return found.lsn === null ? end : this.#atLsn(timeline, lsnPlus(asLsn(found.lsn), -1));
  }

  /** When the oldest of the timeline's ancestors was made. */
  #beginning(timeline: Timeline): string {
    let oldest = timeline;
    for (let { origin } = oldest.spec; origin.kind === 'branch'; origin = oldest.spec.origin)
      oldest = this.#get(origin.ancestor.timelineId);
    return oldest.createdAt;
  }

  /** The last record's end at or before `at`, which is committed; it is the timeline's start where there is none. */
  async #recordEnd(timeline: Timeline, at: Lsn): Promise<BranchPoint> {
    const start = startOf(timeline);
    if (at <= start.lsn) return start;
    let failure: unknown = null;
    for (let n = 1; n <= SAFEKEEPER_COUNT; n++) {
      try {
        const found = await this.#options.safekeeper(timeline.spec, n).lastRecord(at);
        if (found === null) continue; // it lags behind, or there is no record before `at`: then no other has one either
        return { timeline, lsn: found.endLsn, previousLsn: found.recordLsn, isSettled: true };
      } catch (error) {
        failure = error;
      }
    }
    if (failure !== null) throw new Refusal('HEAD_UNKNOWN', 'no safekeeper could read the log', failure);
    return start;
  }

  /** What is committed; null where nothing was ever written. Throws Refusal `HEAD_UNKNOWN`. */
  async #head(spec: TimelineSpec): Promise<LogHead | null> {
    const giveUpAt = Date.now() + SETTLE_TIMEOUT_MS;
    let wanted: Lsn | null = null;
    for (;;) {
      const reaches = await this.#reaches(spec);
      if (reaches.every((reach) => reach === null) && reaches.length > SAFEKEEPER_COUNT / 2) return null;
      const start = parseLsn(spec.startLsn);
      const head = logHead(
        reaches.map((reach) => reach ?? { lastTerm: 0, flushLsn: start, commitLsn: start }),
      );
      // What was acknowledged before the first question is in the log that was the most advanced then.
      wanted ??= head?.advancedLsn ?? null;
      if (head !== null && (head.settled || (wanted !== null && head.committedLsn >= wanted))) return head;
      if (Date.now() > giveUpAt)
        throw new Refusal(
          'HEAD_UNKNOWN',
          `${reaches.length} of ${SAFEKEEPER_COUNT} safekeepers answered: what is committed cannot be told`,
        );
      await sleep(ASK_AGAIN_MS);
    }
  }

  /** Of those that answer in time. */
  async #reaches(spec: TimelineSpec): Promise<(LogReach | null)[]> {
    const asked = Array.from({ length: SAFEKEEPER_COUNT }, async (_, i) => {
      const late = sleep(ANSWER_TIMEOUT_MS).then((): never => {
        throw new Error(`safekeeper ${i + 1} did not answer`);
      });
      late.catch(() => undefined); // of no interest once it has answered
      return Promise.race([this.#options.safekeeper(spec, i + 1).reach(), late]);
    });
    const settled = await Promise.allSettled(asked);
    return settled.filter((each) => each.status === 'fulfilled').map((each) => each.value);
  }

  /** Tells the safekeepers that the log is committed up to `lsn`, if it is; true when a quorum of them knows it for good. */
  async teach(spec: TimelineSpec, lsn: Lsn): Promise<boolean> {
    const start = parseLsn(spec.startLsn);
    const before = await this.#reaches(spec);
    const head = logHead(before.map((reach) => reach ?? { lastTerm: 0, flushLsn: start, commitLsn: start }));
    if (head === null || head.committedLsn < lsn) return false;
    const each = Array.from({ length: SAFEKEEPER_COUNT }, (_, i) => this.#options.safekeeper(spec, i + 1));
    await Promise.allSettled(each.map((safekeeper) => safekeeper.learnCommit(head.term, lsn)));
    const reaches = await this.#reaches(spec);
    return reaches.filter((reach) => reach !== null && reach.commitLsn >= lsn).length > SAFEKEEPER_COUNT / 2;
  }
}

function startOf(timeline: Timeline): BranchPoint {
  const { startLsn, origin } = timeline.spec;
  const previousLsn = origin.kind === 'branch' ? parseLsn(origin.previousLsn) : asLsn(0);
  return { timeline, lsn: parseLsn(startLsn), previousLsn, isSettled: true };
}
