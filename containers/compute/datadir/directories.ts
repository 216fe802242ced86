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
import { FIRST_REMOTE, FLAG } from './inodes.ts';
import { DIRECTORY } from './remote-files.ts';
import type { Volume } from './volume.ts';

export class Directories {
  readonly #volume: Volume;
  readonly #open = new Map<number, Uint8Array>();
  #nextHandle = 1;
  #byDirectory: Map<string, number[]> | undefined;

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** Lists directory `id` as it is now; the handle for `read` and `release`. Throws what readdir(3) throws. */
  open(id: number): number {
    const entries = new Map<string, DirentType>();
    // Remote files first: one that gets its backing file in between is then seen twice, not never.
    for (const name of this.#remoteNames(id)) entries.set(name, DIRENT_TYPE.file);
    for (const entry of readdirSync(this.#volume.backingPath(id), { withFileTypes: true }))
      if (!entry.name.startsWith('.unlinked-')) entries.set(entry.name, typeOf(entry));
    const encoder = new TextEncoder();
    const listing = encodeDirectory(
      [...entries].map(([name, type]) => ({ name: encoder.encode(name), type })),
    );
    const handle = this.#nextHandle++;
    this.#open.set(handle, listing);
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

  *#remoteNames(id: number): Generator<string> {
    const { inodes, remote } = this.#volume;
    const [kind, oid] = [inodes.directoryKind(id), inodes.directoryOid(id)];
    if (kind === DIRECTORY.OTHER || kind === DIRECTORY.BASE) return;
    this.#byDirectory ??= this.#group();
    for (const index of this.#byDirectory.get(`${kind}/${oid}`) ?? [])
      if (!inodes.hasFlag(FIRST_REMOTE + index, FLAG.NAME_GONE)) yield remote.name(index);
  }
  #group(): Map<string, number[]> {
    const { remote } = this.#volume;
    const groups = new Map<string, number[]>();
    for (let index = 0; index < remote.count; index++) {
      const key = `${remote.kind(index)}/${remote.oid(index)}`;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [index]);
      else group.push(index);
    }
    return groups;
  }
}

function typeOf(entry: Dirent): DirentType {
  if (entry.isDirectory()) return DIRENT_TYPE.directory;
  if (entry.isSymbolicLink()) return DIRENT_TYPE.symbolicLink;
  return entry.isFile() ? DIRENT_TYPE.file : DIRENT_TYPE.unknown;
}
