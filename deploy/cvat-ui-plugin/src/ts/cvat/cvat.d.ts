// The part of CVAT's interface that the plugin needs, and nothing else of it.
//
// CVAT publishes no types for plugins. These declarations are what the adapter relies on; where a
// version may differ, a member is optional or unknown here and the adapter looks before it uses it.

/** What a plugin's builder gets from `window.cvatUI.registerComponent`. */
export interface BuilderArguments {
  readonly dispatch: (action: unknown) => unknown;
  readonly core: Core;
}

export interface PluginComponent {
  readonly name: string;
  readonly destructor: () => void;
  /** Called after every change of the store. */
  readonly globalStateDidUpdate?: (state: unknown) => void;
}

interface CvatUi {
  readonly registerComponent: (
    builder: (builderArguments: BuilderArguments) => PluginComponent,
  ) => void;
}

/** cvat-core. */
export interface Core {
  readonly config?: { readonly backendAPI?: string };
  readonly server: {
    /** An axios request with CVAT's session; it answers with axios' response. */
    readonly request: (url: string, options: RequestOptions) => Promise<unknown>;
  };
  /** The functions among the AI tools, asked for anew. */
  readonly lambda?: { readonly list?: () => Promise<unknown> };
  readonly classes: { readonly ObjectState: new (fields: NewObject) => ObjectState };
}

export interface RequestOptions {
  readonly method: "GET" | "POST";
  readonly data?: unknown;
  readonly signal: AbortSignal;
}

/** A function among the AI tools. */
export interface MLModel {
  readonly id: string | number;
  readonly name: string;
  readonly kind: string;
  readonly labels?: readonly { readonly name: string }[];
}

export interface Label {
  readonly id?: number;
  readonly name: string;
  readonly color?: string;
  /** 'any' or the only shape of the label. */
  readonly type?: string;
}

interface NewObject {
  readonly frame: number;
  readonly objectType: "shape";
  readonly shapeType: "rectangle";
  readonly points: readonly number[];
  readonly rotation: number;
  readonly label: Label;
  readonly source: "semi-auto";
  readonly occluded: boolean;
  readonly zOrder: number;
  readonly attributes: Readonly<Record<number, string>>;
}

/** An object of the annotation on one frame. */
export interface ObjectState {
  readonly clientID: number | null;
  /** Id on the server; none before it was saved. */
  readonly serverID?: number | null;
  readonly objectType: string;
  readonly shapeType: string | null;
  readonly label: Label;
  readonly points: readonly number[] | null;
  readonly rotation: number | null;
  readonly outside?: boolean;
  /** "manual", "auto", "semi-auto" or "file". */
  readonly source?: string;
  readonly lock?: boolean;
  readonly hidden?: boolean;
  /** A step of the undo history; a locked object stays. */
  readonly delete?: (frame: number, force: boolean) => Promise<unknown>;
}

/** A shape as the server has it. */
export interface SavedShape {
  readonly id?: number;
  readonly frame: number;
  readonly type: string;
  readonly label_id: number;
  readonly points: readonly number[];
  readonly rotation?: number;
  readonly source?: string;
}

export interface Job {
  readonly id: number;
  readonly taskId: number;
  readonly dimension?: string;
  /** Of the task's frames. */
  readonly startFrame?: number;
  readonly stopFrame?: number;
  readonly frames?: {
    /** The first frame that is wanted, or null. */
    readonly search?: (
      wanted: { readonly notDeleted: boolean },
      from: number,
      to: number,
    ) => Promise<unknown>;
  };
  readonly annotations: {
    /** All at once are one step of the undo history. Newer versions answer their client ids. */
    readonly put: (states: readonly ObjectState[]) => Promise<unknown>;
    /** The objects of a frame that filters let through. */
    readonly get?: (
      frame: number,
      allTracks: boolean,
      filters: readonly unknown[],
    ) => Promise<unknown>;
  };
}

export interface Canvas {
  readonly html: () => HTMLElement;
  readonly mode: () => string;
  readonly cancel: () => void;
  readonly activate: (clientId: number | null) => void;
  readonly geometry: unknown;
  /** Take the canvas element's size anew, and fit the picture into it. */
  readonly fitCanvas?: () => void;
  readonly fit?: () => void;
}

/** Of the canvas' geometry: the place of the picture, before it is scaled and rotated about its centre. */
export interface Geometry {
  readonly left: number;
  readonly top: number;
  readonly scale: number;
  readonly angle: number;
  /** Free space around the picture in the attachment board, in pixels of the picture. */
  readonly offset: number;
  readonly image: { readonly width: number; readonly height: number };
}

/** Of the store's state. */
export interface GlobalState {
  readonly annotation: {
    readonly workspace: string;
    readonly canvas: { readonly instance: Canvas | null; readonly activeControl: string };
    readonly job: {
      readonly instance: Job | null | undefined;
      readonly labels: readonly Label[];
      /** Numbers of the frames, where they are not all between the first and the last. */
      readonly frameNumbers?: unknown;
    };
    readonly player: {
      readonly frame: {
        readonly number: number;
        readonly data?: { readonly deleted?: boolean } | null;
      };
    };
    readonly annotations: {
      /** Those objects of the frame that the filters let through. */
      readonly states: readonly ObjectState[];
      readonly filters?: unknown;
      readonly history: { readonly undo: readonly unknown[]; readonly redo: readonly unknown[] };
      readonly zLayer: { readonly cur?: number; readonly max?: number };
    };
  };
  readonly models: { readonly interactors: readonly MLModel[]; readonly fetching?: boolean };
}

/** Of the module actions/annotation-actions: a thunk that reads the frame's objects anew. */
export function fetchAnnotationsAsync(): unknown;

/** Likewise: a thunk that shows another frame. */
export function changeFrameAsync(frame: number): unknown;

declare global {
  interface Window {
    readonly cvatUI?: CvatUi;
  }
}
