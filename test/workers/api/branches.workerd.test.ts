/** Branches, endpoints, restoring, leases and horizons, through the API and over the real Project object. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { formatLsn, lsn } from '../../../lib/postgres/lsn.ts';
import { timestampOfMs } from '../../../lib/postgres/timestamp.ts';
import type { TimelineSpec } from '../../../lib/protocol/specs.ts';
import { ControlPlaneEdge } from './edge.ts';

interface Branch {
  id: string;
  name: string;
  parent_id?: string;
  parent_lsn?: string;
  parent_timestamp?: string;
  default: boolean;
  protected: boolean;
}
interface Endpoint {
  id: string;
  branch_id: string;
  type: string;
  lsn?: string;
}
interface Made {
  branch: Branch;
  endpoints: Endpoint[];
  roles: { name: string }[];
  databases: { name: string }[];
  connection_uris?: { connection_uri: string }[];
}
interface Config {
  branchId: string;
  timeline: TimelineSpec;
  travel?: boolean;
}

const START = 0x300_0000;
/** A record of 100 bytes after another, up to here. */
const HEAD = START + 10_000;
const RECORDS = Array.from({ length: 100 }, (_, i) => [START + i * 100, START + (i + 1) * 100]);
const at = (offset: number): string => formatLsn(lsn(START + offset));

let edge: ControlPlaneEdge;
let projectId: string;
let main: Branch;
let mainEndpoint: string;

beforeAll(async () => {
  edge = await ControlPlaneEdge.start();
});
afterAll(async () => {
  await edge.stop();
});
beforeEach(async () => {
  const made = await edge.api<Made & { project: { id: string; history_retention_seconds: number } }>(
    'POST',
    '/projects',
    {},
  );
  expect(made.status).toBe(201);
  expect(made.json.project.history_retention_seconds).toBe(604_800);
  projectId = made.json.project.id;
  main = made.json.branch;
  mainEndpoint = made.json.endpoints[0].id;
  await writeLog(await timelineOf(mainEndpoint));
});

/** The timeline's safekeepers hold a log up to HEAD. */
async function writeLog({ timelineId }: TimelineSpec, change: Record<string, unknown> = {}): Promise<void> {
  const reach = { lastTerm: 1, flushLsn: HEAD, commitLsn: HEAD, ...change };
  for (const n of [1, 2, 3])
    await edge.play('SAFEKEEPER', `${projectId}/${timelineId}/${n}`, { reach, records: RECORDS });
}
async function configOf(endpointId: string): Promise<Config> {
  const calls = await edge.calls('COMPUTE', endpointId);
  return calls.findLast(([what]) => what === 'configure' || what === 'retarget')![1] as Config;
}
const timelineOf = async (endpointId: string): Promise<TimelineSpec> => (await configOf(endpointId)).timeline;
const call = <T>(method: string, path: string, body?: unknown) =>
  edge.api<T>(method, `/projects/${projectId}${path}`, body);
const make = async (branch: Record<string, unknown>, endpoints: unknown[] = [{ type: 'read_write' }]) => {
  const made = await call<Made>('POST', '/branches', { branch, endpoints });
  expect(made.status, made.json.message).toBe(201);
  return made.json;
};
const list = async (): Promise<Branch[]> =>
  (await call<{ branches: Branch[] }>('GET', '/branches')).json.branches;

