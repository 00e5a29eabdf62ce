// Draws bars as SVG: a few paths, however many bars there are.
import { axisNumber } from "./exact.js";
import { makeSvg } from "./dom.js";
import { linear, ticks, timeScale, timeTicks } from "./scale.js";

const MARGIN = { top: 8, right: 74, bottom: 24, left: 4 };

/** Share of the height that volumes take. */
const VOLUME = 0.18;

const PARTS = [
  "grid", "open-area", "volume-up", "volume-down", "wick-up", "wick-down", "body-up", "body-down",
  "wick-up open", "wick-down open", "body-up open", "body-down open", "edge", "cross",
];

/** Keys that are compared at once have a colour each. */
export const MOST_KEYS = 6;

export class Plot {
  #svg;
  #paths = new Map();
  #lines = [];
  #texts = makeSvg("g", { class: "texts" });
  #selection = makeSvg("rect", { class: "selection", y: MARGIN.top });
  #edgeText = makeSvg("text", { class: "edge-text", y: MARGIN.top + 10 });
  width = 0;
  height = 0;
  /** From stamps to pixels; null until something was drawn. */
  x = null;

  constructor(svg) {
    this.#svg = svg;
    for (const part of PARTS) {
      const path = makeSvg("path", { class: part });
      this.#paths.set(part, path);
      svg.append(path);
    }
    for (let at = 0; at < MOST_KEYS; at += 1) {
      const line = makeSvg("path", { class: `series series-${at}` });
      this.#lines.push(line);
      svg.append(line);
    }
    svg.append(this.#texts, this.#edgeText, this.#selection);
  }

  resize(width, height) {
    this.width = width;
    this.height = height;
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  }

  get #inner() {
    return {
      left: MARGIN.left,
      right: Math.max(MARGIN.left + 10, this.width - MARGIN.right),
      top: MARGIN.top,
      bottom: Math.max(MARGIN.top + 10, this.height - MARGIN.bottom),
    };
  }

  /** The part of a pixel of the drawing that lies in the range, 0 to 1. */
  share(x) {
    const { left, right } = this.#inner;
    return Math.min(1, Math.max(0, (x - left) / (right - left)));
  }

  /**
   * `series`: lists of bars, one a key. One is drawn as candles with volumes, more as lines of the
   * change of their closes in %. `edge`: stamp of the watermark or of the replay.
   */
  draw({ range, interval, series, isOpen, edge, edgeText, cursor }) {
    const inner = this.#inner;
    this.x = timeScale(range[0], range[1], inner.left, inner.right);
    this.#texts.replaceChildren();
    const candles = series.length === 1;
    const values = candles ? [series[0]] : series.map(changes);
    const [low, high] = extent(values, candles);
    const floor = candles ? inner.bottom - (inner.bottom - inner.top) * VOLUME - 6 : inner.bottom;
    const y = linear(low, high, floor, inner.top);
    this.#axes(inner, range, { low, high, y, unit: candles ? "" : " %" });
    const d = Object.fromEntries(PARTS.map((part) => [part, ""]));
    d.grid = this.#paths.get("grid").getAttribute("d");
    if (candles) this.#candles(d, values[0], { interval, isOpen, y, inner });
    this.#lines.forEach((line, at) => line.setAttribute("d", candles || !values[at] ? "" : this.#line(values[at], interval, y)));
    this.#edge(d, inner, edge, edgeText);
    if (cursor !== null) d.cross = `M${fixed(this.#middle(cursor, interval))} ${inner.top}V${inner.bottom}`;
    for (const [part, path] of this.#paths) path.setAttribute("d", d[part]);
  }

  #candles(d, bars, { interval, isOpen, y, inner }) {
    if (!bars.length) return;
    const slot = this.x(bars[0].at + interval) - this.x(bars[0].at);
    const width = Math.max(1, Math.min(slot * 0.7, 18));
    const most = Math.max(...bars.map((bar) => bar.volume), 0) || 1;
    const tall = (inner.bottom - inner.top) * VOLUME;
    for (const bar of bars) {
      const middle = this.#middle(bar.at, interval);
      const way = bar.close >= bar.open ? "up" : "down";
      const suffix = isOpen(bar) ? " open" : "";
      const left = fixed(middle - width / 2);
      const [top, bottom] = [y(Math.max(bar.open, bar.close)), y(Math.min(bar.open, bar.close))];
      const body = Math.max(1, bottom - top);
      d[`wick-${way}${suffix}`] += `M${fixed(middle)} ${fixed(y(bar.high))}V${fixed(top)}M${fixed(middle)} ${fixed(top + body)}V${fixed(Math.max(y(bar.low), top + body))}`;
      d[`body-${way}${suffix}`] += `M${left} ${fixed(top)}h${fixed(width)}v${fixed(body)}h${fixed(-width)}z`;
      const volume = (bar.volume / most) * tall;
      d[`volume-${way}`] += `M${left} ${inner.bottom}h${fixed(width)}v${fixed(-volume)}h${fixed(-width)}z`;
    }
  }

