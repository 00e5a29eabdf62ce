// The tape on screen: only the rows in view are elements, and those are used again.
import { byId, make, painter, setText } from "./dom.js";
import { decimal, group } from "./exact.js";
import { tapeColumns } from "./keys.js";
import { clockOf, formatSpan, parseStamp } from "./stamp.js";
import { shown } from "./tape.js";

/** Height of a line, px: as the style sheet has it. */
const LINE = 24;

/** Provisional rows that are shown at once, newest first. */
const OPEN_ROWS = 8;

/** Characters beside the stamp on a phone of 360 px. */
const PHONE = 33;

/** Pause between two drawings, ms: faster than this nobody reads. */
const EVERY_MS = 100;

export class TapeView {
  /** Draws soon. */
  paint = painter(() => this.#draw(), EVERY_MS);
  #view = byId("tape-view");
  #space = byId("tape-space");
  #pause = byId("tape-pause");
  #lines = [];
  #columns = [];
  #source = null;
  #frozen = null;
  #skipped = false;
  #several = false;

  constructor() {
    this.#view.addEventListener("scroll", this.paint, { passive: true });
    new ResizeObserver(this.paint).observe(this.#view);
    this.#pause.addEventListener("click", () => this.#toggle());
  }

  /** What rows are shown of: `{tape, rate, word, lag}`; `word` names the line, `lag` what it says. */
  show(def, source) {
    this.#source = source;
    this.#frozen = null;
    this.#skipped = false;
    this.#pressed();
    this.#columns = tapeColumns(def).map((name) => ({ name, type: def.columns.find((one) => one.name === name).type }));
    this.#view.scrollTop = 0;
    this.#lines = [];
    this.#space.replaceChildren();
    this.#head(def);
    this.paint();
  }

  /** The live tape went on with newer rows than came next. */
  skipped() {
    this.#skipped = true;
    this.paint();
  }

  #toggle() {
    const { tape } = this.#source;
    this.#frozen = this.#frozen ? null : { items: shown(tape, Infinity), came: tape.came };
    if (!this.#frozen) this.#view.scrollTop = 0;
    this.#pressed();
    this.paint();
  }

  #pressed() {
    this.#pause.setAttribute("aria-pressed", String(this.#frozen !== null));
    setText(this.#pause, this.#frozen ? "Go on" : "Pause");
  }

  #head(def) {
    for (const column of this.#columns) {
      column.number = /^(decimal|u?int64|float64)/.test(column.type);
      column.key = def.key.indexOf(column.name);
      column.widest = column.name.length;
    }
    this.#several = def.key.length > 1;
    this.#widen();
  }

  /** Numbers are never cut short; words may be. On a phone only what fits beside the stamp is there. */
  #widen() {
    let left = PHONE;
    for (const column of this.#columns) {
      const needs = 1 + (column.number ? column.widest : Math.min(column.widest, 8));
      // of a key of several columns, the first (a venue) gives way
      const wanted = column.number || (column.key >= 0 && !(this.#several && column.key === 0));
      column.spare = !wanted || needs > left;
      if (!column.spare) left -= needs;
    }
    const width = ({ number, widest }) => (number ? `${widest}ch` : `minmax(4ch, ${widest}ch)`);
    const kept = this.#columns.filter((column) => !column.spare);
    const style = byId("tape").style;
    style.setProperty("--columns", this.#columns.map(width).join(" "));
    style.setProperty("--columns-phone", kept.map(width).join(" "));
    const cell = (text, name) => make("span", { role: "columnheader", class: name }, text);
    const cells = this.#columns.map((column) => cell(column.name, classOf(column)));
    byId("tape-head").replaceChildren(cell("stamp", "at"), cell("w", "writer"), ...cells);
    for (const line of this.#lines) this.#columns.forEach((column, at) => { line.cells[at + 2].className = classOf(column); });
  }

  #draw() {
    if (!this.#source) return;
    const { tape } = this.#source;
    const items = this.#frozen ? this.#frozen.items : shown(tape, OPEN_ROWS);
    this.#space.style.height = `${items.length * LINE}px`;
    const first = Math.max(0, Math.floor(this.#view.scrollTop / LINE) - 2);
    const count = Math.min(items.length - first, Math.ceil(this.#view.clientHeight / LINE) + 4);
    while (this.#lines.length < count) this.#lines.push(this.#newLine());
    this.#lines.forEach((line, at) => {
      line.element.hidden = at >= count;
      if (at < count) this.#fill(line, items[first + at], first + at);
    });
    this.#say(tape, items);
  }

  #newLine() {
    const element = make("div", { role: "row", class: "line" });
    const cells = [make("span", { role: "cell", class: "at" }), make("span", { role: "cell", class: "writer" })];
    for (const column of this.#columns) cells.push(make("span", { role: "cell", class: classOf(column) }));
    const note = make("span", { role: "cell", class: "mark" });
    element.append(...cells, note);
    this.#space.append(element);
    return { element, cells, note };
  }

  #fill({ element, cells, note }, item, at) {
    element.style.transform = `translateY(${at * LINE}px)`;
    const kind = item.row ? (item.open ? "line open" : "line") : item.hidden ? "line more" : "line edge";
    if (element.className !== kind) element.className = kind;
    element.dataset.hlc = item.row?.hlc ?? item.watermark ?? "";
    element.dataset.writer = item.row?.writer ?? "";
    if (!item.row) {
      const { word, lag } = this.#source;
      const behind = lag && !this.#frozen ? ` · ${lag()} ago` : "";
      const text = item.hidden ? `${group(item.hidden)} more provisional rows` : item.watermark ? `${word} ${clockOf(item.watermark, 9)}${behind}` : "";
      setText(note, text);
      return;
    }
    setText(cells[0], clockOf(item.row.hlc, 9));
    setText(cells[1], item.row.writer);
    this.#columns.forEach((column, index) => {
      const text = textOf(item.row[column.name], column);
      setText(cells[index + 2], text);
      if (text.length > column.widest) {
        column.widest = text.length;
        this.#widen();
      }
    });
    const side = item.row.side;
    cells.forEach((cell) => { cell.dataset.side = side === "buy" || side === "sell" ? side : ""; });
  }

  #say(tape, items) {
    const rows = this.#frozen ? items.filter((item) => item.row).length : tape.final.length + Math.min(tape.open.length, OPEN_ROWS);
    const rate = `${group(Math.round(this.#source.rate.perSecond))} rows/s`;
    const parts = [rate, `the newest ${group(rows)} are shown`];
    if (this.#frozen) parts.push(`paused, ${group(tape.came - this.#frozen.came)} rows came since`);
    else if (tape.open.length) parts.push(`${group(tape.open.length)} provisional`);
    if (this.#skipped) parts.push("rows were skipped: this page was away, or could not keep up");
    if (tape.lost) parts.push(`${group(tape.lost)} rows left out for want of room`);
    if (tape.late) parts.push(`${group(tape.late)} rows came behind the watermark: this must not happen`);
    const count = byId("tape-count");
    setText(count, parts.join(" · "));
    count.classList.toggle("bad", tape.late > 0);
  }
}

function classOf(column) {
  return [column.number ? "number" : "text", column.spare ? "spare" : ""].join(" ").trim();
}

function textOf(value, column) {
  if (value === null || value === undefined) return "–";
  if (column.number) return decimal(value);
  return column.type === "timestamp" ? clockOf(value, 6) : String(value);
}

/** How far a stamp lies behind now. */
export function behind(stamp, now) {
  return stamp ? formatSpan(now - parseStamp(stamp)) : "";
}
