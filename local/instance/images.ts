/** The images of Ebb's containers on one machine: the containers' own programs, run by this Node. */
import { join } from 'node:path';
import { ENV, CONTAINER_PORT } from '../../lib/protocol/specs.ts';
import { ROOT } from '../edge/wrangler-config.ts';
import type { Images } from '../engine/images.ts';

const program = (main: string): string[] => [
  process.execPath,
  join(ROOT, 'local/engine/run-program.ts'),
  join(ROOT, main),
];

/** Compiled code is kept between starts, in a folder that no other user of the machine can write to. */
const COMPILE_CACHE = { NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/ebb') };

/** `template` is the folder of the initdb template. */
export const ebbImages = (template: string): Images => ({
  compute: {
    command: program('containers/compute/main.ts'),
    takesConnections: true,
    ports: [CONTAINER_PORT.http, CONTAINER_PORT.postgres],
    env: COMPILE_CACHE,
  },
  pageserver: {
    command: program('containers/pageserver/main.ts'),
    takesConnections: true,
    ports: [CONTAINER_PORT.http],
    env: { ...COMPILE_CACHE, [ENV.template]: template },
  },
});
