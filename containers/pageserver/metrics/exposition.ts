/** The metrics in Prometheus's text format, by its own client, which is loaded when somebody first asks. */
import type { Registry } from 'prom-client';
import { Counter, Gauge, Histogram, type Instrument } from './instruments.ts';
import type { Metrics } from './metrics.ts';

export interface Exposition {
  contentType: string;
  text(): Promise<string>;
}

export const instrumentsOf = (metrics: Metrics): Instrument[] =>
  Object.values(metrics).filter(
    (each): each is Instrument =>
      each instanceof Counter || each instanceof Gauge || each instanceof Histogram,
  );

/** `processMetrics`: also what Node says of its process (memory, event loop, CPU). */
export async function exposition(metrics: Metrics, processMetrics = true): Promise<Exposition> {
  const { Registry, collectDefaultMetrics } = await import('prom-client');
  const registry = new Registry();
  if (processMetrics) collectDefaultMetrics({ register: registry });
  for (const instrument of instrumentsOf(metrics)) register(registry, instrument);
  return {
    contentType: registry.contentType,
    text: () => {
      for (const collect of metrics.collectors) collect();
      return registry.metrics();
    },
  };
}

/** A registry takes whatever has a name and, at a scrape, says its values: that is all that its own classes are to it. */
function register(registry: Registry, instrument: Instrument): void {
  const { name, help, kind } = instrument;
  const metric = {
    name,
    get: () =>
      Promise.resolve({
        name,
        help,
        type: kind,
        aggregator: 'sum',
        values: kind === 'histogram' ? bucketValues(instrument) : [...instrument.samples()],
      }),
  };
  registry.registerMetric(metric as unknown as Parameters<Registry['registerMetric']>[0]);
}

function bucketValues(histogram: Histogram<string>) {
  const { name, bounds } = histogram;
  return [...histogram.samples()].flatMap(({ labels, counts, above, sum }) => {
    let count = 0;
    const buckets = bounds.map((le, at) => {
      count += counts[at];
      return { metricName: `${name}_bucket`, labels: { le: String(le), ...labels }, value: count };
    });
    count += above;
    return [
      ...buckets,
      { metricName: `${name}_bucket`, labels: { le: '+Inf', ...labels }, value: count },
      { metricName: `${name}_sum`, labels, value: sum },
      { metricName: `${name}_count`, labels, value: count },
    ];
  });
}
