/**
 * Places at which a test may stop, delay or kill a pageserver: one at each step whose order matters after a crash. In
 * production `context.failpoint` does nothing. The test of crash consistency kills a process at every one, and lets a second
 * pageserver run while the first is held at every one (test/containers/pageserver/failpoints/).
 */
export const FAILPOINTS = {
  'bootstrap.before-layer': 'the new timeline is taken over; its first layer is not put yet',
  'bootstrap.before-index': 'the first layer is put; no index names it',
  'flush.before-write': 'a frozen layer is in memory only',
  'flush.after-write': 'its file is whole; the layer map does not have it yet',
  'take.before-fence': 'the last index is read; nothing says that this generation has begun',
  'take.after-fence': 'our fence is put; whether an older pageserver was still at work is not known',
  'take.before-delete': 'the timeline is ours; older fences are still there',
  'upload.before-layer': 'the timeline is ours; the layer is on disk only',
  'upload.after-layer': 'the layer is in storage; no index names it',
  'publish.before-index': 'the index is made; storage has the one before',
  'publish.after-index': 'the index is put; whether this generation is still current is not known',
  'publish.before-delete': 'the index counts; indexes of older generations are still there',
  'report.before': 'the index counts; no safekeeper has been told',
  'compaction.before-upload': 'the new layers are on disk',
  'compaction.before-index': 'the new layers are in storage; the index names the old ones',
  'compaction.before-swap': 'the index names the new layers; reads still use the old ones',
  'delete.before-check':
    'the index does not name the objects any more; whether it is still current is not known',
  'delete.before-objects': 'it is; the objects are still there',
  'delete.between-objects': 'some of the objects are deleted',
  'delete.after-objects': 'all of them are',
  'download.before-rename': 'a layer is downloaded into a partial file',
  'evict.before-remove': 'readers go to the object; the file is still there',
} as const;

export type Failpoint = keyof typeof FAILPOINTS;
export type ReachFailpoint = (name: Failpoint) => Promise<void>;

const DONE = Promise.resolve();
export const noFailpoints: ReachFailpoint = () => DONE;
