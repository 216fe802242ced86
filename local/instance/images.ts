/** The images of Ebb's containers on one machine: the containers' own programs, run by this Node. */
import { ENV, CONTAINER_PORT } from '../../lib/protocol/specs.ts';
import type { Images } from '../engine/images.ts';
import type { Programs } from './programs.ts';

/** `template` is the folder of the initdb template. */
export const ebbImages = (programs: Programs, template: string): Images => ({
  compute: {
    command: [process.execPath, ...programs.compute],
    takesConnections: true,
    ports: [CONTAINER_PORT.http, CONTAINER_PORT.postgres],
    env: { NODE_COMPILE_CACHE: programs.compiled },
  },
  pageserver: {
    command: [process.execPath, ...programs.pageserver],
    takesConnections: true,
    ports: [CONTAINER_PORT.http],
    env: { NODE_COMPILE_CACHE: programs.compiled, [ENV.template]: template },
  },
});
