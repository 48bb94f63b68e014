// Stands in the place of cvat-ui's module actions/annotation-actions.

export { changeFrameAsync, fetchAnnotationsAsync } from "./store";
