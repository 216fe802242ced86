/** How a compute's process ends. Whoever started it logs the number; none of them means that a commit was lost. */
export const EXIT = {
  /** Suspended: everything, the shutdown checkpoint included, is at the quorum. */
  suspended: 0,
  /** A fault of the compute itself. */
  failed: 1,
  /** A newer term exists: another compute has the timeline. */
  superseded: 10,
  /** Postgres, or what serves its files, is gone. A crashed compute is never restarted on its own files. */
  crashed: 11,
  /** It could not boot: no quorum or no pageserver in time. Another try may succeed. */
  unavailable: 12,
  /** It was to suspend, but the quorum did not take the last WAL in time. */
  suspendIncomplete: 13,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];
