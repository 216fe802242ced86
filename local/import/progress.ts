/** How far an import is: a bar on a terminal, a line every few seconds elsewhere. */
const BAR_CELLS = 30;
const TERMINAL_MS = 100;
const LOG_MS = 5_000;

export interface ProgressOutput {
  isTTY?: boolean;
  write(text: string): unknown;
}

export class Progress {
  readonly #output: ProgressOutput;
  readonly #now: () => number;
  #shownAt = -Infinity;
  #step = '';
  #isComplete = false;

  constructor(output: ProgressOutput, now: () => number = () => performance.now()) {
    this.#output = output;
    this.#now = now;
  }
  /** `done` of `total` bytes of a step; a step whose total was guessed too low goes on. */
  show(step: string, done: number, total: number): void {
    const isTerminal = this.#output.isTTY === true;
    const isNew = step !== this.#step;
    const isLast = done >= total && (isNew || !this.#isComplete);
    if (!isNew && !isLast && this.#now() - this.#shownAt < (isTerminal ? TERMINAL_MS : LOG_MS)) return;
    if (isNew && isTerminal && this.#step !== '') this.#output.write('\n');
    this.#step = step;
    this.#isComplete = done >= total;
    this.#shownAt = this.#now();
    const part = total === 0 ? 1 : Math.min(1, done / total);
    const figures = `${mebibytes(done)} of ${mebibytes(total)} MiB`;
    if (!isTerminal) this.#output.write(`${step}: ${figures}\n`);
    else {
      const cells = Math.round(part * BAR_CELLS);
      const bar = '█'.repeat(cells).padEnd(BAR_CELLS, '░');
      this.#output.write(
        `\r${step} ${bar} ${String(Math.floor(part * 100)).padStart(3)} %  ${figures}\x1b[K`,
      );
    }
  }
  /** A line of its own. */
  say(line: string): void {
    if (this.#output.isTTY === true && this.#step !== '') this.#output.write('\n');
    this.#step = '';
    this.#output.write(`${line}\n`);
  }
}
const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
