/**
 * Listings of the mount's directories: what has a backing file, and the remote files that have none yet.
 *
 * The main thread serves them, because an open listing must be the same for every READDIR that reads on in it.
 * A listing makes no file: Postgres lists every database's folder when it starts (RemovePgTempFiles in fd.c).
 */
import { readdirSync, type Dirent } from 'node:fs';
import {
  DIRENT_TYPE,
  encodeDirectory,
  sliceDirectory,
  type DirentType,
} from '../../../lib/fuse/directory.ts';
import { FIRST_REMOTE, FLAG } from './inode-records.ts';
import { DIRECTORY } from './file-names.ts';
import { UNLINKED_PREFIX, type Volume } from './volume.ts';

export class Directories {
  readonly #volume: Volume;
  readonly #open = new Map<number, Uint8Array>();
  #nextHandle = 1;
  #byDirectory: Map<number, number[]> | undefined;

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** Lists directory `id` as it is now; the handle for `read` and `release`. Throws what readdir(3) throws. */
  open(id: number): number {
    const { inodes, remote } = this.#volume;
    // One that gets its backing file in between is looked for in both places, so that it is seen once.
    const untouched = this.#remoteFiles(id).filter((file) => this.#volume.isUntouched(file));
    const backing = readdirSync(this.#volume.backingPath(id), { withFileTypes: true });
    const listed = new Set<string>();
    const entries: { name: string; type: DirentType }[] = [];
    for (const entry of backing) {
      if (entry.name.startsWith(UNLINKED_PREFIX)) continue;
      listed.add(entry.name);
      entries.push({ name: entry.name, type: typeOf(entry) });
    }
    for (const file of untouched) {
      if (inodes.hasFlag(file, FLAG.NAME_GONE)) continue;
      const name = remote.name(file - FIRST_REMOTE);
      if (!listed.has(name)) entries.push({ name, type: DIRENT_TYPE.file });
    }
    const handle = this.#nextHandle++;
    this.#open.set(handle, encodeDirectory(entries));
    return handle;
  }

  /** The entries from `offset` on that fit into `sizeMax` bytes. */
  read(handle: number, offset: number, sizeMax: number): Uint8Array {
    const listing = this.#open.get(handle);
    return listing === undefined ? new Uint8Array(0) : sliceDirectory(listing, offset, sizeMax);
  }

  release(handle: number): void {
    this.#open.delete(handle);
  }

  /** Ids of the remote files that had their place in the directory at the boot LSN. */
  #remoteFiles(id: number): number[] {
    const { inodes } = this.#volume;
    const kind = inodes.directoryKind(id);
    if (kind === DIRECTORY.OTHER || kind === DIRECTORY.BASE) return [];
    this.#byDirectory ??= this.#group();
    return this.#byDirectory.get(groupKey(kind, inodes.directoryOid(id))) ?? [];
  }
  #group(): Map<number, number[]> {
    const { remote } = this.#volume;
    const groups = new Map<number, number[]>();
    for (let index = 0; index < remote.count; index++) {
      const key = groupKey(remote.kind(index), remote.oid(index));
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [FIRST_REMOTE + index]);
      else group.push(FIRST_REMOTE + index);
    }
    return groups;
  }
}

const groupKey = (kind: number, oid: number): number => kind * 0x1_0000_0000 + oid;

function typeOf(entry: Dirent): DirentType {
  if (entry.isDirectory()) return DIRENT_TYPE.directory;
  if (entry.isSymbolicLink()) return DIRENT_TYPE.symbolicLink;
  return entry.isFile() ? DIRENT_TYPE.file : DIRENT_TYPE.unknown;
}
