// cvat-core as the plugin meets it: functions, labels, objects, a job with its undo history.
// It talks HTTP to the emulator of CVAT's server.

/** An error of CVAT's server; the function's own words are not in it. */
export class ServerError extends Error {
  readonly code: number;

  constructor(message: string, code: number) {
    super(message);
    this.code = code;
  }
}

interface AxiosLike {
  method?: string;
  data?: unknown;
  signal?: AbortSignal;
}

/** A request as axios makes it: the answer has `data` and `status`. */
async function axios(url: string, { method = "GET", data, signal }: AxiosLike = {}) {
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      ...(data !== undefined && {
        body: JSON.stringify(data),
        headers: { "Content-Type": "application/json" },
      }),
      ...(signal && { signal }),
    });
  } catch (error) {
    throw new ServerError(signal?.aborted ? "canceled" : `Network Error. ${error}`, 0);
  }
  const text = await response.text();
  if (!response.ok) throw new ServerError(text.slice(0, 300), response.status);
  return { status: response.status, data: text === "" ? null : JSON.parse(text) };
}

const get = async (url: string) => (await axios(url)).data;

export class Label {
  readonly id: number;
  readonly name: string;
  readonly color: string;
  readonly type: string;
  readonly attributes: readonly unknown[] = [];

  constructor(raw: { id: number; name: string; color: string; type: string }) {
    this.id = raw.id;
    this.name = raw.name;
    this.color = raw.color;
    this.type = raw.type;
  }
}

interface Fields {
  frame: number;
  objectType: string;
  shapeType: string;
  points: number[];
  rotation?: number;
  label: Label;
  source?: string;
  occluded: boolean;
  zOrder: number;
  attributes?: Record<number, string>;
  clientID?: number | null;
  serverID?: number | null;
  lock?: boolean;
  remove?: () => void;
}

function check(holds: boolean, message: string): void {
  if (!holds) throw new Error(`ArgumentError: ${message}`);
}

/** An object on a frame; it checks what CVAT's checks. */
export class ObjectState {
  readonly clientID: number | null;
  readonly serverID: number | null;
  readonly lock: boolean;
  readonly #remove: (() => void) | undefined;
  readonly frame: number;
  readonly objectType: string;
  readonly shapeType: string;
  readonly label: Label;
  readonly source: string;
  readonly occluded: boolean;
  readonly zOrder: number;
  readonly attributes: Record<number, string>;
  points: number[];
  rotation: number;

  constructor(fields: Fields) {
    check(["shape", "tag", "track"].includes(fields.objectType), "wrong objectType");
    check(fields.label instanceof Label, "label must be a Label of the job");
    check(Number.isInteger(fields.frame), "frame must be an integer");
    this.clientID = fields.clientID ?? null;
    this.serverID = fields.serverID ?? null;
    this.lock = fields.lock ?? false;
    this.#remove = fields.remove;
    this.frame = fields.frame;
    this.objectType = fields.objectType;
    this.shapeType = fields.shapeType;
    this.label = fields.label;
    this.source = fields.source ?? "manual";
    this.occluded = fields.occluded;
    this.zOrder = fields.zOrder;
    this.attributes = { ...fields.attributes };
    this.points = [...fields.points];
    this.rotation = fields.rotation ?? 0;
  }

  async delete(frame: number, force = false): Promise<boolean> {
    check(frame === this.frame, "an object is removed from its own frame");
    if (this.lock && !force) return false;
    this.#remove?.();
    return true;
  }
}

interface Stored extends Fields {
  clientID: number;
  removed: boolean;
}

interface Step {
  name: string;
  frame: number;
  undo(): void;
  redo(): void;
}

export class Job {
  readonly id: number;
  readonly taskId: number;
  readonly startFrame: number;
  readonly stopFrame: number;
  readonly dimension = "2d";
  readonly labels: readonly Label[];
  readonly #removed = new Set<number>();
  readonly #objects: Stored[] = [];
  #undo: Step[] = [];
  #redo: Step[] = [];

  constructor(raw: Record<string, unknown>, labels: readonly Label[]) {
    this.id = raw.id as number;
    this.taskId = raw.task_id as number;
    this.startFrame = raw.start_frame as number;
    this.stopFrame = raw.stop_frame as number;
    this.labels = labels;
  }

