/**
 * The folder of one Ebb: where everything lies, and who may see it.
 *
 *   config.json      keys and the first project's connection (0600)
 *   template/18/     what initdb made
 *   state/           Durable Objects (SQLite) and the bucket
 *   disks/NAME/      a running container's disk
 *   run/             lock, sockets, temporary files
 *   logs/
 *
 * Postgres runs under another uid and must reach its disk, so others may pass through the folder and through
 * disks/, but neither list nor read them.
 */
import { mkdirSync, realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';

export interface InstanceFolder {
  /** Absolute, without symbolic links. */
  root: string;
  config: string;
  template: string;
  state: string;
  run: string;
  logs: string;
  lock: string;
  engineSocket: string;
  /** Emptied at every start. */
  temporary: string;
  edgeLog: string;
}

/** Longest path of a unix socket: sun_path holds 108 bytes with the final zero (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107;

/** Names the places of the folder `dir` without touching it. */
export function instanceFolder(dir: string): InstanceFolder {
  const root = resolve(dir);
  const run = join(root, 'run');
  return {
    root,
    run,
    config: join(root, 'config.json'),
    template: join(root, 'template', '18'),
    state: join(root, 'state'),
    logs: join(root, 'logs'),
    lock: join(run, 'ebb.json'),
    engineSocket: join(run, 'engine.sock'),
    temporary: join(run, 'tmp'),
    edgeLog: join(root, 'logs', 'edge.log'),
  };
}

/** Makes what is missing. Throws when the path is too long for the sockets in it. */
export function prepareFolder(dir: string): InstanceFolder {
  mkdirSync(resolve(dir), { recursive: true, mode: 0o711 });
  const folder = instanceFolder(realpathSync(dir));
  const bytes = Buffer.byteLength(folder.engineSocket);
  if (bytes > SOCKET_PATH_BYTES_MAX) {
    throw new Error(
      `--dir is too long: ${folder.engineSocket} has ${bytes} bytes, a socket's path at most 107`,
    );
  }
  for (const path of [folder.state, folder.run, folder.logs])
    mkdirSync(path, { recursive: true, mode: 0o700 });
  mkdirSync(join(folder.root, 'disks'), { recursive: true, mode: 0o711 });
  return folder;
}
