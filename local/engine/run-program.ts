/**
 * Runs a container's program with the hand-over of connections: `node run-program.ts MAIN [ARGUMENT …]`.
 *
 * Not `node --import handoff.ts MAIN`, because worker threads inherit that and would load it each.
 */
import { pathToFileURL } from 'node:url';
import './handoff.ts';

process.argv.splice(1, 1);
await import(pathToFileURL(process.argv[1]).href);