  #line(points, interval, y) {
    return points.map((point, at) => `${at ? "L" : "M"}${fixed(this.#middle(point.at, interval))} ${fixed(y(point.close))}`).join("");
  }

  #middle(at, interval) {
    return (this.x(at) + this.x(at + interval)) / 2;
  }

  #axes(inner, range, { low, high, y, unit }) {
    const marks = ticks(low, high, Math.max(2, (inner.bottom - inner.top) / 48));
    let grid = "";
    for (const value of marks.values) {
      const at = y(value);
      if (at < inner.top + 4) continue;
      grid += `M${inner.left} ${fixed(at)}H${fixed(inner.right)}`;
      this.#texts.append(makeSvg("text", { x: inner.right + 6, y: fixed(at + 4) }, axisNumber(value, marks.step) + unit));
    }
    for (const { at, text } of timeTicks(range[0], range[1], Math.max(2, Math.floor((inner.right - inner.left) / 84)))) {
      const x = this.x(at);
      grid += `M${fixed(x)} ${inner.top}V${inner.bottom}`;
      if (x < 34) continue;
      this.#texts.append(makeSvg("text", { x: fixed(x), y: inner.bottom + 16, "text-anchor": "middle" }, text));
    }
    this.#paths.get("grid").setAttribute("d", grid);
  }

  #edge(d, inner, edge, text) {
    const x = edge === null ? Infinity : this.x(edge);
    this.#edgeText.textContent = "";
    if (x > inner.right + 1 || x < inner.left) return;
    d.edge = `M${fixed(x)} ${inner.top}V${inner.bottom}`;
    d["open-area"] = `M${fixed(x)} ${inner.top}H${fixed(inner.right)}V${inner.bottom}H${fixed(x)}z`;
    this.#edgeText.textContent = text;
    this.#edgeText.setAttribute("text-anchor", "end");
    this.#edgeText.setAttribute("x", fixed(x - 5));
  }

  /** Marks what is being dragged over; null ends it. */
  select(from, to) {
    const { bottom } = this.#inner;
    this.#selection.setAttribute("x", Math.min(from ?? 0, to ?? 0));
    this.#selection.setAttribute("width", Math.abs((to ?? 0) - (from ?? 0)));
    this.#selection.setAttribute("height", bottom - MARGIN.top);
  }
}

/** Closes as change since the first, %. */
export function changes(bars) {
  const base = bars[0]?.close || 1;
  return bars.map((bar) => ({ at: bar.at, close: (bar.close / base - 1) * 100 }));
}

/** Lowest and highest of what is drawn, with some air. */
function extent(values, candles) {
  let [low, high] = [Infinity, -Infinity];
  for (const list of values) {
    for (const one of list) {
      low = Math.min(low, candles ? one.low : one.close);
      high = Math.max(high, candles ? one.high : one.close);
    }
  }
  if (!(high >= low)) return [0, 1];
  const air = (high - low || Math.abs(high) * 0.001 || 1) * 0.06;
  return [low - air, high + air];
}

const fixed = (value) => Math.round(value * 10) / 10;