  /** Read a job with its labels, frames and shapes. */
  static async load(id: number): Promise<Job> {
    const [raw, labels, meta, annotations] = await Promise.all([
      get(`/api/jobs/${id}`),
      get(`/api/labels?job_id=${id}&page_size=100`),
      get(`/api/jobs/${id}/data/meta`),
      get(`/api/jobs/${id}/annotations`),
    ]);
    const job = new Job(
      raw,
      labels.results.map((label: Label) => new Label(label)),
    );
    for (const frame of meta.deleted_frames) job.#removed.add(frame);
    for (const shape of annotations.shapes) {
      const label = job.labels.find((other) => other.id === shape.label_id) as Label;
      job.#add({
        ...shape,
        objectType: "shape",
        shapeType: shape.type,
        zOrder: shape.z_order,
        serverID: shape.id,
        label,
        attributes: {},
      });
    }
    return job;
  }

  readonly frames = {
    get: async (frame: number) => ({ deleted: this.#removed.has(frame) }),
    /** The first frame between two that is not removed, or null. */
    search: async (
      { notDeleted }: { notDeleted: boolean },
      from: number,
      to: number,
    ): Promise<number | null> => {
      check(from >= this.startFrame && to <= this.stopFrame, "the frames are out of the job");
      for (let frame = from; frame <= to; frame += 1) {
        if (!notDeleted || !this.#removed.has(frame)) return frame;
      }
      return null;
    },
    delete: async (frame: number): Promise<void> => void this.#removed.add(frame),
    restore: async (frame: number): Promise<void> => void this.#removed.delete(frame),
  };

  readonly annotations = {
    get: async (
      frame: number,
      _allTracks: boolean,
      filters: readonly string[],
    ): Promise<ObjectState[]> =>
      this.#objects
        .filter((object) => object.frame === frame && !object.removed)
        .filter(({ label }) => filters.length === 0 || filters.includes(label.name))
        .map((object) => new ObjectState({ ...object, remove: () => this.#removeObject(object) })),
    put: async (states: ObjectState[]): Promise<number[]> => {
      for (const state of states) {
        check(state instanceof ObjectState, "put takes ObjectStates");
        check(state.points.every(Number.isFinite), "points must be numbers");
        check(Number.isInteger(state.zOrder), "zOrder must be an integer");
        check(typeof state.occluded === "boolean", "occluded must be a boolean");
      }
      const added = states.map((state) => this.#add(state));
      const set = (removed: boolean) => () => {
        for (const object of added) object.removed = removed;
      };
      const frame = states[0]?.frame ?? 0;
      this.#do({ name: "Created objects", frame, undo: set(true), redo: set(false) });
      return added.map(({ clientID }) => clientID);
    },
    /** Remove all objects of the job; the server has them until the job is saved. */
    clear: async (): Promise<void> => {
      this.#objects.length = 0;
    },
    /** Send the objects that the server does not have. */
    save: async (): Promise<void> => {
      const unsaved = this.#objects.filter(
        ({ serverID, removed }) => serverID === null && !removed,
      );
      const shapes = unsaved.map(({ frame, shapeType, points, rotation, label, ...object }) => ({
        type: shapeType,
        frame,
        points,
        rotation,
        label_id: label.id,
        source: object.source,
        occluded: object.occluded,
        outside: false,
        z_order: object.zOrder,
        group: 0,
        attributes: [],
      }));
      const { data } = await axios(`/api/jobs/${this.id}/annotations?action=create`, {
        method: "PATCH",
        data: { version: 0, tags: [], tracks: [], shapes },
      });
      const saved = (data as { shapes: readonly { id: number }[] }).shapes;
      for (const [i, object] of unsaved.entries()) object.serverID = saved[i]?.id ?? null;
    },
    move: async (clientID: number, points: number[], frame: number): Promise<void> => {
      const object = this.#objects.find((other) => other.clientID === clientID) as Stored;
      const before = object.points;
      const set = (value: number[]) => () => {
        object.points = value;
      };
      set(points)();
      this.#do({ name: "Changed points", frame, undo: set(before), redo: set(points) });
    },
  };

  readonly actions = {
    get: async () => ({
      undo: this.#undo.map(({ name, frame }) => [name, frame] as const),
      redo: this.#redo.map(({ name, frame }) => [name, frame] as const),
    }),
    undo: async (): Promise<void> => {
      const step = this.#undo.pop();
      step?.undo();
      if (step) this.#redo.push(step);
    },
    redo: async (): Promise<void> => {
      const step = this.#redo.pop();
      step?.redo();
      if (step) this.#undo.push(step);
    },
  };

  #add(fields: Fields): Stored {
    const { frame, objectType, shapeType, points, label, occluded, zOrder } = fields;
    const object: Stored = {
      frame,
      objectType,
      shapeType,
      points: [...points],
      rotation: fields.rotation ?? 0,
      label,
      source: fields.source ?? "manual",
      occluded,
      zOrder,
      serverID: fields.serverID ?? null,
      clientID: this.#objects.length + 1,
      removed: false,
    };
    this.#objects.push(object);
    return object;
  }

  #removeObject(object: Stored): void {
    const set = (removed: boolean) => () => {
      object.removed = removed;
    };
    set(true)();
    const { frame } = object;
    this.#do({ name: "Removed object", frame, undo: set(false), redo: set(true) });
  }

  #do(step: Step): void {
    this.#undo.push(step);
    this.#redo = [];
  }
}

interface RawModel {
  id: string;
  name: string;
  kind: string;
  labels_v2: { name: string }[];
}

export class MLModel {
  readonly id: string;
  readonly name: string;
  readonly kind: string;
  readonly labels: readonly { name: string }[];

  constructor(raw: RawModel) {
    this.id = raw.id;
    this.name = raw.name;
    this.kind = raw.kind;
    this.labels = raw.labels_v2;
  }
}

export const core = {
  config: { backendAPI: "/api" },
  lambda: {
    list: async (): Promise<{ models: MLModel[]; count: number }> => {
      const functions: RawModel[] = await get("/api/lambda/functions");
      const models = functions.map((raw) => new MLModel(raw));
      return { models, count: models.length };
    },
  },
  server: { request: (url: string, options: AxiosLike) => axios(url, options) },
  classes: { ObjectState, Label, Job },
};