describe('making a branch', () => {
  test('at the head: a timeline that begins where the log ends, with its own endpoint, roles and databases', async () => {
    const made = await make({ name: 'dev' });
    expect(made.branch).toMatchObject({
      name: 'dev',
      parent_id: main.id,
      parent_lsn: at(10_000),
      default: false,
      protected: false,
    });
    const parent = await timelineOf(mainEndpoint);
    const config = await configOf(made.endpoints[0].id);
    expect(config.branchId).toBe(made.branch.id);
    expect(config.timeline).toMatchObject({
      startLsn: at(10_000),
      systemIdentifier: parent.systemIdentifier,
      origin: { kind: 'branch', ancestor: parent, ancestorLsn: at(10_000), previousLsn: at(9_900) },
    });
    expect(config.timeline.timelineId).not.toBe(parent.timelineId);
    expect(made.roles.map(({ name }) => name)).toEqual(['owner']);
    expect(made.databases.map(({ name }) => name)).toEqual(['main']);
    expect(made.connection_uris![0].connection_uri).toBe(
      `postgres://owner@localhost:5432/main?options=endpoint%3D${made.endpoints[0].id}`,
    );
  });

  test('with nothing said at all: of the default branch, with a name and without an endpoint', async () => {
    const made = await call<Made>('POST', '/branches');
    expect(made.status).toBe(201);
    expect(made.json.branch).toMatchObject({ parent_id: main.id, name: made.json.branch.id });
    expect(made.json.endpoints).toEqual([]);
  });

  test('at an LSN: the last record that ends there or before; at the very start there is none', async () => {
    expect((await make({ parent_lsn: at(4_999) })).branch.parent_lsn).toBe(at(4_900));
    expect((await make({ parent_lsn: at(5_000) })).branch.parent_lsn).toBe(at(5_000));
    const first = await make({ parent_lsn: at(50) });
    expect(first.branch.parent_lsn).toBe(at(0));
    expect((await timelineOf(first.endpoints[0].id)).origin).toMatchObject({ previousLsn: '0/0' });
  });

  test('at an LSN before the branch began: in its ancestor', async () => {
    const child = await make({ name: 'child', parent_lsn: at(5_000) });
    const timeline = await timelineOf(child.endpoints[0].id);
    const older = await make({ name: 'older', parent_id: child.branch.id, parent_lsn: at(3_000) });
    expect(older.branch.parent_id).toBe(child.branch.id);
    const { origin } = await timelineOf(older.endpoints[0].id);
    expect(origin).toMatchObject({ ancestorLsn: at(3_000), ancestor: await timelineOf(mainEndpoint) });
    // Where it began it is its own, however little has been written to it.
    const start = await make({ name: 'start', parent_id: child.branch.id, parent_lsn: at(5_000) });
    expect((await timelineOf(start.endpoints[0].id)).origin).toMatchObject({ ancestor: timeline });
  });

  test('at a time: before the first commit after it', async () => {
    const now = timestampOfMs(Date.now());
    const commits = [
      { time: now, lsn: START + 2_000 },
      { time: now + 60_000_000, lsn: START + 7_000 },
    ];
    await edge.play('PAGESERVER', projectId, { commits });
    const text = new Date(Date.now()).toISOString();
    const made = await make({ parent_timestamp: text });
    expect(made.branch).toMatchObject({ parent_lsn: at(6_900), parent_timestamp: text });
    await edge.play('PAGESERVER', projectId, { commits: [] });
    expect((await make({ parent_timestamp: text })).branch.parent_lsn).toBe(at(10_000));
  });

  test('of a project that was never written to: its start, with what the control plane wants', async () => {
    const fresh = await edge.api<Made & { project: { id: string } }>('POST', '/projects', {});
    const made = await edge.api<Made>('POST', `/projects/${fresh.json.project.id}/branches`, {
      endpoints: [{ type: 'read_write' }],
    });
    expect(made.status).toBe(201);
    expect(made.json.branch.parent_lsn).toBe('0/3000000');
    expect(
      await edge.rpc('PROJECT', fresh.json.project.id, 'computeSpec', made.json.branch.id),
    ).toMatchObject({
      roles: [{ name: 'owner', owner: true }],
      databases: [{ name: 'main', owner: 'owner' }],
    });
  });

  // What they know when the branch is made may be in their memory only, and gone after a crash: they are told in any case.
  test.each([
    ['do not know of yet', 5_000],
    ['know of', 10_000],
  ])('just after a commit that the safekeepers %s: it is in, and they are told', async (_, known) => {
    const timeline = await timelineOf(mainEndpoint);
    await writeLog(timeline, { commitLsn: START + known });
    const made = await make({ name: 'quick' });
    expect(made.branch.parent_lsn).toBe(at(10_000));
    const child = await timelineOf(made.endpoints[0].id);
    expect(
      await edge.rpc('PROJECT', projectId, 'startCompute', made.endpoints[0].id, child.timelineId),
    ).toMatchObject({
      ok: true,
      term: 1,
    });
    await expect
      .poll(() => edge.calls('SAFEKEEPER', `${projectId}/${timeline.timelineId}/1`))
      .toContainEqual(['learnCommit', 1, HEAD]);
  });

  test('with one safekeeper out of reach; not with two', async () => {
    const { timelineId } = await timelineOf(mainEndpoint);
    await edge.play('SAFEKEEPER', `${projectId}/${timelineId}/1`, { down: true });
    expect((await make({ name: 'one down' })).branch.parent_lsn).toBe(at(10_000));
    await edge.play('SAFEKEEPER', `${projectId}/${timelineId}/2`, { down: true });
    const refused = await call('POST', '/branches', { branch: { name: 'two down' } });
    expect(refused).toMatchObject({ status: 503, json: { code: 'HEAD_UNKNOWN' } });
  });

  test('is refused by a code that does not change', async () => {
    const refuse = async (branch: object, status: number, code: string) => {
      const answer = await call('POST', '/branches', { branch });
      expect({ branch, status: answer.status, code: answer.json.code }).toEqual({ branch, status, code });
    };
    await refuse({ name: 'main' }, 409, 'BRANCH_NAME_EXISTS');
    await refuse({ parent_id: 'br-none' }, 404, 'NOT_FOUND');
    await refuse({ parent_lsn: at(10_001) }, 400, 'LSN_BEYOND_HEAD');
    await refuse({ parent_lsn: '0/2FFFFFF' }, 410, 'LSN_BELOW_HISTORY');
    await refuse({ parent_lsn: '3000000' }, 400, 'BAD_REQUEST');
    await refuse({ parent_lsn: at(0), parent_timestamp: '2026-11-01T12:00Z' }, 400, 'BAD_REQUEST');
    await refuse({ parent_timestamp: '2026-11-01T12:00' }, 400, 'BAD_REQUEST');
    await refuse({ parent_timestamp: '2999-11-01T12:00Z' }, 400, 'TIMESTAMP_IN_FUTURE');
    await refuse({ parent_timestamp: '2001-11-01T12:00Z' }, 410, 'TIMESTAMP_BELOW_HISTORY');
    await edge.play('PAGESERVER', projectId, { failure: 'belowWindow' });
    await refuse({ parent_timestamp: new Date().toISOString() }, 410, 'TIMESTAMP_BELOW_HISTORY');
    await edge.play('PAGESERVER', projectId, { failure: 'behind' });
    await refuse({ parent_timestamp: new Date().toISOString() }, 503, 'PAGESERVER_UNAVAILABLE');
    expect(await list()).toHaveLength(1);
    expect((await edge.api('POST', '/projects/none/branches', {})).status).toBe(404);
  });
});

