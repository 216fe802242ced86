import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { recordTypes, recordTypeTable, workloadsFor } from '../../../support/redo-workloads/table.ts';
import { UNREACHABLE } from '../../../support/redo-workloads/server.ts';

test('every record type is reached by a workload, or it is said why not', () => {
  const open = [...recordTypes()].filter(({ name }) => workloadsFor(name).length > 0 === name in UNREACHABLE);
  expect(open.map(({ name }) => name)).toEqual([]);
});

test('the table of record types is up to date', () => {
  const file = new URL('../../../../docs/formats/wal-record-types.md', import.meta.url);
  expect(readFileSync(file, 'utf8')).toBe(recordTypeTable());
});
