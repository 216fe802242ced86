/**
 * SASLprep (RFC 4013) as tolerantly as Postgres applies it to passwords (src/common/saslprep.c): a password
 * that is not UTF-8, or that the profile prohibits, is used as the raw bytes it is.
 *
 * Two details decide whether a secret made by Postgres is met: pure ASCII is taken as it is, control
 * characters included; and what is prohibited is looked for in the mapped text, before it is normalised.
 */
import { LEFT_TO_RIGHT, MAPPED_TO_NOTHING, NON_ASCII_SPACE, PROHIBITED, RIGHT_TO_LEFT } from './tables.ts';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

function decode(bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

function map(text: string): number[] {
  const mapped: number[] = [];
  for (const character of text) {
    const codePoint = character.codePointAt(0)!;
    if (NON_ASCII_SPACE.has(codePoint)) mapped.push(0x20);
    else if (!MAPPED_TO_NOTHING.has(codePoint)) mapped.push(codePoint);
  }
  return mapped;
}

/** RFC 3454, section 6: text with right-to-left characters begins and ends with one, and has no other way. */
function bidirectionalAllowed(codePoints: number[]): boolean {
  if (!codePoints.some((codePoint) => RIGHT_TO_LEFT.has(codePoint))) return true;
  return (
    !codePoints.some((codePoint) => LEFT_TO_RIGHT.has(codePoint)) &&
    RIGHT_TO_LEFT.has(codePoints[0]) &&
    RIGHT_TO_LEFT.has(codePoints.at(-1)!)
  );
}

/** The bytes that Postgres hashes for this password. */
export function saslprep(password: Uint8Array): Uint8Array {
  if (password.every((byte) => byte < 0x80)) return password;
  const text = decode(password);
  if (text === null) return password;
  const mapped = map(text);
  if (mapped.length === 0) return password;
  if (mapped.some((codePoint) => PROHIBITED.has(codePoint))) return password;
  if (!bidirectionalAllowed(mapped)) return password;
  return encoder.encode(
    mapped
      .map((c) => String.fromCodePoint(c))
      .join('')
      .normalize('NFKC'),
  );
}