describe('roles of a branch', () => {
  test('at a past LSN are those of today only where Postgres has them; its first report decides', async () => {
    const created = await call<{ role: { name: string } }>('POST', `/branches/${main.id}/roles`, {
      role: { name: 'later' },
    });
    expect(created.status).toBe(201);
    const past = await make({ name: 'past', parent_lsn: at(100) });
    // The project was written to by a compute that has applied everything.
    const spec = await edge.rpc<{ roles: { name: string; presentOnly?: boolean }[] }>(
      'PROJECT',
      projectId,
      'computeSpec',
      past.branch.id,
    );
    expect(spec.roles.map(({ name }) => name)).toEqual(['later', 'owner']);
    const names = async () => {
      const { json } = await call<{ roles: { name: string }[] }>('GET', `/branches/${past.branch.id}/roles`);
      return json.roles.map(({ name }) => name);
    };
    await edge.rpc('PROJECT', projectId, 'applied', past.branch.id, spec);
    await edge.rpc('PROJECT', projectId, 'reportRoles', past.branch.id, {
      roles: [
        { name: 'owner', scramSecret: 'SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy', canLogin: true },
        { name: 'earlier', scramSecret: null, canLogin: true },
      ],
      databases: [{ name: 'dropped since', owner: 'owner' }],
    });
    expect(await names()).toEqual(['earlier', 'owner']);
    const { json } = await call<{ databases: { name: string }[] }>(
      'GET',
      `/branches/${past.branch.id}/databases`,
    );
    expect(json.databases.map(({ name }) => name)).toEqual(['dropped since']);
  });
});

