/**
 * A directory's listing as READDIR sends it (fuse_dirent in linux/fuse.h).
 *
 *   u64 inode · u64 offset of the next entry · u32 name length · u32 type · name, padded to 8 bytes
 *
 * The whole listing is laid out once, when the directory is opened; each READDIR then takes the whole entries
 * that fit, from the offset that the last entry it was given named.
 */
import { layout, u32 } from '../postgres/layout.ts';
import { u53 } from './protocol.ts';

export const Dirent = layout('fuse_dirent', 24, { ino: u53, next: u53, nameLength: u32, type: u32 });

/** d_type of readdir(3). */
export const DIRENT_TYPE = { unknown: 0, directory: 4, file: 8, symbolicLink: 10 } as const;
export type DirentType = (typeof DIRENT_TYPE)[keyof typeof DIRENT_TYPE];

/** FUSE_UNKNOWN_INO: the kernel asks for the inode by LOOKUP when it needs it. */
const UNKNOWN_INO = 0xffff_ffff;

const entrySize = (nameLength: number): number => (Dirent.size + nameLength + 7) & ~7;

/** Lays out `.`, `..` and the entries; names are bytes. */
export function encodeDirectory(entries: readonly { name: Uint8Array; type: DirentType }[]): Uint8Array {
  const dot = (length: number) => ({ name: new Uint8Array(length).fill(0x2e), type: DIRENT_TYPE.directory });
  const all = [dot(1), dot(2), ...entries];
  const bytes = new Uint8Array(all.reduce((sum, entry) => sum + entrySize(entry.name.length), 0));
  const view = Dirent.over(bytes);
  let at = 0;
  for (const { name, type } of all) {
    const next = at + entrySize(name.length);
    view.at(at);
    view.ino = UNKNOWN_INO;
    view.next = next;
    view.nameLength = name.length;
    view.type = type;
    bytes.set(name, at + Dirent.size);
    at = next;
  }
  return bytes;
}

/** The whole entries of `listing` from `offset` on that fit into `sizeMax` bytes; empty at the end. */
export function sliceDirectory(listing: Uint8Array, offset: number, sizeMax: number): Uint8Array {
  const view = Dirent.over(listing);
  let end = offset;
  while (end < listing.length) {
    const next = end + entrySize(view.at(end).nameLength);
    if (next - offset > sizeMax) break;
    end = next;
  }
  return listing.subarray(offset, end);
}
