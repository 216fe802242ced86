/**
 * WAL from wherever it is: local rows, or, where those were trimmed, segments in object storage.
 *
 * Nobody who reads notices the difference. Objects are `projects/{projectId}/wal/{timelineId}/{segment file name}`,
 * 16 MiB each, the bytes that Postgres itself would have in pg_wal.
 */
import { lsn, lsnPlus, parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import {
  segmentFileName,
  segmentNumber,
  segmentStart,
  WAL_SEGMENT_BYTES,
} from '../../lib/postgres/wal/geometry.ts';
import type { TimelineSpec } from '../../lib/protocol/specs.ts';
import type { SafekeeperStore } from './store.ts';

/** Postgres's own timeline number: always 1; Ebb's timelines are logs of their own. */
const POSTGRES_TIMELINE = 1;
/** A segment's metadata: the end of the last whole record in it, without which nobody fed from it could commit any of it. */
export const RECORD_END = 'record-end';

export const segmentKey = (timeline: TimelineSpec, position: Lsn): string =>
  `${walPrefix(timeline)}${segmentFileName(POSTGRES_TIMELINE, segmentNumber(position))}`;
export const walPrefix = ({ projectId, timelineId }: TimelineSpec): string =>
  `projects/${projectId}/wal/${timelineId}/`;

export interface WalRange {
  fromLsn: Lsn;
  endLsn: Lsn;
  bytesMax: number;
}
export interface FoundWal {
  wal: Uint8Array;
  /** See LocalWal; WAL from object storage tells one at the end of each segment. */
  recordEndLsn: Lsn;
}

export class WalSource {
  readonly #store: SafekeeperStore;
  readonly #bucket: R2Bucket;

  constructor(store: SafekeeperStore, bucket: R2Bucket) {
    this.#store = store;
    this.#bucket = bucket;
  }

  /** At least one byte from `fromLsn` on, at most `bytesMax` and not beyond `endLsn`; null when there is none. */
  async read(range: WalRange): Promise<FoundWal | null> {
    return this.readLocal(range) ?? (await this.readBackup(range));
  }

  readLocal(range: WalRange): FoundWal | null {
    const local = this.#store.readWal(range);
    if (local === null) return null;
    const { parts, endLsn, recordEndLsn } = local;
    if (parts.length === 1) return { wal: parts[0], recordEndLsn };
    const wal = new Uint8Array(endLsn - range.fromLsn);
    let at = 0;
    for (const part of parts) {
      wal.set(part, at);
      at += part.length;
    }
    return { wal, recordEndLsn };
  }

  /** What `readLocal` no longer has. Throws what object storage throws. */
  async readBackup({ fromLsn, endLsn, bytesMax }: WalRange): Promise<FoundWal | null> {
    const { backupLsn } = this.#store.positions;
    const startLsn = parseLsn(this.#store.timeline.startLsn);
    const segmentEnd = lsnPlus(segmentStart(fromLsn), WAL_SEGMENT_BYTES);
    // Nothing that is here: beyond its commit position this log may be another one than what was committed and copied.
    const until = lsn(Math.min(endLsn, backupLsn, segmentEnd, this.#store.localBeginLsn()));
    const length = Math.min(bytesMax, until - fromLsn);
    if (length <= 0 || fromLsn < startLsn) return null;
    const offset = fromLsn - segmentStart(fromLsn);
    const object = await this.#bucket.get(segmentKey(this.#store.timeline, fromLsn), {
      range: { offset, length },
    });
    if (object === null) return null;
    const wal = new Uint8Array(await object.arrayBuffer());
    if (wal.length === 0) return null;
    const known = object.customMetadata?.[RECORD_END];
    const whole = offset + wal.length === WAL_SEGMENT_BYTES;
    return { wal, recordEndLsn: whole && known !== undefined ? parseLsn(known) : startLsn };
  }
}
