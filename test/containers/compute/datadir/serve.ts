/**
 * A process that serves a data directory until it is told otherwise: `node serve.ts MODE HOME [WHAT]`. Prints one line of JSON
 * when it is open. WHAT: `wait` (for a signal), `exit` (without closing), `close`.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openDataDirectory } from '../../../../containers/compute/datadir/data-directory.ts';
import { lsn } from '../../../../lib/postgres/lsn.ts';
import { emptyManifest, MemoryPages } from './harness.ts';

const [mode, home, what] = process.argv.slice(2);
const manifest = emptyManifest();
manifest.relations = [[1663, 5, 100, 0, 64]];
const silent = (): void => undefined;
const directory = await openDataDirectory({
  mode: mode as 'fuse' | 'auto' | 'plain',
  mountPoint: join(home, 'mount'),
  backingDir: join(home, 'backing'),
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
  log: { info: silent, warn: silent, error: (fields) => console.error(fields) },
  manifest,
  blobs: new Uint8Array(0),
  pages: new MemoryPages(),
  lsn: lsn(0x300_0000),
  files: [],
});
const content = await readFile(join(directory.path, 'base/5/100'));
console.log(JSON.stringify({ mode: directory.mode, bytes: content.length, first: content[0] }));
if (what === 'exit') process.exit(7);
if (what === 'close') {
  await directory.close();
  process.exit(0);
}
setInterval(silent, 1000);
