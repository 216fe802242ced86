/** Names and texts inside SQL that takes no parameters (utility statements). */

/** `"name"`. Throws RangeError for what Postgres cannot have as a name. */
export function quoteIdentifier(name: string): string {
  if (name === '' || name.includes('\0')) throw new RangeError(`not a name: ${JSON.stringify(name)}`);
  return `"${name.replaceAll('"', '""')}"`;
}

/** `'text'`, for sessions with standard_conforming_strings=on. Throws RangeError for a zero byte. */
export function quoteLiteral(text: string): string {
  if (text.includes('\0')) throw new RangeError('a text with a zero byte cannot be sent to Postgres');
  return `'${text.replaceAll("'", "''")}'`;
}
