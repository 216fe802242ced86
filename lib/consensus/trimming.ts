/**
 * How far an acceptor may trim its local WAL: to the oldest byte that anyone still needs from here.
 *
 *   itself         what is not committed may be cut, but is not lost     commitLsn
 *   the backup     copies from here                                      backupLsn
 *   the pageserver has not made safe what it ingested                    remoteConsistentLsn
 *   a peer         lacks it, and is better fed from here                 truncateLsn
 *
 * A peer that stays away must not fill everybody's storage: once too much is kept, it gets its WAL from object
 * storage instead (`beginLsn` of `elected`). The others are never passed over.
 */
import type { Lsn } from '../postgres/lsn.ts';

export interface NeededPositions {
  commitLsn: Lsn;
  backupLsn: Lsn;
  remoteConsistentLsn: Lsn;
  truncateLsn: Lsn;
}

/** Everything before it may go. `endLsn` is the end of the local WAL, of which `keptBytesMax` are kept for a lagging peer. */
export function trimLimit(needed: NeededPositions, kept: { endLsn: Lsn; keptBytesMax: number }): Lsn {
  const { commitLsn, backupLsn, remoteConsistentLsn, truncateLsn } = needed;
  const forPeers = Math.max(truncateLsn, kept.endLsn - kept.keptBytesMax);
  return Math.min(commitLsn, backupLsn, remoteConsistentLsn, forPeers) as Lsn;
}
