/**
 * The process of a compute container: listens first, boots, serves, and exits with a code that says why.
 *
 * It is started by its Durable Object with a specification in the environment (config.ts), and lives no longer than
 * its Postgres.
 */
import { flushCompileCache } from 'node:module';
import { pino } from 'pino';
import { Compute } from './compute.ts';
import { readConfig } from './config.ts';
import { EXIT } from './exit-codes.ts';
import { createHttpServer } from './http/server.ts';
import { socketPath } from './postgres/settings.ts';

/** For the last answers (a failed /ready, /suspend) to be sent before the process ends. */
const LINGER_MS = 200;

/** For the next start to find compiled code though this process be killed. */
const FLUSH_AFTER_MS = 3000;

const config = readConfig(process.env);
const { spec } = config;
const log = pino({
  level: process.env['EBB_LOG_LEVEL'] ?? 'info',
  base: { what: 'compute', endpointId: spec.endpointId, term: spec.term },
});
const compute = new Compute(config, log);
const server = createHttpServer({
  compute,
  sessionToken: spec.sessionToken,
  socketPath: socketPath(config.folders),
});

server.listen(config.httpPort, config.listen);
server.once('error', (err) => {
  log.fatal({ err }, `cannot listen on ${config.listen}:${config.httpPort}`);
  process.exit(EXIT.failed);
});
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void compute.suspend());
process.on('uncaughtException', (err) => {
  log.fatal({ err }, 'uncaught');
  process.exit(EXIT.failed);
});

await compute.gateway.listen(config.postgresPort, config.listen);
compute.start().then(
  () => setTimeout(flushCompileCache, FLUSH_AFTER_MS).unref(),
  () => undefined, // `exited` says how it ended
);

const code = await compute.exited;
log.info({ code }, 'exit');
const linger = setTimeout(() => process.exit(code), LINGER_MS);
server.close(() => {
  clearTimeout(linger);
  process.exit(code);
});
