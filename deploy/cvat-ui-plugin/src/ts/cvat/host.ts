// What the plugin and CVAT say to each other: values and two interfaces, without anything of CVAT's.

import type { Area, Box, Placement, Point } from "../geometry";
import type { Model, OtherLabel, TaskLabel } from "../labels";
import type { RequestPoints } from "../protocol";
import type { Click } from "../state";

/** A rectangle to become part of the annotation. */
export interface Rectangle extends Box {
  /** Id of the label. */
  readonly label: number;
}

/** A rectangle of which is known who made it. */
export interface KnownRectangle extends Rectangle {
  /** "manual", "auto", "semi-auto" or "file". */
  readonly source: string;
}

/** A rectangle of the annotation. */
export interface MadeRectangle extends KnownRectangle {
  readonly clientId: number | null;
  readonly locked: boolean;
  /** It is in the annotation, and not shown. */
  readonly hidden: boolean;
  /** It is the object of a track on this frame. */
  readonly tracked: boolean;
}

/** What is on CVAT's screen, as values. */
export interface Scene {
  readonly jobId: number;
  readonly frame: number;
  /** Numbers of the job's frames, in their order. */
  readonly frames: readonly number[];
  /** Rectangles that the server has, by frame, without those of source "auto": nobody checked them. */
  readonly saved: ReadonlyMap<number, readonly KnownRectangle[]>;
  /** Labels that a rectangle may have. */
  readonly labels: readonly TaskLabel[];
  readonly otherLabels: readonly OtherLabel[];
  readonly models: readonly Model[];
  /** Why no model is known yet, in a sentence; null: one is, or none is expected. */
  readonly absence: string | null;
  /** Rectangles of the frame. */
  readonly rectangles: readonly MadeRectangle[];
  /** Rectangles of the frame that the server has, and that the page has never had. */
  readonly elsewhere: readonly Rectangle[];
  /** Every point of the frame's points shapes. */
  readonly points: readonly Click[];
  /** Client ids of the frame's objects. */
  readonly ids: ReadonlySet<number>;
  /** Length of CVAT's undo history. */
  readonly depth: number;
  /** Something was undone last, and could be redone. */
  readonly redoable: boolean;
  /** Another tool of CVAT has the mouse. */
  readonly busy: boolean;
  /** CVAT has the frame as removed: it is not annotated. */
  readonly removed: boolean;
}

/** What CVAT reports to the plugin. */
export interface Listener {
  /** The scene changed; null: no job is open in which the plugin can work. */
  sceneChanged(scene: Scene | null): void;
  /** The picture was moved, zoomed or rotated on the screen. */
  placementChanged(): void;
  /** Whether a plain click at a point of the picture is the plugin's, not CVAT's. */
  claims(point: Point): boolean;
  /** The mouse is over a point of the picture; null: it left the canvas. */
  hovered(point: Point | null): void;
  /** @param at When, as events tell it, in milliseconds. */
  clicked(point: Point, button: "left" | "right", at: number): void;
  /** The mouse was pressed at a point; true: what is there is pulled, not the picture. */
  grabs(point: Point): boolean;
  /** What was grabbed is pulled to a point. */
  pulled(point: Point): void;
  /** It was let go; null: where it was. */
  letGo(point: Point | null): void;
  /** A key was pressed; true: it was the plugin's, and CVAT does not get it. */
  pressed(event: KeyboardEvent): boolean;
  /** The plugin was switched off. */
  removed(): void;
}

/** What the plugin can do in CVAT. */
export interface Host {
  /** Run what the browser or a timer calls; a fault switches the plugin off. */
  safely(action: () => void | Promise<void>): void;
  /** Lay an SVG over the picture whose user units are the picture's pixels; null takes it away. */
  overlay(element: SVGSVGElement | null): void;
  placement(): Placement | null;
  /** The area of the canvas that is on the screen, without scroll bars. */
  visible(): Area | null;
  /** Move the picture on the screen so that a point of it is in view. */
  show(point: Point): void;
  /** Zoom in (1) or out (-1) by one notch of the wheel; a point of the screen stays where it is. */
  zoom(at: Point, by: -1 | 1): void;
  /** Ask CVAT at once for the functions that it has not found. */
  look(): void;
  /** Take the mouse from CVAT's other tools, and show that clicks are the plugin's. */
  arm(armed: boolean): void;
  /** Whether something was begun with another tool of CVAT's that would be lost without the tool. */
  hasBegun(): boolean;
  /** Show that what is under the mouse can be pulled. */
  showGrip(shown: boolean): void;
  /** Leave so many pixels of the screen free at the left of the canvas; false: CVAT cannot. */
  makeRoom(pixels: number): boolean;
  /** The first of some frames of the job that CVAT does not have as removed. */
  firstKept(frames: readonly number[]): Promise<number | undefined>;
  /**
   * Show another frame of the job.
   *
   * @throws Error This CVAT lets no plugin do that; a sentence for the person at the screen.
   */
  goTo(frame: number): Promise<void>;
  /**
   * Call the function for a frame of the job, given by its number.
   *
   * @returns The body of the answer.
   * @throws Error Its message is a sentence for the person at the screen.
   */
  ask(modelId: string, points: RequestPoints, signal: AbortSignal, frame: number): Promise<unknown>;
  /**
   * Make rectangles on the frame on the screen, in one step of CVAT's undo history.
   *
   * @returns Their client ids, empty where this CVAT does not return them.
   */
  create(rectangles: readonly Rectangle[]): Promise<readonly number[]>;
  /**
   * Remove an object from the frame on the screen, in one step of CVAT's undo history.
   *
   * @throws Error Its message is a sentence for the person at the screen.
   */
  remove(clientId: number): Promise<void>;
  /**
   * Read what the server has of the job: somebody else may have saved rectangles since the page was
   * opened, which CVAT shows only when it is loaded anew. They become part of the scene.
   *
   * @throws Error CVAT does not answer.
   */
  readSaved(signal: AbortSignal): Promise<void>;
}
