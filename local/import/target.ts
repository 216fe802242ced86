/** Where an import goes: the Ebb that runs in a folder, or one with a URL and a key. */
import { readConfig } from '../instance/config.ts';
import { ControlPlane } from '../instance/control-plane.ts';
import { instanceFolder } from '../instance/folder.ts';
import { readHolder } from '../instance/lock.ts';
import { InspectError } from '../cli/inspect/client.ts';

/** Throws InspectError when there is none. */
export function controlPlaneOf(options: { dir: string; to?: string; apiKey?: string }): ControlPlane {
  const { to, apiKey } = options;
  if (to !== undefined) {
    if (apiKey === undefined) throw new InspectError('--to wants --api-key (or EBB_API_KEY) with it');
    return new ControlPlane(to.replace(/\/$/, ''), apiKey);
  }
  const folder = instanceFolder(options.dir);
  const holder = readHolder(folder.lock);
  if (!holder)
    throw new InspectError(`no Ebb runs in ${folder.root}: start it with ebb start, or give --dir or --to`);
  return new ControlPlane(`http://127.0.0.1:${holder.httpPort}`, readConfig(folder.config).apiKey);
}
