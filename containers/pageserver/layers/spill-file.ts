/**
 * Values of an in-memory layer that are too many for memory, in a file without a name: the disk has it back with the process,
 * however that ends. What is read is compared with a checksum of what was written.
 */
import { closeSync, mkdirSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { LayerError, type LayerCodec } from '../../../lib/storage/layers/format.ts';
import type { SpillFile } from '../../../lib/storage/layers/value-slabs.ts';

interface Written {
  position: number;
  length: number;
  crc: number;
}

/** Throws what the file system throws: no room, for one. */
export function openSpillFile(folder: string, codec: LayerCodec): SpillFile {
  mkdirSync(folder, { recursive: true });
  const path = `${folder}/${randomUUID()}.spill`;
  const file = openSync(path, 'wx+', 0o600);
  unlinkSync(path);
  const slabs: Written[] = [];
  let end = 0;
  return {
    write: (slab) => {
      for (let done = 0; done < slab.length;)
        done += writeSync(file, slab, done, slab.length - done, end + done);
      slabs.push({ position: end, length: slab.length, crc: codec.crc32c(slab) });
      end += slab.length;
      return slabs.length - 1;
    },
    read: (id) => {
      const { position, length, crc } = slabs[id];
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const more = readSync(file, bytes, done, length - done, position + done);
        if (more === 0) throw new LayerError('corrupt', `spilled values end at ${position + done}`);
        done += more;
      }
      const found = codec.crc32c(bytes);
      if (found !== crc)
        throw new LayerError('corrupt', `spilled values at ${position}: CRC ${found}, ${crc} expected`);
      return bytes;
    },
    close: () => closeSync(file),
  };
}
