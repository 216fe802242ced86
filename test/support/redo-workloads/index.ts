/** Every workload of the redo oracle. */
import { brinWorkloads } from './brin.ts';
import { btreeWorkloads } from './btree.ts';
import { ginWorkloads } from './gin.ts';
import { gistWorkloads } from './gist.ts';
import { hashWorkloads } from './hash.ts';
import { heapWorkloads } from './heap.ts';
import { spgistWorkloads } from './spgist.ts';
import type { Workload } from './workload.ts';

export const redoWorkloads: readonly Workload[] = [
  ...heapWorkloads,
  ...btreeWorkloads,
  ...hashWorkloads,
  ...ginWorkloads,
  ...gistWorkloads,
  ...spgistWorkloads,
  ...brinWorkloads,
];
