/**
 * A pageserver's timeline as a process of its own, over object storage in a folder, that is killed where it is told:
 *
 *   node pageserver-to-kill.ts FOLDER DISK GENERATION FAILPOINT TIMES
 *
 * at the TIMESth time that FAILPOINT is reached, by SIGKILL. Writes each position that it reports to FOLDER/reported, as a
 * safekeeper would keep it. One that is not killed ends when everything is uploaded, compacted and read cold once.
 */
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Failpoint } from '../../../../containers/pageserver/failpoints.ts';
import { FolderStorage } from '../../../../containers/pageserver/remote/folder.ts';
import { Timeline } from '../../../../containers/pageserver/timeline/timeline.ts';
import { CHECKPOINT_KEY } from '../../../../lib/storage/key.ts';
import { idle, someWal } from '../timeline/some-wal.ts';
import { FakeSafekeepers, spec, testContext } from '../timeline/support.ts';
import { KILLED_DISK_BYTES, KILLED_SETTINGS, KILLED_WAL } from './killed-workload.ts';

const [folder, diskFolder, generation, failpoint, times] = process.argv.slice(2);
let left = Number(times);

const wal = someWal(...KILLED_WAL);
const safekeepers = new FakeSafekeepers(wal);
safekeepers.onReport = ({ remoteConsistentLsn }) =>
  appendFileSync(join(folder, 'reported'), `${remoteConsistentLsn}\n`);
const context = testContext({
  storage: new FolderStorage(join(folder, 'objects')),
  safekeepers,
  generation: Number(generation),
  settings: KILLED_SETTINGS,
  diskFolder,
  diskBytesMax: KILLED_DISK_BYTES,
  failpoint: async (name: Failpoint) => {
    if (name === failpoint && --left === 0) process.kill(process.pid, 'SIGKILL');
  },
});
const timeline = await Timeline.attach(context, spec);
safekeepers.commit();
await timeline.waitFor(wal.endLsn);
await idle(timeline);
await timeline.view(wal.endLsn).get(CHECKPOINT_KEY);
await timeline.stop();