describe('changing and deleting', () => {
  test('names, protection, the default branch', async () => {
    const dev = await make({ name: 'dev' });
    const path = `/branches/${dev.branch.id}`;
    expect(await call('PATCH', path, { branch: { name: 'main' } })).toMatchObject({
      status: 409,
      json: { code: 'BRANCH_NAME_EXISTS' },
    });
    const changed = await call<Made>('PATCH', path, { branch: { name: 'staging', protected: true } });
    expect(changed.json.branch).toMatchObject({ name: 'staging', protected: true });
    expect(await call('DELETE', path)).toMatchObject({ status: 409, json: { code: 'BRANCH_PROTECTED' } });
    await call('PATCH', path, { branch: { protected: false } });
    expect((await call<Made>('POST', `${path}/set_as_default`)).json.branch.default).toBe(true);
    expect(await call('DELETE', path)).toMatchObject({ status: 409, json: { code: 'BRANCH_IS_DEFAULT' } });
    expect((await list()).filter((branch) => branch.default)).toHaveLength(1);
  });

  test('a branch with children is refused, naming them; without, everything of it goes', async () => {
    const dev = await make({ name: 'dev' });
    const timeline = await timelineOf(dev.endpoints[0].id);
    const child = await make({ name: 'its child', parent_id: dev.branch.id });
    const refused = await call('DELETE', `/branches/${dev.branch.id}`);
    expect(refused).toMatchObject({ status: 409, json: { code: 'BRANCH_HAS_CHILDREN' } });
    expect(refused.json.message).toContain('its child');
    expect((await call('DELETE', `/branches/${child.branch.id}`)).status).toBe(200);
    expect((await call('DELETE', `/branches/${dev.branch.id}`)).status).toBe(200);
    expect((await list()).map(({ name }) => name)).toEqual(['main']);
    expect(await edge.calls('COMPUTE', dev.endpoints[0].id)).toContainEqual(['remove']);
    await expect
      .poll(() => edge.calls('PAGESERVER', projectId))
      .toContainEqual(['removeTimeline', timeline.timelineId]);
    expect(await edge.calls('SAFEKEEPER', `${projectId}/${timeline.timelineId}/3`)).toContainEqual([
      'remove',
    ]);
    expect(
      await edge.rpc('PROJECT', projectId, 'startCompute', dev.endpoints[0].id, timeline.timelineId),
    ).toEqual({
      ok: false,
      config: null,
    });
  });

  test('endpoints: one that reads and writes for each branch, made and deleted', async () => {
    const dev = await make({ name: 'dev' }, []);
    const wanted = { endpoint: { branch_id: dev.branch.id, type: 'read_write' } };
    const made = await call<{ endpoint: Endpoint }>('POST', '/endpoints', wanted);
    expect(made.status).toBe(201);
    expect(await call('POST', '/endpoints', wanted)).toMatchObject({
      status: 409,
      json: { code: 'ENDPOINT_EXISTS' },
    });
    expect((await call('DELETE', `/endpoints/${made.json.endpoint.id}`)).status).toBe(200);
    expect((await call('GET', `/endpoints/${made.json.endpoint.id}`)).status).toBe(404);
    expect((await call('POST', '/endpoints', wanted)).status).toBe(201);
  });
});

describe('restoring', () => {
  test('from its own past: a new timeline for the same endpoint; the old one under a name, with the children', async () => {
    const before = await timelineOf(mainEndpoint);
    const child = await make({ name: 'child' });
    const answer = await call<Made>('POST', `/branches/${main.id}/restore`, {
      source_branch_id: main.id,
      source_lsn: at(3_000),
      preserve_under_name: 'main before',
    });
    expect(answer.status, answer.json.message).toBe(200);
    const kept = (await list()).find(({ name }) => name === 'main before')!;
    expect(answer.json.branch).toMatchObject({
      id: main.id,
      name: 'main',
      default: true,
      parent_id: kept.id,
      parent_lsn: at(3_000),
    });
    expect(kept.default).toBe(false);
    expect((await list()).find(({ id }) => id === child.branch.id)!.parent_id).toBe(kept.id);
    const after = await timelineOf(mainEndpoint);
    expect(after.origin).toMatchObject({ kind: 'branch', ancestor: before, ancestorLsn: at(3_000) });
    // A compute that still has the old timeline is told.
    expect(
      await edge.rpc('PROJECT', projectId, 'startCompute', mainEndpoint, before.timelineId),
    ).toMatchObject({
      ok: false,
      config: { timeline: { timelineId: after.timelineId } },
    });
    expect(await call('DELETE', `/branches/${kept.id}`)).toMatchObject({
      json: { code: 'BRANCH_HAS_CHILDREN' },
    });
  });

  test('from another branch, keeping nothing: the old timeline goes', async () => {
    const dev = await make({ name: 'dev' });
    const old = await timelineOf(dev.endpoints[0].id);
    const answer = await call<Made>('POST', `/branches/${dev.branch.id}/restore`, {
      source_branch_id: main.id,
    });
    expect(answer.json.branch).toMatchObject({ parent_id: main.id, parent_lsn: at(10_000) });
    await expect
      .poll(() => edge.calls('PAGESERVER', projectId))
      .toContainEqual(['removeTimeline', old.timelineId]);
  });

  test('is refused where something would be lost', async () => {
    const restore = (branchId: string, body: object) => call('POST', `/branches/${branchId}/restore`, body);
    const self = { source_branch_id: main.id };
    expect(await restore(main.id, self)).toMatchObject({ json: { code: 'BAD_REQUEST' } });
    expect(await restore(main.id, { ...self, source_lsn: at(0) })).toMatchObject({
      json: { code: 'PRESERVE_NAME_REQUIRED' },
    });
    const dev = await make({ name: 'dev' });
    await make({ name: 'child', parent_id: dev.branch.id });
    expect(await restore(dev.branch.id, self)).toMatchObject({ json: { code: 'PRESERVE_NAME_REQUIRED' } });
    await call('PATCH', `/branches/${dev.branch.id}`, { branch: { protected: true } });
    expect(await restore(dev.branch.id, { ...self, preserve_under_name: 'x' })).toMatchObject({
      json: { code: 'BRANCH_PROTECTED' },
    });
  });
});

