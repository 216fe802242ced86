/** The images of Ebb's containers on one machine: the containers' own programs, run by this Node. */
import { join } from 'node:path';
import { ENV, CONTAINER_PORT } from '../../lib/protocol/specs.ts';
import { ROOT } from '../edge/wrangler-config.ts';
import type { Images } from '../engine/images.ts';

/** `template` is the folder of the initdb template. */
export const ebbImages = (template: string): Images => ({
  compute: {
    command: [process.execPath, join(ROOT, 'containers/compute/main.ts')],
    ports: [CONTAINER_PORT.http, CONTAINER_PORT.postgres],
    env: {},
  },
  pageserver: {
    command: [process.execPath, join(ROOT, 'containers/pageserver/main.ts')],
    ports: [CONTAINER_PORT.http],
    env: { [ENV.template]: template },
  },
});
