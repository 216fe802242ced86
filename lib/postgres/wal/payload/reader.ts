/** What the files of this folder share: reading the main data of a record, and how its values are written for people. */
import { formatLsn, lsn } from '../../lsn.ts';

export type PayloadFields = Record<string, string | number>;
/** Reads at an offset of the main data; beyond its end it throws RangeError. */
export interface Reader {
  u8(at: number): number;
  u16(at: number): number;
  u32(at: number): number;
  i64(at: number): bigint;
  f64(at: number): number;
  /** Up to the first zero byte, or the end. */
  text(at: number): string;
}
/** The fields of a record with this xl_info. */
export type Describe = (main: Reader, info: number) => PayloadFields;

const POSTGRES_EPOCH_MS = Date.UTC(2000, 0, 1);
/** TimestampTz: microseconds since 2000. */
export function timestamp(main: Reader, at: number): string {
  const ms = Number(main.i64(at) / 1000n) + POSTGRES_EPOCH_MS;
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : `${ms}`;
}
export const position = (main: Reader, at: number): string => {
  const value = main.i64(at);
  return value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER) ? formatLsn(lsn(value)) : String(value);
};
/** RelFileLocator. */
export const locator = (main: Reader, at: number): string =>
  `${main.u32(at)}/${main.u32(at + 4)}/${main.u32(at + 8)}`;
/** FullTransactionId: `epoch:xid`. */
export const fullXid = (main: Reader, at: number): string => `${main.u32(at + 4)}:${main.u32(at)}`;
/** BlockIdData: two halves, the high one first. */
export const blockId = (main: Reader, at: number): number => main.u16(at) * 0x10000 + main.u16(at + 2);
export const hex = (value: number): string => `0x${value.toString(16).toUpperCase().padStart(2, '0')}`;

const WAL_LEVELS = ['minimal', 'replica', 'logical'];
export const walLevel = (value: number): string => WAL_LEVELS[value] ?? `${value}`;
export const onOff = (value: number): string => (value === 0 ? 'off' : 'on');
export const NOTHING: Describe = () => ({});
