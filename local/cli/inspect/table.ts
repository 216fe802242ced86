/** Text for a person: a table with aligned columns, and bytes as hexadecimal and characters. */

export type Cell = string | number | boolean | null | undefined;

const text = (cell: Cell): string => (cell === null || cell === undefined ? '' : String(cell));

/** Columns in the order of their first appearance; numbers to the right. */
export function table(rows: readonly Record<string, Cell>[]): string {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const widths = names.map((name) => Math.max(name.length, ...rows.map((row) => text(row[name]).length)));
  const right = names.map((name) =>
    rows.every((row) => row[name] === undefined || typeof row[name] === 'number'),
  );
  const line = (cells: string[]) =>
    cells
      .map((cell, i) => (right[i] ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join('  ')
      .trimEnd();
  return [line(names), ...rows.map((row) => line(names.map((name) => text(row[name]))))].join('\n');
}

const BYTES_PER_LINE = 16;

/** `48 65 6c 6c 6f        Hello`, sixteen bytes a line, each line after `indent`. */
export function hexDump(bytes: Uint8Array, indent = ''): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += BYTES_PER_LINE) {
    const part = bytes.subarray(at, at + BYTES_PER_LINE);
    const hex = [...part].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    lines.push(`${indent}${hex.padEnd(BYTES_PER_LINE * 3 + 1)}${printable(part)}`);
  }
  return lines.join('\n');
}

const printable = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '·')).join('');
