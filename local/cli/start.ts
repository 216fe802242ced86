/** `ebb start`: says when it is ready and how to connect, and stops when it is told to. */
import { startInstance, type Instance } from '../instance/instance.ts';

export interface StartOptions {
  dir: string;
  port: number;
  pgPort: number;
  suspendAfter?: number;
  json?: boolean;
}

const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** Ctrl-C reaches us and our parent, which passes it on: what comes so soon after the first is the same one. */
const SAME_SIGNAL_MS = 1000;

/** Runs until a signal or a failure. Sets the process's exit code. */
export async function start(options: StartOptions): Promise<void> {
  const begin = performance.now();
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const stopAsked = untilStopSignal();
  const fault = untilFault();
  const starting = startInstance({
    dir: options.dir,
    httpPort: options.port,
    postgresPort: options.pgPort,
    suspendAfterSeconds: options.suspendAfter ?? null,
    progress: say,
  });
  const instance = await Promise.race([starting, fault]);
  const line = options.json ? jsonLine(instance) : readyLine(instance, performance.now() - begin);
  process.stdout.write(`${line}\n`);
  try {
    await Promise.race([stopAsked, instance.failed, fault]);
    say('Stopping …');
  } catch (error) {
    say(`ebb: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    process.exitCode = 1;
  }
  await instance.stop();
  // Nothing of ours keeps the process alive any more; what libraries left open must not either.
  process.exit();
}

/** Resolves at the first signal to stop. A second one, later, ends the process at once. */
function untilStopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let first = 0;
    for (const signal of STOP_SIGNALS) {
      process.on(signal, () => {
        if (first === 0) first = performance.now();
        else if (performance.now() - first > SAME_SIGNAL_MS) process.exit(1);
        resolve();
      });
    }
  });
}

/** Rejects at an error that nothing handled: the containers and the runtime are to be ended all the same. */
function untilFault(): Promise<never> {
  const fault = Promise.withResolvers<never>();
  fault.promise.catch(() => undefined);
  process.on('uncaughtException', (error) => fault.reject(error));
  process.on('unhandledRejection', (reason) => fault.reject(reason));
  return fault.promise;
}

const jsonLine = ({ postgresUrl, httpUrl, apiKey }: Instance): string =>
  JSON.stringify({ postgres: postgresUrl, http: httpUrl, apiKey, pid: process.pid });

const readyLine = ({ postgresUrl, httpUrl, apiKey }: Instance, tookMs: number): string =>
  `Ready in ${(tookMs / 1000).toFixed(1)} s: psql '${postgresUrl}'   HTTP ${httpUrl}   API key ${apiKey}`;