describe('the horizon', () => {
  const horizon = (timelineId: string, offset: number) =>
    edge.rpc<{ horizonLsn: string; retainedLsns: string[] }>('PROJECT', projectId, 'recordHorizon', {
      timelineId,
      horizonLsn: at(offset),
    });

  test('keeps branch points and leases below it, never goes back, and nothing new is made below it', async () => {
    const { timelineId } = await timelineOf(mainEndpoint);
    const early = await make({ name: 'early', parent_lsn: at(1_000) });
    await make({ name: 'late', parent_lsn: at(9_000) });
    const lease = await call<{ lease: { lsn: string } }>('POST', `/branches/${main.id}/leases`, {
      lease: { lsn: at(2_050), seconds: 3_600 },
    });
    expect(lease).toMatchObject({ status: 201, json: { lease: { lsn: at(2_000) } } });
    expect(await horizon(timelineId, 5_000)).toMatchObject({
      horizonLsn: at(5_000),
      retainedLsns: [at(1_000), at(2_000)],
    });
    expect(await horizon(timelineId, 4_000)).toMatchObject({ horizonLsn: at(5_000) });
    for (const offset of [1_000, 2_000, 4_999])
      expect(await call('POST', '/branches', { branch: { parent_lsn: at(offset) } })).toMatchObject({
        status: 410,
        json: { code: 'LSN_BELOW_HISTORY' },
      });
    expect(
      await call('POST', `/branches/${main.id}/leases`, { lease: { lsn: at(3_000), seconds: 1 } }),
    ).toMatchObject({ status: 410 });
    expect((await make({ parent_lsn: at(5_000) })).branch.parent_lsn).toBe(at(5_000));
    await call('DELETE', `/branches/${early.branch.id}`);
    expect(await horizon(timelineId, 5_000)).toMatchObject({ retainedLsns: [at(2_000)] });
    expect(
      await edge.rpc('PROJECT', projectId, 'recordHorizon', { timelineId: 'none', horizonLsn: at(0) }),
    ).toBeNull();
  });

  test('the retention is the project s, and a pageserver is told', async () => {
    const { timelineId } = await timelineOf(mainEndpoint);
    const changed = await edge.api<{ project: { history_retention_seconds: number } }>(
      'PATCH',
      `/projects/${projectId}`,
      {
        project: { history_retention_seconds: 3_600 },
      },
    );
    expect(changed.json.project.history_retention_seconds).toBe(3_600);
    expect(await horizon(timelineId, 0)).toMatchObject({ historyRetentionMs: 3_600_000 });
    const refused = await edge.api('PATCH', `/projects/${projectId}`, {
      project: { history_retention_seconds: 99_999_999 },
    });
    expect(refused.status).toBe(400);
  });
});

