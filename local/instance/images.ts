/** The images of Ebb's containers on one machine: the containers' own programs, run by this Node. */
import { ENV, CONTAINER_PORT } from '../../lib/protocol/specs.ts';
import type { Images } from '../engine/images.ts';
import type { Programs } from './programs.ts';

/**
 * `template` is the folder of the initdb template. Who sets EBB_DATA_DIRECTORY for the whole chooses for its computes
 * (`plain` where FUSE could be mounted but should not).
 */
export const ebbImages = (programs: Programs, template: string): Images => ({
  compute: {
    command: [process.execPath, ...programs.compute],
    takesConnections: true,
    ports: [CONTAINER_PORT.http, CONTAINER_PORT.postgres],
    env: { NODE_COMPILE_CACHE: programs.compiled, ...given(ENV.dataDirectory) },
  },
  pageserver: {
    command: [process.execPath, ...programs.pageserver],
    takesConnections: true,
    ports: [CONTAINER_PORT.http],
    env: { NODE_COMPILE_CACHE: programs.compiled, [ENV.template]: template },
  },
});

function given(name: string): Record<string, string> {
  const value = process.env[name];
  return value === undefined ? {} : { [name]: value };
}
