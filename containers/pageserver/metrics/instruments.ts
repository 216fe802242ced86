/**
 * Counters, gauges and histograms that cost an addition: Prometheus's kinds without its client, which takes longer to load
 * than the rest of a wake. The client writes them out when somebody asks (exposition.ts).
 *
 * Labels are for what is seldom counted (a request to storage, a timeline at a scrape); what every read passes has none.
 */
import { assert } from '../../../lib/assert.ts';

export type Labels<L extends string> = Readonly<Record<L, string>>;
export interface Sample {
  labels: Readonly<Record<string, string>>;
  value: number;
}
export interface HistogramSample {
  labels: Readonly<Record<string, string>>;
  /** Observations at or below each bound, one for each of `bounds`; not cumulative. */
  counts: readonly number[];
  /** Observations above the last bound. */
  above: number;
  sum: number;
}

interface Described {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
}

/** Values by their labels; one without labels when there are none. */
class Family<L extends string, V> {
  readonly #labelNames: readonly L[];
  readonly #make: () => V;
  readonly #values = new Map<string, { labels: Labels<L>; value: V }>();
  #single: V | null = null;

  constructor(labelNames: readonly L[], make: () => V) {
    this.#labelNames = labelNames;
    this.#make = make;
    if (labelNames.length === 0) this.#single = make();
  }
  get(labels?: Labels<L>): V {
    if (this.#single !== null) return this.#single;
    assert(labels !== undefined, `labels ${this.#labelNames.join(', ')} are given`);
    const id = this.#labelNames.map((name) => labels[name]).join('\u0000');
    const known = this.#values.get(id);
    if (known !== undefined) return known.value;
    const value = this.#make();
    this.#values.set(id, { labels, value });
    return value;
  }
  clear(): void {
    this.#values.clear();
    if (this.#single !== null) this.#single = this.#make();
  }
  *entries(): Generator<{ labels: Readonly<Record<string, string>>; value: V }> {
    if (this.#single !== null) yield { labels: {}, value: this.#single };
    else yield* this.#values.values();
  }
}

export class Counter<L extends string = never> implements Described {
  readonly kind = 'counter';
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly L[];
  readonly #family: Family<L, { value: number }>;

  constructor(name: string, help: string, labelNames: readonly L[] = []) {
    assert(name.endsWith('_total'), `counter ${name} ends with _total`);
    [this.name, this.help, this.labelNames] = [name, help, labelNames];
    this.#family = new Family(labelNames, () => ({ value: 0 }));
  }
  inc(by = 1, labels?: Labels<L>): void {
    this.#family.get(labels).value += by;
  }
  /** Takes over a total that is counted elsewhere. */
  set(total: number, labels?: Labels<L>): void {
    this.#family.get(labels).value = total;
  }
  value(labels?: Labels<L>): number {
    return this.#family.get(labels).value;
  }
  *samples(): Generator<Sample> {
    for (const { labels, value } of this.#family.entries()) yield { labels, value: value.value };
  }
}

export class Gauge<L extends string = never> implements Described {
  readonly kind = 'gauge';
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly L[];
  readonly #family: Family<L, { value: number }>;

  constructor(name: string, help: string, labelNames: readonly L[] = []) {
    [this.name, this.help, this.labelNames] = [name, help, labelNames];
    this.#family = new Family(labelNames, () => ({ value: 0 }));
  }
  set(value: number, labels?: Labels<L>): void {
    this.#family.get(labels).value = value;
  }
  add(by: number, labels?: Labels<L>): void {
    this.#family.get(labels).value += by;
  }
  /** Forgets every label: what is gone is not to be shown with its last value. */
  clear(): void {
    this.#family.clear();
  }
  value(labels?: Labels<L>): number {
    return this.#family.get(labels).value;
  }
  *samples(): Generator<Sample> {
    for (const { labels, value } of this.#family.entries()) yield { labels, value: value.value };
  }
}

interface Observed {
  counts: number[];
  above: number;
  sum: number;
}
export class Histogram<L extends string = never> implements Described {
  readonly kind = 'histogram';
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly L[];
  readonly bounds: readonly number[];
  readonly #family: Family<L, Observed>;

  constructor(name: string, help: string, bounds: readonly number[], labelNames: readonly L[] = []) {
    [this.name, this.help, this.labelNames, this.bounds] = [name, help, labelNames, bounds];
    assert(
      bounds.every((bound, i) => i === 0 || bounds[i - 1] < bound),
      `bounds of ${name} ascend`,
    );
    this.#family = new Family(labelNames, () => ({ counts: bounds.map(() => 0), above: 0, sum: 0 }));
  }
  observe(value: number, labels?: Labels<L>): void {
    const observed = this.#family.get(labels);
    observed.sum += value;
    const { bounds } = this;
    let at = 0;
    while (at < bounds.length && value > bounds[at]) at++;
    if (at < bounds.length) observed.counts[at]++;
    else observed.above++;
  }
  count(labels?: Labels<L>): number {
    const { counts, above } = this.#family.get(labels);
    return counts.reduce((sum, count) => sum + count, above);
  }
  *samples(): Generator<HistogramSample> {
    for (const { labels, value } of this.#family.entries()) yield { labels, ...value };
  }
}

export type Instrument = Counter<string> | Gauge<string> | Histogram<string>;
