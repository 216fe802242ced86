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

/** Lays out `.`, `..` and the entries. Names are one byte a character, as Postgres's are. */
export function encodeDirectory(entries: readonly { name: string; type: DirentType }[]): Uint8Array {
  let size = entrySize(1) + entrySize(2);
  for (const { name } of entries) size += entrySize(name.length);
  const bytes = new Uint8Array(size);
  const view = Dirent.over(bytes);
  let at = 0;
  const add = (name: string, type: DirentType): void => {
    const next = at + entrySize(name.length);
    view.at(at);
    view.ino = UNKNOWN_INO;
    view.next = next;
    view.nameLength = name.length;
    view.type = type;
    for (let i = 0; i < name.length; i++) bytes[at + Dirent.size + i] = name.charCodeAt(i);
    at = next;
  };
  add('.', DIRENT_TYPE.directory);
  add('..', DIRENT_TYPE.directory);
  for (const { name, type } of entries) add(name, type);
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
