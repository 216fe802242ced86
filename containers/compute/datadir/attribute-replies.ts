/**
 * Replies that describe inodes: attributes and entries. The kernel may keep them for good, because nobody changes names
 * and attributes but through it. Everything belongs to Postgres; times are those of the backing file, or the boot's.
 */
import { fstatSync, lstatSync, statfsSync, type Stats } from 'node:fs';
import {
  ATTR_OUT_SIZE,
  Attributes,
  AttrOut,
  ENTRY_OUT_SIZE,
  EntryOut,
  StatfsOut,
} from '../../../lib/fuse/protocol.ts';
import { FIRST_REMOTE, NAME_MAX, ROOT, STATE, TYPE } from './inode-records.ts';
import { UNIT_SIZE } from './presence.ts';
import { REPLY, type Request } from './request.ts';

const VALID_S = 365 * 86_400;
const S_IFREG = 0o100000;

export class AttributeReplies {
  readonly #request: Request;
  readonly #entry;
  readonly #attributes;
  readonly #attrOut;

  constructor(request: Request) {
    this.#request = request;
    this.#entry = EntryOut.over(request.output, REPLY);
    this.#attributes = Attributes.over(request.output);
    this.#attrOut = AttrOut.over(request.output, REPLY);
  }

  /** fuse_attr_out. */
  attributes(id: number): number {
    const head = this.#attrOut;
    head.attributesValid = VALID_S;
    head.attributesValidNs = 0;
    head.padding = undefined;
    this.#putAttributes(REPLY + AttrOut.size, id);
    return ATTR_OUT_SIZE;
  }

  /** fuse_entry_out; `stats` of the backing file where they are known. */
  entry(id: number, stats?: Stats): number {
    const entry = this.#entry;
    entry.nodeId = id;
    entry.generation = this.#request.volume.inodes.generation(id);
    entry.entryValid = VALID_S;
    entry.attributesValid = VALID_S;
    entry.entryValidNs = 0;
    entry.attributesValidNs = 0;
    this.#putAttributes(REPLY + EntryOut.size, id, stats);
    return ENTRY_OUT_SIZE;
  }
  /** The kernel remembers that there is no such name. */
  noEntry(): number {
    this.#request.output.fill(0, REPLY, REPLY + ENTRY_OUT_SIZE);
    this.#entry.entryValid = VALID_S;
    return ENTRY_OUT_SIZE;
  }

  #putAttributes(at: number, id: number, known?: Stats): void {
    const { shared, inodes, remote } = this.#request.volume;
    const stats = known ?? this.#stats(id);
    const attributes = this.#attributes.at(at);
    const size = stats?.size ?? remote.size(id - FIRST_REMOTE);
    attributes.ino = id;
    attributes.size = size;
    attributes.blocks = Math.ceil(size / 512);
    attributes.atime = time(stats?.atimeMs, shared.bootTime);
    attributes.mtime = time(stats?.mtimeMs, shared.bootTime);
    attributes.ctime = time(stats?.ctimeMs, shared.bootTime);
    attributes.atimeNs = nanoseconds(stats?.atimeMs);
    attributes.mtimeNs = nanoseconds(stats?.mtimeMs);
    attributes.ctimeNs = nanoseconds(stats?.ctimeMs);
    attributes.mode = stats?.mode ?? S_IFREG | 0o600;
    attributes.nlink = inodes.state(id) === STATE.UNLINKED ? 0 : (stats?.nlink ?? 1);
    attributes.uid = shared.uid;
    attributes.gid = shared.gid;
    attributes.rdev = 0;
    attributes.blockSize = UNIT_SIZE;
    attributes.flags = 0;
  }

  /** Of the backing file; undefined for a remote file that has none yet. */
  #stats(id: number): Stats | undefined {
    const { inodes } = this.#request.volume;
    if (this.#request.volume.isUntouched(id)) return undefined;
    if (inodes.type(id) !== TYPE.FILE || id === ROOT) return lstatSync(this.#request.volume.backingPath(id));
    const descriptor = this.#request.volume.pin(id);
    try {
      return fstatSync(descriptor);
    } finally {
      inodes.descriptors.unpin(id);
    }
  }

  statfs(): number {
    const { bsize, blocks, bfree, bavail, files, ffree } = statfsSync(this.#request.volume.shared.root);
    this.#request.output.set(
      StatfsOut.encode({
        blocks,
        blocksFree: bfree,
        blocksAvailable: bavail,
        files,
        filesFree: ffree,
        blockSize: bsize,
        nameMax: NAME_MAX,
        fragmentSize: bsize,
      }),
      REPLY,
    );
    return StatfsOut.size;
  }
}

const time = (ms: number | undefined, otherwise: number): number =>
  ms === undefined ? otherwise : Math.floor(ms / 1000);
const nanoseconds = (ms: number | undefined): number =>
  ms === undefined ? 0 : Math.floor((ms % 1000) * 1_000_000);
