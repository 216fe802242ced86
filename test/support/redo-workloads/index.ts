/** Every workload of the redo oracle, by the cluster that it needs. */
import { brinWorkloads } from './brin.ts';
import { btreeWorkloads } from './btree.ts';
import { concurrencyWorkloads } from './concurrency.ts';
import { ginWorkloads } from './gin.ts';
import { gistMinimalWorkloads, gistWorkloads } from './gist.ts';
import { hashWorkloads } from './hash.ts';
import { heapWorkloads } from './heap.ts';
import { counterWorkloads, hintWorkloads, serverWorkloads } from './server.ts';
import { spgistWorkloads } from './spgist.ts';
import type { Workload } from './workload.ts';

const accessMethods: readonly Workload[] = [
  ...heapWorkloads,
  ...btreeWorkloads,
  ...hashWorkloads,
  ...ginWorkloads,
  ...gistWorkloads,
  ...spgistWorkloads,
  ...brinWorkloads,
];

export interface OracleCluster {
  name: string;
  /** On top of what every oracle cluster has. */
  settings: Readonly<Record<string, string>>;
  /** A checkpoint before each statement: with full-page writes, every page's next change then carries an image. */
  checkpoints: boolean;
  workloads: readonly Workload[];
}

/** Image after each change, of each touched block, and no other images. */
export const mainCluster: OracleCluster = {
  name: 'images after each change',
  settings: { full_page_writes: 'off' },
  checkpoints: false,
  workloads: [...accessMethods, ...serverWorkloads, ...concurrencyWorkloads],
};

/** Besides those, images that are to be restored, compressed, and pages logged for hint bits. */
export const imagesCluster: OracleCluster = {
  name: 'full-page writes, compressed',
  settings: { wal_compression: 'pglz', wal_log_hints: 'on' },
  checkpoints: true,
  workloads: [
    ...hintWorkloads,
    ...hashWorkloads,
    ...gistWorkloads,
    ...concurrencyWorkloads,
    ...counterWorkloads,
  ],
};

/** New relations that are not logged until their transaction ends. */
export const minimalCluster: OracleCluster = {
  name: 'wal_level = minimal',
  settings: { wal_level: 'minimal', max_wal_senders: '0', wal_skip_threshold: '0' },
  checkpoints: false,
  workloads: gistMinimalWorkloads,
};

export const oracleClusters: readonly OracleCluster[] = [mainCluster, imagesCluster, minimalCluster];