describe('time travel', () => {
  const travel = (point: object) =>
    edge.rpc<{ ok: boolean; endpointId: string; lsn: string; code?: string }>(
      'PROJECT',
      projectId,
      'travelEndpoint',
      main.id,
      point,
    );

  test('two that go to one point share an endpoint; nobody sees it; it is gone when its compute has ended', async () => {
    const [a, b] = await Promise.all([travel({ lsn: at(3_000) }), travel({ lsn: at(3_050) })]);
    expect(a).toMatchObject({ ok: true, lsn: at(3_000) });
    expect(b.endpointId).toBe(a.endpointId);
    expect((await travel({ lsn: at(4_000) })).endpointId).not.toBe(a.endpointId);
    const config = await configOf(a.endpointId);
    expect(config.travel).toBe(true);
    expect(await list()).toHaveLength(1);
    const shown = await call<{ endpoints: Endpoint[] }>('GET', '/endpoints');
    expect(shown.json.endpoints.map(({ id }) => id)).toEqual([mainEndpoint]);

    await edge.play('COMPUTE', a.endpointId, { busy: true });
    await edge.rpc('PROJECT', projectId, 'travelEnded', a.endpointId);
    expect((await travel({ lsn: at(3_000) })).endpointId, 'somebody had come').toBe(a.endpointId);
    await edge.play('COMPUTE', a.endpointId, { busy: false });
    await edge.rpc('PROJECT', projectId, 'travelEnded', a.endpointId);
    await expect
      .poll(() => edge.calls('PAGESERVER', projectId))
      .toContainEqual(['removeTimeline', config.timeline.timelineId]);
    expect((await travel({ lsn: at(3_000) })).endpointId).not.toBe(a.endpointId);
  });

  test('so many at a time, and no more', async () => {
    for (let i = 0; i < 16; i++) expect((await travel({ lsn: at(i * 100) })).ok).toBe(true);
    expect(await travel({ lsn: at(5_000) })).toMatchObject({ ok: false, code: 'TOO_MANY_TIME_TRAVELS' });
    expect((await travel({ lsn: at(100) })).ok).toBe(true);
  });

  test('deleting a branch ends the journeys into it', async () => {
    const dev = await make({ name: 'dev', parent_lsn: at(5_000) });
    const there = await edge.rpc<{ endpointId: string }>(
      'PROJECT',
      projectId,
      'travelEndpoint',
      dev.branch.id,
      {
        lsn: at(5_000),
      },
    );
    expect((await call('DELETE', `/branches/${dev.branch.id}`)).status).toBe(200);
    expect(await edge.calls('COMPUTE', there.endpointId)).toContainEqual(['remove']);
  });

  test('an endpoint at a past LSN stays, and begins anew after each compute', async () => {
    const made = await call<{ endpoint: Endpoint }>('POST', '/endpoints', {
      endpoint: { branch_id: main.id, type: 'read_only', lsn: at(3_000) },
    });
    expect(made.json.endpoint).toMatchObject({ branch_id: main.id, type: 'read_only', lsn: at(3_000) });
    const { id } = made.json.endpoint;
    const first = await timelineOf(id);
    expect(await edge.rpc('PROJECT', projectId, 'startCompute', id, first.timelineId)).toMatchObject({
      ok: true,
    });
    await edge.rpc('PROJECT', projectId, 'travelEnded', id);
    await expect
      .poll(() => edge.calls('PAGESERVER', projectId))
      .toContainEqual(['removeTimeline', first.timelineId]);
    const calls = await edge.calls('COMPUTE', id);
    const next = (calls.findLast(([what]) => what === 'release')![1] as Config).timeline;
    expect(next).toEqual({ ...first, timelineId: next.timelineId });
    expect(next.timelineId).not.toBe(first.timelineId);
    expect(await edge.rpc('PROJECT', projectId, 'startCompute', id, next.timelineId)).toMatchObject({
      ok: true,
      term: 1,
    });
    // One that did not tell of its end, as after a crash: the next one begins anew all the same.
    const again = await edge.rpc<{ ok: boolean; config: Config }>(
      'PROJECT',
      projectId,
      'startCompute',
      id,
      next.timelineId,
    );
    expect(again).toMatchObject({ ok: false, config: { travel: true, timeline: { startLsn: at(3_000) } } });
    expect([first.timelineId, next.timelineId]).not.toContain(again.config.timeline.timelineId);
    expect((await call('DELETE', `/endpoints/${id}`)).status).toBe(200);
    expect((await call('GET', `/endpoints/${id}`)).status).toBe(404);
  });
});
