/** The metrics as Prometheus reads them, and docs/METRICS.md as people do: both say the same. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { exposition, instrumentsOf } from '../../../../containers/pageserver/metrics/exposition.ts';
import { Counter, Gauge, Histogram } from '../../../../containers/pageserver/metrics/instruments.ts';
import { newMetrics } from '../../../../containers/pageserver/metrics/metrics.ts';

const DOCUMENT = join(import.meta.dirname, '../../../../docs/METRICS.md');

/** Rows `| name | kind | labels | meaning |` of every table. */
function documented(): string[][] {
  return readFileSync(DOCUMENT, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| `ebb_pageserver_'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}
const row = ({ name, kind, labelNames, help }: (typeof registered)[number]): string[] => [
  `\`${name}\``,
  kind,
  labelNames.map((label) => `\`${label}\``).join(', '),
  help,
];
const registered = instrumentsOf(newMetrics());

test('docs/METRICS.md lists exactly what there is', () => {
  const up = ['`ebb_pageserver_up`', 'gauge', '', 'Whether the pageserver runs'];
  const lines = (rows: string[][]) => rows.map((cells) => cells.join(' | ')).sort();
  expect(lines(documented())).toEqual(lines([up, ...registered.map(row)]));
});

describe('names', () => {
  test.each(registered.map(({ name, kind }) => [name, kind] as const))('%s (%s)', (name, kind) => {
    expect(name).toMatch(/^ebb_pageserver_[a-z0-9_]*[a-z0-9]$/);
    expect(name.endsWith('_total')).toBe(kind === 'counter');
    expect(name, 'base units only').not.toMatch(/_(ms|milliseconds|kib|mib|kb|mb)(_|$)/);
  });
});

describe('exposition', () => {
  test('writes counters, gauges and histograms, with labels escaped', async () => {
    const metrics = newMetrics();
    metrics.ingestedRecords.inc(3);
    metrics.storageRequests.inc(2, { operation: 'put', outcome: 'o"k\n' });
    for (const value of [0.0001, 0.2, 0.2, 99])
      metrics.storageRequestSeconds.observe(value, { operation: 'get' });
    metrics.collectors.add(() => metrics.timelines.set(7));
    const { contentType, text } = await exposition(metrics, false);
    expect(contentType).toContain('text/plain');
    const lines = (await text()).split('\n');
    expect(lines).toContain('# TYPE ebb_pageserver_ingested_records_total counter');
    expect(lines).toContain('ebb_pageserver_ingested_records_total 3');
    expect(lines).toContain('ebb_pageserver_timelines 7');
    expect(lines).toContain(
      String.raw`ebb_pageserver_storage_requests_total{operation="put",outcome="o\"k\n"} 2`,
    );
    const name = 'ebb_pageserver_storage_request_seconds';
    expect(lines.filter((line) => line.startsWith(`${name}_`)).map((line) => line.split(' '))).toEqual(
      expect.arrayContaining([
        [`${name}_bucket{le="0.0005",operation="get"}`, '1'],
        [`${name}_bucket{le="0.1",operation="get"}`, '1'],
        [`${name}_bucket{le="0.2",operation="get"}`, '3'],
        [`${name}_bucket{le="30",operation="get"}`, '3'],
        [`${name}_bucket{le="+Inf",operation="get"}`, '4'],
        [`${name}_count{operation="get"}`, '4'],
      ]),
    );
  });

  test('what a process says of itself is in it by default', async () => {
    const { text } = await exposition(newMetrics());
    expect(await text()).toMatch(/^process_resident_memory_bytes \d+$/m);
  });
});

test('instruments refuse what Prometheus would not take', () => {
  expect(() => new Counter('ebb_things', '')).toThrow('_total');
  expect(() => new Histogram('ebb_seconds', '', [1, 1])).toThrow('ascend');
  const gauge = new Gauge('ebb_gauge', '', ['a'] as const);
  gauge.set(2, { a: 'x' });
  gauge.clear();
  expect([...gauge.samples()]).toEqual([]);
  expect(() => gauge.set(1)).toThrow('labels a');
});
