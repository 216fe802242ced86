/** Bits by their names. */

/** `A|B`, with bits that have no name in hexadecimal at the end; `none` for zero. */
export function flagNames(value: number, names: Readonly<Record<string, number>>): string {
  const parts: string[] = [];
  let rest = value;
  for (const [name, mask] of Object.entries(names)) {
    if ((value & mask) !== mask || (rest & mask) === 0) continue;
    parts.push(name);
    rest &= ~mask;
  }
  if (rest !== 0) parts.push(`0x${rest.toString(16)}`);
  return parts.length === 0 ? 'none' : parts.join('|');
}
