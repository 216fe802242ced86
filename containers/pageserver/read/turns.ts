/**
 * Whose read comes next: every timeline that has something to do gets one step in its turn, however much the others ask for.
 *
 *   owner A  ▮▮▮▮▮▮▮▮▮▮      A B A B A …   one step each; of one owner in the order of asking
 *   owner B  ▮▮
 *
 * A step is a few pages. While nobody waits it is done on the spot; after SLICE_MS the loop turns, so that sockets,
 * ingest and timers get theirs. Steps that wait for object storage run beside each other, RUNNING_MAX of an owner at a time.
 */

/** Time after which other work gets a turn. */
const SLICE_MS = 2;
/** Steps of one owner that wait for something at a time. */
const RUNNING_MAX = 32;

interface Queue {
  readonly steps: (() => void)[];
  /** Steps that have begun and wait. */
  running: number;
}

export class Turns {
  /** Those that have a step waiting or running; who is first has waited longest. */
  readonly #queues = new Map<object, Queue>();
  #waiting = 0;
  /** 0: this turn of the loop has done nothing yet. */
  #sliceEnd = 0;

  /** Runs `step` when it is the turn of `owner`; its result, at once or later. */
  run<T>(owner: object, step: () => T | Promise<T>): T | Promise<T> {
    const queue = this.#queues.get(owner);
    if (this.#waiting === 0 && (queue?.running ?? 0) < RUNNING_MAX && this.#hasTime()) {
      const result = step();
      return result instanceof Promise ? this.#wait(owner, result) : result;
    }
    return new Promise<T>((resolve) => {
      this.#queueOf(owner).steps.push(() => resolve(this.#begin(owner, step)));
      this.#waiting++;
      this.#hasTime();
    });
  }
  /** As a promise whatever the step does. */
  async #begin<T>(owner: object, step: () => T | Promise<T>): Promise<T> {
    const result = step();
    return result instanceof Promise ? this.#wait(owner, result) : result;
  }

  #queueOf(owner: object): Queue {
    let queue = this.#queues.get(owner);
    if (queue === undefined) this.#queues.set(owner, (queue = { steps: [], running: 0 }));
    return queue;
  }
  async #wait<T>(owner: object, result: Promise<T>): Promise<T> {
    const queue = this.#queueOf(owner);
    queue.running++;
    try {
      return await result;
    } finally {
      queue.running--;
      if (queue.running === 0 && queue.steps.length === 0) this.#queues.delete(owner);
      else if (queue.steps.length > 0) this.#hasTime();
    }
  }

  /** Whether this turn of the loop may still do something; sees to it that there will be another. */
  #hasTime(): boolean {
    const now = performance.now();
    if (this.#sliceEnd === 0) {
      this.#sliceEnd = now + SLICE_MS;
      setImmediate(() => this.#turn());
    }
    return now < this.#sliceEnd;
  }
  #turn(): void {
    this.#sliceEnd = 0;
    if (this.#waiting === 0) return;
    while (this.#hasTime()) if (!this.#next()) return;
  }
  /** One step of the owner whose turn it is; false when nobody has one that may begin. */
  #next(): boolean {
    for (const [owner, queue] of this.#queues) {
      if (queue.running >= RUNNING_MAX || queue.steps.length === 0) continue;
      const step = queue.steps.shift()!;
      this.#waiting--;
      this.#queues.delete(owner);
      if (queue.steps.length > 0 || queue.running > 0) this.#queues.set(owner, queue);
      step();
      return true;
    }
    return false;
  }
}
