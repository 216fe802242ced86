/**
 * What the Project asks of a safekeeper's log: where its records end. (How far it reaches: lib/consensus/log-head.ts.)
 */
import { parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { postgres18 } from '../../lib/postgres/v18/wal.ts';
import { lastRecordBefore, type LastRecord } from '../../lib/postgres/wal/last-record.ts';
import type { TimelineSpec } from '../../lib/protocol/specs.ts';
import type { WalSource } from './wal-source.ts';

/** The last record that ends at or before `at`, which this log reaches; null when none does. */
export function lastRecordIn(source: WalSource, timeline: TimelineSpec, at: Lsn): Promise<LastRecord | null> {
  const read = async (from: Lsn, to: Lsn): Promise<Uint8Array> => {
    const bytes = new Uint8Array(to - from);
    for (let done = 0; done < bytes.length;) {
      const fromLsn = (from + done) as Lsn;
      const found = await source.read({ fromLsn, endLsn: to, bytesMax: bytes.length - done });
      if (found === null) throw new Error(`WAL at ${fromLsn} of timeline ${timeline.timelineId} is not here`);
      bytes.set(found.wal, done);
      done += found.wal.length;
    }
    return bytes;
  };
  return lastRecordBefore({ read, facts: postgres18, startLsn: parseLsn(timeline.startLsn), at });
}
