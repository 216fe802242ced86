/**
 * The running Ebb of a folder, for `ebb inspect`: its port from the lock, its key from config.json.
 */
import { readConfig, postgresUrl, type InstanceConfig } from '../../instance/config.ts';
import { ControlPlane, type Safekeepers } from '../../instance/control-plane.ts';
import { instanceFolder } from '../../instance/folder.ts';
import { readHolder, type Holder } from '../../instance/lock.ts';

/** Something that whoever asked can mend: the message says what. */
export class InspectError extends Error {
  override readonly name = 'InspectError';
}

export interface Target {
  dir: string;
  /** Default: the first project, and its first branch. */
  project?: string;
  branch?: string;
}

interface Overview {
  project: { id: string };
  branches: { id: string; name: string; timeline_id: string }[];
}

export class InspectClient {
  readonly #config: InstanceConfig;
  readonly #holder: Holder;
  readonly #http: string;
  readonly projectId: string;
  readonly branchId: string;
  readonly timelineId: string;

  private constructor(
    config: InstanceConfig,
    holder: Holder,
    projectId: string,
    branch: Overview['branches'][0],
  ) {
    this.#config = config;
    this.#holder = holder;
    this.#http = httpUrl(holder);
    this.projectId = projectId;
    this.branchId = branch.id;
    this.timelineId = branch.timeline_id;
  }

  /** Throws InspectError when no Ebb runs in the folder, or it has no such project or branch. */
  static async open(target: Target): Promise<InspectClient> {
    const folder = instanceFolder(target.dir);
    const holder = readHolder(folder.lock);
    if (!holder)
      throw new InspectError(`no Ebb runs in ${folder.root}: start it with ebb start, or give --dir`);
    const config = readConfig(folder.config);
    const projectId = target.project ?? config.connection?.projectId ?? (await firstProject(holder, config));
    const overview = (await getJson(holder, config, `/projects/${projectId}`)) as Overview;
    const branch = overview.branches.find(
      ({ id, name }) => target.branch === undefined || target.branch === id || target.branch === name,
    );
    if (!branch) throw new InspectError(`project ${projectId} has no branch ${target.branch ?? ''}`);
    return new InspectClient(config, holder, projectId, branch);
  }

  /** JSON from the pageserver's /inspect of this timeline. */
  pageserverJson(path: string): Promise<unknown> {
    return getJson(this.#holder, this.#config, this.#pageserverPath(path));
  }
  pageserverBytes(path: string): Promise<Uint8Array> {
    return this.#bytes(this.#pageserverPath(path));
  }
  /** From the safekeeper at place 1, 2 or 3 of this timeline. */
  safekeeperJson(number: number, path: string): Promise<unknown> {
    return getJson(this.#holder, this.#config, this.#safekeeperPath(number, path));
  }
  safekeeperBytes(number: number, path: string): Promise<Uint8Array> {
    return this.#bytes(this.#safekeeperPath(number, path));
  }

  /** Who holds the log of this branch's timeline. */
  async safekeepers(): Promise<Safekeepers> {
    return (await this.#controlPlane().safekeepers(this.projectId, this.branchId)).safekeepers;
  }
  /** Puts another safekeeper at a place; answers when it is done, or goes on without us (`changing`). */
  async replaceSafekeeper(place: number): Promise<Safekeepers> {
    return (await this.#controlPlane().replaceSafekeeper(this.projectId, this.branchId, place)).safekeepers;
  }
  #controlPlane(): ControlPlane {
    return new ControlPlane(this.#http, this.#config.apiKey);
  }

  /** One query as the owner of the first project; wakes its compute. Throws InspectError with Postgres's message. */
  async sql<Row>(query: string, params: readonly unknown[], database?: string): Promise<Row[]> {
    const { connection } = this.#config;
    if (connection?.projectId !== this.projectId) {
      throw new InspectError(`no connection to project ${this.projectId} is known: give numbers, not names`);
    }
    const url = postgresUrl(
      { ...connection, database: database ?? connection.database },
      this.#holder.postgresPort,
    );
    const response = await fetch(`${this.#http}/sql`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Neon-Connection-String': url },
      body: JSON.stringify({ query, params }),
    });
    const text = await response.text();
    const answer = jsonOr(text) as { rows?: Row[]; message?: string } | null;
    if (!response.ok || !answer?.rows) {
      throw new InspectError(`POST /sql: ${response.status} ${answer?.message ?? text.slice(0, 200)}`);
    }
    return answer.rows;
  }

  #pageserverPath(path: string): string {
    return `/projects/${this.projectId}/pageserver/${this.timelineId}${path}`;
  }
  #safekeeperPath(number: number, path: string): string {
    return `/projects/${this.projectId}/safekeepers/${this.timelineId}/${number}${path}`;
  }
  async #bytes(path: string): Promise<Uint8Array> {
    return new Uint8Array(await (await get(this.#holder, this.#config, path)).arrayBuffer());
  }
}

/** Null when `text` is not JSON. */
function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const httpUrl = (holder: Holder): string => `http://127.0.0.1:${holder.httpPort}`;

async function firstProject(holder: Holder, config: InstanceConfig): Promise<string> {
  const [project] = await new ControlPlane(httpUrl(holder), config.apiKey).projects();
  if (!project) throw new InspectError('there is no project');
  return project;
}

async function getJson(holder: Holder, config: InstanceConfig, path: string): Promise<unknown> {
  return (await get(holder, config, path)).json();
}

async function get(holder: Holder, config: InstanceConfig, path: string): Promise<Response> {
  const response = await fetch(`${httpUrl(holder)}/inspect${path}`, {
    headers: { Authorization: `Bearer ${config.apiKey}` },
  });
  if (response.ok) return response;
  const text = await response.text();
  const { message } = (jsonOr(text) ?? {}) as { message?: string };
  throw new InspectError(message ?? `GET /inspect${path}: ${response.status} ${text.slice(0, 500)}`);
}
