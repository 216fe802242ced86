/**
 * What the Project asks of a safekeeper's log: how far it reaches, and where its records end. The answers of all three
 * together say where the head of the timeline is (durable-objects/project/log-head.ts).
 */
import { lastTermOf, upTo } from '../../lib/consensus/term-history.ts';
import type { AcceptorLog } from '../../lib/consensus/acceptor.ts';
import { parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { postgres18 } from '../../lib/postgres/v18/wal.ts';
import { lastRecordBefore, type LastRecord } from '../../lib/postgres/wal/last-record.ts';
import type { TimelineSpec } from '../../lib/protocol/specs.ts';
import type { WalSource } from './wal-source.ts';

/** LSNs as numbers. */
export interface LogReach {
  /** The term that wrote the end of the log. */
  lastTerm: number;
  /** End of the last whole record, durable. */
  flushLsn: number;
  /** What it knows to be committed, which may be a little less than is. */
  commitLsn: number;
}

/** Terms whose part of the history this log does not reach yet do not count: it may lack what was committed in them. */
export const reachOf = ({ history, flushLsn, commitLsn }: AcceptorLog): LogReach => ({
  lastTerm: lastTermOf(upTo(history, flushLsn)),
  flushLsn,
  commitLsn,
});

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
