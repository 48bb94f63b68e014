// Stands in the place of cvat-ui's module actions/annotation-actions.

export { fetchAnnotationsAsync } from "./store";
