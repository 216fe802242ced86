/** What the one-machine Ebb asks of its own control plane (/api/v2): is there a project, make the first one. */
import { z } from 'zod';
import type { Connection } from './config.ts';

const ConnectionParameters = z.object({ database: z.string(), password: z.string(), role: z.string() });
const CreatedProject = z.object({
  project: z.object({ id: z.string() }),
  endpoints: z.array(z.object({ id: z.string() })).min(1),
  connection_uris: z.array(z.object({ connection_parameters: ConnectionParameters })).min(1),
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
