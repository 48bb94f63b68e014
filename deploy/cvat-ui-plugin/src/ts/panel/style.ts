// The panel's style. It lives in a shadow tree, so CVAT's styles and these do not meet.

export const STYLE = `
:host {
  all: initial;
  position: fixed;
  inset: 0;
  z-index: 900;
  pointer-events: none;
  font: 13px/1.45 -apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    sans-serif;
  color: #1f2328;
}
[hidden] { display: none !important; }
.missing :is(.icon, .body, .row, .button, .note, select) { display: none !important; }
* { box-sizing: border-box; }
button, select, input { font: inherit; color: inherit; margin: 0; }
button { padding: 0; border: 0; background: none; cursor: pointer; }

/* The ring of the focus: blue on white, and white around it on whatever lies under the panel. */
:focus-visible { outline: 2px solid #0a58ca; outline-offset: 1px; border-radius: 4px; }
.labels :focus-visible, .mapping :focus-visible { outline-offset: -2px; }
.cell:focus-visible { position: relative; outline-color: #24292f; outline-offset: 4px; }

.panel {
  position: absolute;
  display: flex;
  flex-direction: column;
  width: 244px;
  background: #fffffff5;
  border: 1px solid #0000001f;
  border-radius: 8px;
  box-shadow: 0 6px 20px #0000003d;
  pointer-events: auto;
  overflow: hidden;
  user-select: none;
}
header {
  flex: none;
  display: flex;
  align-items: center;
  gap: 6px;
  padding: 7px 6px 7px 12px;
  background: #f3f5f7;
  border-bottom: 1px solid #0000001a;
  cursor: grab;
}
header:active { cursor: grabbing; }
h1 { margin: 0 auto 0 0; font-size: 13px; font-weight: 600; }
.model {
  flex: 1;
  min-width: 0;
  padding: 0;
  border: 0;
  background: none;
  color: #57606a;
  text-overflow: ellipsis;
  cursor: pointer;
}
.icon {
  width: 24px;
  height: 24px;
  padding: 3px;
  border-radius: 4px;
  color: #57606a;
}
.icon svg { display: block; width: 18px; height: 18px; }
.icon:hover { background: #0000000f; color: #1f2328; }
.icon[aria-pressed="true"] { color: #0a58ca; }
.panel.folded { width: auto; }
.folded header { border-bottom: 0; }

/* On a low screen the list of labels gives way first, then all that is not the footer. */
.body { display: flex; flex-direction: column; min-height: 0; overflow-y: auto;
  scrollbar-width: thin; }
.section { flex: none; padding: 8px 12px; border-bottom: 1px solid #00000014; }
.section.choice { flex: 0 1 auto; display: flex; flex-direction: column; }
.low .section.choice { min-height: 112px; }
.choice > * { flex: none; }
.choice > .labels, .choice > .mapping { flex: 0 1 auto; min-height: 50px; }
footer { flex: none; padding: 8px 12px; }
.messages { display: flex; flex-direction: column; gap: 6px; max-height: 132px; overflow-y: auto;
  scrollbar-width: thin; }
.messages:has(> :not([hidden]):not(:empty)) + .row { margin-top: 8px; }
.notes p { margin: 0; overflow-wrap: anywhere; }
.heading { display: flex; justify-content: space-between; align-items: baseline; gap: 8px; }
.heading > :first-child { font-weight: 600; }
.quiet { color: #57606a; font-size: 12px; }
.link { color: #0a58ca; font-size: 12px; }
.link:hover { text-decoration: underline; }

.filter { width: 100%; margin-top: 6px; padding: 2px 8px; border: 1px solid #d0d7de; border-radius: 5px; }
.labels { margin: 6px -6px 0; max-height: 236px; overflow-y: auto; scrollbar-width: thin; }
.line { display: flex; align-items: center; }
.line .label { flex: 1; min-width: 0; }
.line .eye { flex: none; }
.line .eye[aria-pressed="true"] { color: #57606a; }
.line.off .name, .line.off .swatch { opacity: 0.45; }
.line.off .eye { color: #cf222e; }
.label {
  display: flex;
  align-items: center;
  gap: 8px;
  width: 100%;
  padding: 3px 6px;
  border-radius: 5px;
  text-align: left;
}
.label:hover { background: #0000000d; }
.label[aria-checked="true"] { background: #0a58ca1f; box-shadow: inset 0 0 0 1.5px #0a58ca; }
.swatch { flex: none; width: 14px; height: 14px; border-radius: 3px; box-shadow: inset 0 0 0 1px #0004; }
.name { flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.count { color: #57606a; font-variant-numeric: tabular-nums; }
kbd {
  min-width: 17px;
  padding: 0 4px;
  border: 1px solid #d0d7de;
  border-bottom-width: 2px;
  border-radius: 4px;
  background: #f6f8fa;
  color: #57606a;
  font: inherit;
  font-size: 11px;
  line-height: 15px;
  text-align: center;
}
.keys { display: grid; grid-template-columns: auto 1fr; gap: 3px 8px; margin: 6px 0 0; font-size: 12px; }
.keys dt, .keys dd { margin: 0; }
.cells { display: flex; gap: 1px; height: 12px; margin: 6px 0 5px; }
.cell { flex: 1; min-width: 1px; border-radius: 2px; background: #d0d7de; }
.cell.done { background: #1a7f37; }
/* The white bar tells it without its colour. */
.cell.waiting { background: linear-gradient(#9a6700 35%, #fff 35% 65%, #9a6700 65%); }
/* Only a thin line remains. */
.cell.removed { background: linear-gradient(#0000 40%, #8c959f 40% 60%, #0000 60%); }
.cell[aria-current] { box-shadow: 0 0 0 2px #fff, 0 0 0 3.5px #0a58ca; position: relative; }
.sources { display: flex; flex-wrap: wrap; align-items: center; gap: 4px; margin-bottom: 4px; }
.source { min-width: 22px; padding: 0 6px; border: 1px solid #0a58ca; border-radius: 9px;
  background: #0a58ca1f; font-size: 12px; line-height: 17px; }
.source[aria-pressed="false"] { border-color: #d0d7de; background: #fff; color: #57606a;
  text-decoration: line-through; }
.exemplars { display: flex; flex-wrap: wrap; gap: 4px; max-height: 76px; margin: 0 -3px 5px;
  padding: 3px; overflow-y: auto; scrollbar-width: thin; }
.exemplar { position: relative; width: 34px; height: 34px; border: 2px solid;
  border-radius: 4px; background: #d0d7de; overflow: hidden; }
.exemplar img { display: block; width: 30px; height: 30px; }
/* A stroke from corner to corner: "none here" is red, what is left out is pale as well. */
.exemplar.negative::after, .exemplar[aria-pressed="false"]::after { content: ""; position: absolute;
  inset: 0; background: linear-gradient(to top left, #0000 46%, #fff 46% 47%, var(--stroke) 47% 53%,
  #fff 53% 54%, #0000 54%); --stroke: #24292f; }
.exemplar.negative::after { --stroke: #ff3b30; }
.exemplar[aria-pressed="false"] img { opacity: 0.35; }
.check { display: flex; align-items: center; gap: 6px; cursor: pointer; }
.check input { accent-color: #0a58ca; }
.button.main.next { flex: none; padding: 5px 7px; }
.hint { min-height: 34px; margin: 6px 0 0; }
.mapping { display: grid; grid-template-columns: 1fr 1fr; gap: 4px 8px; margin-top: 6px;
  max-height: 236px; overflow-y: auto; scrollbar-width: thin; align-items: center; }
.mapping select { width: 100%; border: 1px solid #d0d7de; border-radius: 5px; background: #fff; }

.score { flex-wrap: wrap; align-items: center; gap: 4px 8px; }
input[type="range"] { order: 1; width: 100%; accent-color: #0a58ca; cursor: pointer; }
.low .score { flex-wrap: nowrap; }
.low .score input { order: 0; flex: 1; min-width: 0; }
.low .hint { display: none; }
.reset { margin: -3px -4px -3px auto; }
.value { font-variant-numeric: tabular-nums; }

.row { display: flex; gap: 6px; }
.heading + .row { margin-top: 6px; }
.button {
  flex: 1;
  padding: 3px 6px;
  border: 1px solid #d0d7de;
  border-radius: 5px;
  background: #fff;
  white-space: nowrap;
}
.button.wide { display: block; width: 100%; margin-top: 6px; }
.button:hover:enabled { border-color: #0a58ca; color: #0a58ca; }
.button:disabled { color: #57606a; background: #f6f8fa; cursor: default; }
.button.main { padding: 5px; font-size: 12px; border-color: #0a58ca; background: #0a58ca; color: #fff; font-weight: 600; }
.button.main:hover:enabled { background: #084298; color: #fff; }
.button.main:disabled { border-color: #d0d7de; background: #f6f8fa; color: #57606a; }

.status { display: flex; align-items: center; gap: 8px; }
.status .text { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.status.failed { flex-wrap: wrap; padding: 5px 8px; border-radius: 5px; background: #ffebe9;
  color: #82071e; font-size: 12px; }
.status.failed .text { flex-basis: 100%; }
.spinner {
  flex: none;
  width: 14px;
  height: 14px;
  border: 2px solid #0a58ca40;
  border-top-color: #0a58ca;
  border-radius: 50%;
  animation: rotate 0.8s linear infinite;
}
@keyframes rotate { to { transform: rotate(1turn); } }
@media (prefers-reduced-motion: reduce) { .spinner { animation: none; } }
.note { margin: 6px 0 0; text-align: center; }

.tip, .menu { position: absolute; white-space: nowrap; }
.tip { padding: 2px 7px; border-radius: 4px; background: #000000d9; color: #fff; font-size: 12px; }
.tip .swatch { display: inline-block; width: 9px; height: 9px; margin-right: 6px; border-radius: 2px; }
.menu {
  min-width: 170px;
  max-width: 260px;
  padding: 6px;
  background: #fff;
  border: 1px solid #0000001f;
  border-radius: 8px;
  box-shadow: 0 6px 20px #0000004d;
  pointer-events: auto;
}
.menu .title { padding: 2px 6px 6px; border-bottom: 1px solid #00000014; margin-bottom: 4px; }
.menu .labels { margin: 0; }
.menu .drop { color: #cf222e; border-top: 1px solid #00000014; border-radius: 0 0 5px 5px;
  margin-top: 4px; padding-top: 6px; }
`;

/** For CVAT's own canvas, outside the shadow tree. */
export const CANVAS_STYLE = `
.c3det-armed, .c3det-armed * { cursor: crosshair !important; }
.c3det-grip, .c3det-grip * { cursor: move !important; }
`;
