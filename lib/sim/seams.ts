/**
 * Where a planted bug gets in: the pure steps and what the shells make of them. As they are, or wrapped (bugs.ts);
 * nothing in lib/consensus knows of it.
 */
import { stepAcceptor, type AcceptorLog, type AcceptorWrite } from '../consensus/acceptor.ts';
import type { Lsn } from '../postgres/lsn.ts';
import { logHead } from '../consensus/log-head.ts';
import { stepMembership } from '../consensus/membership.ts';
import { stepProposer } from '../consensus/proposer.ts';
import { trimLimit } from '../consensus/trimming.ts';

export interface Seams {
  stepAcceptor: typeof stepAcceptor;
  stepProposer: typeof stepProposer;
  stepMembership: typeof stepMembership;
  trimLimit: typeof trimLimit;
  logHead: typeof logHead;
  /** What of a transaction's writes reaches the disk. */
  stored(writes: readonly AcceptorWrite[]): readonly AcceptorWrite[];
  /** Up to where a safekeeper thinks that it may copy. */
  backupEnd(log: AcceptorLog): Lsn;
  /** Answers wait for the sync. */
  answersAfterSync: boolean;
  /** A crash keeps whole transactions only. */
  atomicTransactions: boolean;
  /** A safekeeper whose storage was lost never comes back under its number. */
  lostStorageStaysAway: boolean;
}

export const PRODUCTION: Seams = {
  stepAcceptor,
  stepProposer,
  stepMembership,
  trimLimit,
  logHead,
  stored: (writes) => writes,
  backupEnd: (log) => log.commitLsn,
  answersAfterSync: true,
  atomicTransactions: true,
  lostStorageStaysAway: true,
};
