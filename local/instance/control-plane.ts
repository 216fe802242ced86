/** What the one-machine Ebb asks of its own control plane (/api/v2): is there a project, make the first one. */
import { z } from 'zod';
import type { Connection } from './config.ts';

const ConnectionParameters = z.object({ database: z.string(), password: z.string(), role: z.string() });
const CreatedProject = z.object({
  project: z.object({ id: z.string() }),
  endpoints: z.array(z.object({ id: z.string() })).min(1),
  connection_uris: z.array(z.object({ connection_parameters: ConnectionParameters })).min(1),
});
const CreatedImport = z.object({
  project: z.object({ id: z.string() }),
  timeline_id: z.string(),
  connection_uris: z
    .array(
      z.object({
        connection_uri: z.string(),
        connection_parameters: z.object({ password: z.string().optional() }),
      }),
    )
    .min(1),
});
const Projects = z.object({ projects: z.array(z.object({ id: z.string() })) });
const Branches = z.object({ branches: z.array(z.object({ id: z.string(), default: z.boolean() })) });
const Endpoints = z.object({
  endpoints: z.array(
    z.object({
      id: z.string(),
      branch_id: z.string(),
      type: z.string(),
      suspend_timeout_seconds: z.number(),
    }),
  ),
});
const Databases = z.object({ databases: z.array(z.object({ name: z.string(), owner_name: z.string() })) });
const SafekeepersAnswer = z.object({
  safekeepers: z.object({
    generation: z.number(),
    members: z.array(z.number()),
    new_members: z.array(z.number()).nullable(),
    changing: z.boolean(),
  }),
});
export type Safekeepers = z.infer<typeof SafekeepersAnswer>['safekeepers'];
const ResetRole = z.object({ role: z.object({ name: z.string(), password: z.string() }) });

const PUT_ATTEMPTS_MAX = 5;

export class ControlPlaneError extends Error {
  override readonly name = 'ControlPlaneError';
  readonly status: number;
  constructor(method: string, path: string, status: number, answer: string) {
    super(`control plane: ${method} ${path}: ${status} ${answer}`);
    this.status = status;
  }
}

export class ControlPlane {
  readonly #base: string;
  readonly #apiKey: string;

  constructor(httpUrl: string, apiKey: string) {
    this.#base = `${httpUrl}/api/v2`;
    this.#apiKey = apiKey;
  }

  async projects(): Promise<string[]> {
    return Projects.parse(await this.#call('GET', '/projects')).projects.map((project) => project.id);
  }

  async safekeepers(projectId: string, branchId: string): Promise<z.infer<typeof SafekeepersAnswer>> {
    const path = `/projects/${projectId}/branches/${branchId}/safekeepers`;
    return SafekeepersAnswer.parse(await this.#call('GET', path));
  }
  async replaceSafekeeper(
    projectId: string,
    branchId: string,
    place: number,
  ): Promise<z.infer<typeof SafekeepersAnswer>> {
    const path = `/projects/${projectId}/branches/${branchId}/safekeepers/${place}/replace`;
    return SafekeepersAnswer.parse(await this.#call('POST', path));
  }

  /** Creates the first project: database `main`, an owner role. */
  async createProject(): Promise<Connection> {
    const created = CreatedProject.parse(
      await this.#call('POST', '/projects', { project: { name: 'main' } }),
    );
    const { database, role, password } = created.connection_uris[0].connection_parameters;
    return { projectId: created.project.id, endpointId: created.endpoints[0].id, database, role, password };
  }

  /** A connection to a project whose password is not known (any more): gives its owner a new one. To its default branch. */
  async resetConnection(projectId: string): Promise<Connection> {
    const project = `/projects/${projectId}`;
    const { branches } = Branches.parse(await this.#call('GET', `${project}/branches`));
    const main = branches.find((each) => each.default)?.id;
    const { endpoints } = Endpoints.parse(await this.#call('GET', `${project}/endpoints`));
    const endpoint = endpoints.find((each) => each.branch_id === main && each.type === 'read_write');
    if (!endpoint) throw new Error(`the default branch of project ${projectId} has no endpoint`);
    const branch = `${project}/branches/${endpoint.branch_id}`;
    const [database] = Databases.parse(await this.#call('GET', `${branch}/databases`)).databases;
    if (!database) throw new Error(`project ${projectId} has no database`);
    const owner = encodeURIComponent(database.owner_name);
    const { role } = ResetRole.parse(await this.#call('POST', `${branch}/roles/${owner}/reset_password`));
    return {
      projectId,
      endpointId: endpoint.id,
      database: database.name,
      role: role.name,
      password: role.password,
    };
  }

  /** Sets after how many seconds of idleness the endpoint's compute stops; 0 never. */
  async setSuspendTimeout(projectId: string, endpointId: string, seconds: number): Promise<void> {
    await this.#call('PATCH', `/projects/${projectId}/endpoints/${endpointId}`, {
      endpoint: { suspend_timeout_seconds: seconds },
    });
  }

  /** A project of a cluster whose layers are put next (workers/api/import.ts). */
  async createImport(source: {
    name?: string;
    systemIdentifier: string;
    startLsn: string;
    owner: string;
    roles: { name: string; scramSecret: string | null; canLogin: boolean }[];
    databases: { name: string; owner: string }[];
  }): Promise<{ projectId: string; timelineId: string; connectionUri: string; hasPassword: boolean }> {
    const created = CreatedImport.parse(
      await this.#call('POST', '/projects/import', {
        project: source.name === undefined ? {} : { name: source.name },
        import: {
          system_identifier: source.systemIdentifier,
          start_lsn: source.startLsn,
          owner: source.owner,
          roles: source.roles.map(({ name, scramSecret, canLogin }) => ({
            name,
            scram_secret: scramSecret,
            can_login: canLogin,
          })),
          databases: source.databases,
        },
      }),
    );
    const [{ connection_uri: connectionUri, connection_parameters: parameters }] = created.connection_uris;
    const hasPassword = parameters.password !== undefined;
    return { projectId: created.project.id, timelineId: created.timeline_id, connectionUri, hasPassword };
  }
  /** Puts an object of an imported timeline; tried again a few times, since an import is long. */
  async putImported(projectId: string, name: string, bytes: Uint8Array): Promise<void> {
    const path = `/projects/${projectId}/import/${name}`;
    for (let attempt = 1; ; attempt++) {
      try {
        const response = await fetch(this.#base + path, {
          method: 'PUT',
          headers: { Authorization: `Bearer ${this.#apiKey}` },
          body: new Uint8Array(bytes),
        });
        const text = await response.text();
        if (!response.ok) throw new ControlPlaneError('PUT', path, response.status, text.slice(0, 500));
        return;
      } catch (error) {
        const refused = error instanceof ControlPlaneError && error.status < 500 && error.status !== 429;
        if (refused || attempt === PUT_ATTEMPTS_MAX) throw error;
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 500 * 2 ** attempt));
      }
    }
  }
  async removeProject(projectId: string): Promise<void> {
    await this.#call('DELETE', `/projects/${projectId}`);
  }

  async #call(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(this.#base + path, {
      method,
      headers: { Authorization: `Bearer ${this.#apiKey}`, 'Content-Type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new ControlPlaneError(method, path, response.status, text.slice(0, 500));
    return JSON.parse(text);
  }
}
