/**
 * One run of the Postgres server: started once, watched, stopped once. Never restarted: a compute that needs
 * Postgres again boots anew, at the LSN where the durable WAL ends.
 *
 *   starting ──ready──► running ──stop()──► stopping ──exit──► stopped
 *       └───── exit ───────┴─ exit (nobody asked) ─────────────► stopped, as a crash
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { commandAs, type Identity } from './identity.ts';
import { CancelledWaits, isReadyLine, LineSplitter, parseLogLine, type LogLine } from './server-log.ts';

export interface PostmasterOptions {
  program: string;
  dataDirectory: string;
  identity: Identity;
  /** Every line of the server's log, in order. */
  onLog: (line: LogLine) => void;
  /** Backend `pid` has given up waiting for the quorum, and is about to report its commit. */
  onCancelledWait: (pid: number) => void;
}

/** How a server ended. `crashed`: nobody had asked it to stop. */
export interface PostmasterExit {
  code: number | null;
  signal: NodeJS.Signals | null;
  crashed: boolean;
}

export type StopMode = 'fast' | 'immediate';
const STOP_SIGNAL: Readonly<Record<StopMode, NodeJS.Signals>> = { fast: 'SIGINT', immediate: 'SIGQUIT' };
/** Lines of the log that are kept for the message of a failed start. */
const LAST_LINES_MAX = 40;

export class PostmasterError extends Error {
  override readonly name = 'PostmasterError';
}

export class Postmaster {
  readonly pid: number;
  /** Resolves when the server has exited and its log has ended. */
  readonly exited: Promise<PostmasterExit>;
  readonly #child: ChildProcess;
  readonly #ready: Promise<void>;
  #lastLines: string[] = [];
  #stopRequested = false;

  private constructor(child: ChildProcess, pid: number, options: PostmasterOptions) {
    this.#child = child;
    this.pid = pid;
    const ready = Promise.withResolvers<void>();
    this.#ready = ready.promise;
    const lines = new LineSplitter((text) => {
      const line = parseLogLine(text);
      this.#lastLines.push(text);
      if (this.#lastLines.length > LAST_LINES_MAX) this.#lastLines.shift();
      options.onLog(line);
      if (isReadyLine(line)) ready.resolve();
    });
    const cancelledWaits = new CancelledWaits(options.onCancelledWait);
    child.stderr?.on('data', (chunk: Buffer) => {
      cancelledWaits.push(chunk);
      lines.push(chunk);
    });
    this.exited = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        lines.end();
        ready.reject(
          new PostmasterError(
            `postgres exited with ${code ?? signal} before it was ready:\n${this.#lastLines.join('\n')}`,
          ),
        );
        resolve({ code, signal, crashed: !this.#stopRequested });
      });
    });
    this.#ready.catch(() => undefined); // whoever waits by `ready()` gets it
  }

  /** Spawns the server. Throws PostmasterError when the program cannot be run. */
  static async start(options: PostmasterOptions): Promise<Postmaster> {
    const { command, ids } = commandAs(options.identity, options.program, ['-D', options.dataDirectory]);
    const child = spawn(command[0], command.slice(1), {
      ...ids,
      cwd: '/',
      env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (cause) =>
        reject(new PostmasterError(`${command[0]} cannot be run: ${cause.message}`, { cause })),
      );
    });
    return new Postmaster(child, child.pid ?? 0, options);
  }

  /** Resolves when the server takes connections. Throws PostmasterError with the log's end when it exits instead. */
  ready(): Promise<void> {
    return this.#ready;
  }

  /**
   * Asks the server to stop. `fast` ends sessions, writes the shutdown checkpoint and waits until the proposer
   * has confirmed all WAL (WalSndDone); `immediate` does nothing of that.
   */
  stop(mode: StopMode): Promise<PostmasterExit> {
    this.#stopRequested = true;
    this.#child.kill(STOP_SIGNAL[mode]);
    return this.exited;
  }
}
