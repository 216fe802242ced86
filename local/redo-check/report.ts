/** What a person reads of a check: a table by record type, then what went wrong. */
import type { CheckCount } from '../../lib/postgres/redo/check/check.ts';
import type { CheckFolderResult } from './check-folder.ts';

/** One line per record type that was seen; then the names of those that were not. */
export function formatCounts(counts: readonly CheckCount[]): string {
  const nameOf = ({ resourceManager, type }: CheckCount) => `${resourceManager}/${type}`;
  const seen = counts.filter(({ records }) => records > 0);
  const width = Math.max(11, ...seen.map((count) => nameOf(count).length));
  const line = (name: string, cells: (string | number)[]) =>
    [name.padEnd(width), ...cells.map((cell) => String(cell).padStart(10))].join(' ');
  const never = counts.filter(({ records }) => records === 0).map(nameOf);
  return [
    line('record type', ['records', 'blocks', 'compared', 'mismatches', 'errors']),
    ...seen.map((count) =>
      line(nameOf(count), [count.records, count.blocks, count.compared, count.mismatches, count.errors]),
    ),
    ...(never.length > 0 ? ['', `never seen: ${never.join(', ')}`] : []),
  ].join('\n');
}

/** The whole report. */
export function formatResult(result: CheckFolderResult): string {
  const { failures, undecodable } = result;
  const compared = result.counts.reduce((sum, count) => sum + count.compared, 0);
  const lines = [
    formatCounts(result.counts),
    '',
    `${result.records} records from ${result.from} to ${result.to}: ${compared} blocks compared, ` +
      `${result.mismatches} mismatches, ${result.errors} errors`,
  ];
  const { adopted, unknown, ahead } = result;
  if (adopted + unknown + ahead > 0) {
    lines.push(
      `not compared: ${adopted} blocks taken over from their first image, ${unknown} without a known state, ${ahead} newer than the record`,
    );
  }
  if (compared === 0) {
    lines.push(
      'nothing was compared: no record has an image for it; the server that wrote this had wal_consistency_checking off',
    );
  }
  if (failures.length > 0) lines.push('', ...failures);
  if (undecodable !== null) lines.push('', `undecodable: ${undecodable}`);
  return lines.join('\n');
}

/** 0 only if every record was decoded, every block replayed, and nothing differed. */
export const exitCodeOf = (result: CheckFolderResult): number =>
  result.mismatches === 0 && result.errors === 0 && result.undecodable === null ? 0 : 1;
