/**
 * Fixed binary layouts, declared once.
 *
 * `layout('XLogRecord', 24, { totalLength: u32, …, crc: u32 })` gives a type whose fields stand one after
 * another in little-endian order, without implicit padding: padding is written as `reserved(n)`. A layout
 * whose fields do not fill its size exactly fails when the module loads, so a typing error cannot shift the
 * fields behind it. `.over(bytes)` gives one movable view; `view.at(offset).field` reads at the cost of a
 * hand-written DataView access and allocates nothing.
 */
import { lsn, type Lsn } from './lsn.ts';

interface Codec<T> {
  readonly size: number;
  read(data: DataView, offset: number): T;
  write(data: DataView, offset: number, value: T): void;
}
/** One field: how many bytes it takes and how it is read and written. */
export type Field<T> = Codec<T>;

export const u8: Field<number> = {
  size: 1,
  read: (d, o) => d.getUint8(o),
  write: (d, o, v) => d.setUint8(o, v),
};
export const u16: Field<number> = {
  size: 2,
  read: (d, o) => d.getUint16(o, true),
  write: (d, o, v) => d.setUint16(o, v, true),
};
export const i16: Field<number> = {
  size: 2,
  read: (d, o) => d.getInt16(o, true),
  write: (d, o, v) => d.setInt16(o, v, true),
};
export const u32: Field<number> = {
  size: 4,
  read: (d, o) => d.getUint32(o, true),
  write: (d, o, v) => d.setUint32(o, v, true),
};
export const i32: Field<number> = {
  size: 4,
  read: (d, o) => d.getInt32(o, true),
  write: (d, o, v) => d.setInt32(o, v, true),
};
export const f64: Field<number> = {
  size: 8,
  read: (d, o) => d.getFloat64(o, true),
  write: (d, o, v) => d.setFloat64(o, v, true),
};
/** Eight bytes that may use all 64 bits (system identifier, FullTransactionId). */
export const u64: Field<bigint> = {
  size: 8,
  read: (d, o) => d.getBigUint64(o, true),
  write: (d, o, v) => d.setBigUint64(o, v, true),
};
/** A C `bool`. */
export const bool: Field<boolean> = {
  size: 1,
  read: (d, o) => d.getUint8(o) !== 0,
  write: (d, o, v) => d.setUint8(o, v ? 1 : 0),
};
/** XLogRecPtr. */
export const lsnField: Field<Lsn> = {
  size: 8,
  read: (d, o) => readLsn(d, o),
  write: (d, o, v) => writeLsn(d, o, v),
};
/** `size` bytes that mean nothing: read as undefined, written as zeros. */
export const reserved = (size: number): Field<undefined> => ({
  size,
  read: () => undefined,
  write: (d, o) => {
    for (let i = 0; i < size; i++) d.setUint8(o + i, 0);
  },
});

/** XLogRecPtr at `offset`; throws RangeError above 2^53. */
export function readLsn(data: DataView, offset: number): Lsn {
  return lsn(data.getUint32(offset + 4, true) * 0x1_0000_0000 + data.getUint32(offset, true));
}
export function writeLsn(data: DataView, offset: number, value: Lsn): void {
  data.setUint32(offset, value % 0x1_0000_0000, true);
  data.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
}

type Fields = Record<string, Field<unknown>>;
type Values<F extends Fields> = { -readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };
/** A view that stands at one place of one buffer; fields read and write through. */
export type View<F extends Fields> = Values<F> & { at(offset: number): View<F> };

export interface Layout<F extends Fields> {
  readonly name: string;
  readonly size: number;
  /** Byte offset of each field. */
  readonly offsets: Readonly<Record<keyof F, number>>;
  /** A movable view over `bytes`, standing at `offset`. Out-of-bounds access throws RangeError. */
  over(bytes: Uint8Array, offset?: number): View<F>;
  /** A plain object with every field at `offset`. */
  decode(bytes: Uint8Array, offset?: number): Values<F>;
  /** `size` new bytes holding `values`; reserved fields may be left out. */
  encode(values: Partial<Values<F>>): Uint8Array;
}
export type ValuesOf<L> = L extends Layout<infer F> ? Values<F> : never;

/** Declares a layout of exactly `size` bytes. Throws when the fields do not fill it. */
export function layout<F extends Fields>(name: string, size: number, fields: F): Layout<F> {
  const offsets = {} as Record<keyof F, number>;
  let end = 0;
  for (const key of Object.keys(fields) as (keyof F & string)[]) {
    offsets[key] = end;
    end += fields[key].size;
  }
  if (end !== size) throw new Error(`layout ${name}: fields take ${end} bytes, expected ${size}`);

  class LayoutView {
    $data: DataView;
    $offset: number;
    constructor(bytes: Uint8Array, offset: number) {
      this.$data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      this.$offset = offset;
    }
    at(offset: number): this {
      this.$offset = offset;
      return this;
    }
  }
  for (const [key, field] of Object.entries(fields)) {
    const offset = offsets[key];
    if (key in LayoutView.prototype) throw new Error(`layout ${name}: no field can be called ${key}`);
    Object.defineProperty(LayoutView.prototype, key, {
      get(this: LayoutView) {
        return field.read(this.$data, this.$offset + offset);
      },
      set(this: LayoutView, value: unknown) {
        field.write(this.$data, this.$offset + offset, value);
      },
    });
  }
  const over = (bytes: Uint8Array, offset = 0) => new LayoutView(bytes, offset) as unknown as View<F>;
  return {
    name,
    size,
    offsets,
    over,
    decode(bytes, offset = 0) {
      const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const values: Record<string, unknown> = {};
      for (const [key, field] of Object.entries(fields))
        values[key] = field.read(data, offset + offsets[key]);
      return values as Values<F>;
    },
    encode(values) {
      const bytes = new Uint8Array(size);
      const data = new DataView(bytes.buffer);
      for (const [key, field] of Object.entries(fields)) {
        const value = (values as Record<string, unknown>)[key];
        if (value !== undefined) field.write(data, offsets[key], value);
      }
      return bytes;
    },
  };
}
