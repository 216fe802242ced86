/**
 * TimestampTz: microseconds since 2000-01-01 00:00:00 UTC (datatype/timestamp.h), as an exact number until the year 2285.
 *
 * The text form is ISO 8601 with a time zone, which must be there: a time without one is a different moment to each
 * reader. `2026-11-01T12:00Z`, `2026-11-01 13:00:00.123456+01:00`.
 */
const FORM =
  /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?([Zz]|[+-]\d\d(?::?\d\d)?)$/;
const EPOCH_MS = Date.UTC(2000, 0, 1);

/** Microseconds since 2000; what is finer is dropped. Throws RangeError with the text when it is no moment. */
export function parseTimestamp(text: string): number {
  const bad = (why: string): RangeError =>
    new RangeError(`not a time: ${JSON.stringify(text.slice(0, 64))}: ${why}`);
  const match = FORM.exec(text);
  if (match === null) throw bad('ISO 8601 with a time zone is expected, like 2026-11-01T12:00Z');
  const [year, month, day, hour, minute] = match.slice(1, 6).map(Number);
  const second = Number(match[6] ?? 0);
  const ms = Date.UTC(year, month - 1, day, hour, minute, second);
  const date = new Date(ms);
  const isReal =
    date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
  if (!isReal) throw bad('there is no such moment');
  const microseconds = Number((match[7] ?? '').padEnd(6, '0').slice(0, 6));
  return (ms - EPOCH_MS - zoneMs(match[8], bad)) * 1000 + microseconds;
}

function zoneMs(zone: string, bad: (why: string) => RangeError): number {
  if (zone === 'Z' || zone === 'z') return 0;
  const [hours, minutes] = [Number(zone.slice(1, 3)), Number(zone.slice(3).replace(':', '') || 0)];
  if (hours > 15 || minutes > 59) throw bad('there is no such time zone');
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes) * 60_000;
}

/** ISO 8601 in UTC, to the microsecond. */
export function formatTimestamp(microseconds: number): string {
  const ms = Math.floor(microseconds / 1000);
  const rest = microseconds - ms * 1000;
  const text = new Date(EPOCH_MS + ms).toISOString();
  return rest === 0 ? text : text.replace('Z', `${String(rest).padStart(3, '0')}Z`);
}

/** Of a clock that counts milliseconds since 1970. */
export const timestampOfMs = (ms: number): number => (ms - EPOCH_MS) * 1000;
