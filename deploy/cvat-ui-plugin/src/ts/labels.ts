// Which label of the task is which class of the model.

/** A label of the task that a rectangle may have. */
export interface TaskLabel {
  readonly id: number;
  readonly name: string;
  /** A CSS colour. */
  readonly color: string;
}

/** A label of the task that no rectangle may have. */
export interface OtherLabel {
  readonly name: string;
  readonly color: string;
  /** Why not, in a few words. */
  readonly reason: string;
}

/** A function that speaks the protocol. */
export interface Model {
  readonly id: string;
  readonly name: string;
  /** Names of its classes, in its order; empty for an open model, which takes any list. */
  readonly classes: readonly string[];
}

/** What a person chose: the class for the name of a label; "" leaves the label out. */
export type Choices = Readonly<Record<string, string>>;

/** An open model takes labels at positions below this in the caller's list. */
const OPEN_LABELS = 256;

/** The labels of a task against the classes of a model. */
export class ClassMap {
  /** The labels that can be clicked, in the task's order. */
  readonly labels: readonly TaskLabel[];
  /** The task's other labels, of which the model knows no class. */
  readonly others: readonly TaskLabel[];
  readonly #classOf = new Map<number, number>();
  readonly #labelOf = new Map<number, TaskLabel>();

  /**
   * @param choices Come before the names; without one, a label is the class of its name, whatever
   *   the case of its letters. A class that several labels share is shown as the first of them.
   */
  constructor(taskLabels: readonly TaskLabel[], model: Model, choices: Choices) {
    const { classes } = model;
    const lowered = classes.map((name) => name.toLowerCase());
    taskLabels.forEach((label, position) => {
      const choice = choices[label.name];
      let index = position < OPEN_LABELS ? position : -1;
      if (classes.length > 0) {
        index = choice === undefined ? -1 : classes.indexOf(choice);
        if (choice === undefined || (choice !== "" && index < 0)) {
          index = classes.indexOf(label.name);
          if (index < 0) index = lowered.indexOf(label.name.toLowerCase());
        }
      }
      if (index < 0) return;
      this.#classOf.set(label.id, index);
      if (!this.#labelOf.has(index)) this.#labelOf.set(index, label);
    });
    this.labels = taskLabels.filter(({ id }) => this.#classOf.has(id));
    this.others = taskLabels.filter(({ id }) => !this.#classOf.has(id));
  }

  /** The class of a label, by its position in the model's list. */
  classOf(labelId: number): number | undefined {
    return this.#classOf.get(labelId);
  }

  /** The label of a class, by the class's position in the model's list; null: no class. */
  labelOf(classIndex: number | null): TaskLabel | undefined {
    return classIndex === null ? undefined : this.#labelOf.get(classIndex);
  }
}

/** The key of the label at a position of the list: 1 to 9, then 0; none after the tenth. */
export function keyOf(position: number): string | null {
  return position < 10 ? String((position + 1) % 10) : null;
}
