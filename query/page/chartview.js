// The chart: which bars of which time, drawn, read out and moved through by mouse, finger and keys.
import { Poller, clock } from "./api.js";
import { BarSource } from "./barsource.js";
import { byId, make, painter, setOptions, setText, wordsOf } from "./dom.js";
import { decimal, group } from "./exact.js";
import { label, numericColumns, sizeFor } from "./keys.js";
import { Plot, changes } from "./plot.js";
import { INTERVALS, intervalFor, panned, zoomed } from "./scale.js";
import { SECOND, clockOf, floorTo, formatStamp, parseDuration } from "./stamp.js";

const RANGES = [["30s", "30 s"], ["1m", "1 min"], ["5m", "5 min"], ["15m", "15 min"], ["1h", "1 h"], ["6h", "6 h"], ["1d", "1 d"], ["7d", "7 d"]];

/** Bars that a chosen length may lead to, and what `auto` aims at. */
const BARS = { most: 3000, aim: 240 };

/** Pauses between questions, ms; a question that takes long makes them longer. */
const EVERY_MS = { least: 500, most: 5000 };

/** Pixels that a pointer must move before it is a drag. */
const DRAG = 6;

export class ChartView {
  #svg = byId("plot");
  #plot = new Plot(this.#svg);
  #paint = painter(() => this.#draw(), 60);
  #subject = null;
  #source = null;
  #poller = null;
  /** A fixed range; null: the last so-and-so long. */
  #fixed = null;
  #rolling = "1m";
  #bound = null;
  #cursor = null;
  #drag = null;

  constructor() {
    setOptions(byId("interval"), [["auto", "auto"], ...INTERVALS.map((one) => [one, one])], "auto");
    setOptions(byId("range"), [...RANGES, ["chosen", "chosen"]], this.#rolling);
    byId("interval").addEventListener("change", () => this.#reload());
    byId("range").addEventListener("change", () => this.#rangeChosen());
    for (const id of ["price", "size"]) byId(id).addEventListener("change", () => this.#columnsChosen(id));
    const click = (id, act) => byId(id).addEventListener("click", act);
    click("zoom-in", () => this.#zoom(0.5));
    click("zoom-out", () => this.#zoom(2));
    click("pan-back", () => this.#pan(-0.25));
    click("pan-on", () => this.#pan(0.25));
    click("reset", () => this.#reset());
    this.#svg.addEventListener("keydown", (event) => this.#key(event));
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerleave"]) {
      this.#svg.addEventListener(name, (event) => this.#pointer(event));
    }
    new ResizeObserver(([entry]) => {
      this.#plot.resize(Math.round(entry.contentRect.width), Math.round(entry.contentRect.height));
      this.#paint();
    }).observe(this.#svg);
    setInterval(() => { if (!this.#fixed && !document.hidden) this.#paint(); }, 250);
  }

  /** Shows keys of a stream; `columns` is null if it has no numbers, `range` where the first have rows. */
  show(def, keys, columns, range = "1m") {
    const other = this.#subject?.def.name !== def.name;
    if (other || (keys.length && !this.#subject.keys.length)) this.#begin(range);
    this.#subject = { def, keys, columns: other ? columns : this.#subject.columns };
    if (other && columns) {
      const names = numericColumns(def).map((name) => [name, name]);
      setOptions(byId("price"), names, columns.price);
      setOptions(byId("size"), names, columns.size);
      byId("columns-choice").hidden = names.length < 3;
    }
    this.#reload();
  }

  #begin(range) {
    this.#rolling = range;
    this.#fixed = null;
    this.#rangeShown();
  }

  /** Shows a replay up to a stamp in its range, until `live` is called. */
  replay(range, bound) {
    this.#fixed = range;
    this.#bound = bound;
    this.#rangeShown();
    this.#reload();
  }

  /** The replay has come to a stamp. */
  replayed(bound) {
    this.#bound = bound;
    this.#paint();
  }

  live() {
    this.#bound = null;
    this.#reset();
  }

  /** Stops and begins asking, as the page is hidden and shown. */
  sleep() { this.#poller?.close(); }
  wake() { if (this.#subject) this.#reload(); }

  /** What is in view. */
  get range() {
    if (this.#fixed) return this.#fixed;
    const span = parseDuration(this.#rolling);
    const end = this.#now(span);
    return [end - span, end];
  }

  /** Where a range of a length ends at the live edge: with some room. */
  #now(span) {
    return clock.now(Date.now()) + span / 40n;
  }

  get #interval() {
    const chosen = byId("interval").value;
    const [start, end] = this.range;
    const least = intervalFor(end - start, chosen === "auto" ? BARS.aim : BARS.most);
    return chosen === "auto" || parseDuration(least) > parseDuration(chosen) ? least : chosen;
  }

  #rangeChosen() {
    if (byId("range").value === "chosen") return this.#fix(this.range);
    this.#rolling = byId("range").value;
    this.#fixed = null;
    return this.#reload();
  }

  #columnsChosen(id) {
    const { columns } = this.#subject;
    const price = byId("price").value;
    if (id === "price") byId("size").value = sizeFor(numericColumns(this.#subject.def), price);
    this.#subject.columns = { ...columns, price, size: byId("size").value };
    this.#reload();
  }

  #fix([start, end]) {
    // what lies ahead of now is empty
    const ahead = end - this.#now(end - start);
    this.#fixed = ahead > 0n ? [start - ahead, end - ahead] : [start, end];
    this.#rangeShown();
    this.#reload();
  }

  #rangeShown() {
    byId("range").value = this.#fixed ? "chosen" : this.#rolling;
  }

  // the live edge stays where it is
  #zoom(factor) { this.#fix(zoomed(this.range, factor, this.#fixed ? 0.5 : 1)); }
  #pan(share) { this.#fix(panned(this.range, share)); }

  #reset() {
    this.#fixed = null;
    this.#cursor = null;
    this.#rangeShown();
    this.#reload();
  }

  #reload() {
    this.#poller?.close();
    const { def, keys, columns } = this.#subject ?? {};
    if (!keys?.length || !columns) {
      this.#source = null;
      this.#message(columns === null ? "This stream has no numbers to draw." : "");
      return this.#paint();
    }
    const interval = this.#interval;
    const source = new BarSource({ stream: def.name, def, keys, columns, interval, intervalNs: parseDuration(interval) });
    source.interval = parseDuration(interval);
    source.name = interval;
    source.keys = keys;
    // what is drawn stays until its successor has something
    if (!this.#source?.series || this.#source.keys !== keys) this.#source = source;
    this.#poller = new Poller(EVERY_MS.least, (signal) => this.#refresh(source, signal), (error) => this.#message(wordsOf(error)));
    return this.#paint();
  }

  async #refresh(source, signal) {
    // with time, or by a longer range, another length may fit better
    if (this.#interval !== source.name) return this.#reload();
    const began = performance.now();
    const asked = await source.refresh(this.range, { open: !this.#fixed, bound: this.#bound }, signal);
    if (signal.aborted) return undefined;
    this.#source = source;
    this.#message("");
    if (asked) this.#paint();
    const pause = Math.min(EVERY_MS.most, 4 * (performance.now() - began));
    return new Promise((resolve) => { setTimeout(resolve, pause); });
  }

  #message(text) {
    const message = byId("plot-message");
    setText(message, text);
    message.hidden = !text;
  }

  #draw() {
    const source = this.#source;
    const range = this.range;
    const series = source?.series;
    const keys = source?.keys ?? [];
    const lists = series ? keys.map((key) => series.within(key, ...range)) : [];
    this.#plot.draw({
      range,
      interval: source?.interval ?? SECOND,
      series: lists.length ? lists : [[]],
      isOpen: (bar) => series.isOpen(bar),
      edge: this.#bound ?? series?.complete ?? null,
      edgeText: this.#bound === null ? "complete" : "replay",
      cursor: this.#cursor,
    });
    this.#say(source, keys, lists, range);
  }

  #say(source, keys, lists, range) {
    const [start, end] = range.map(formatStamp);
    const day = start.slice(0, 10);
    setText(byId("plot-range"), `${day} ${clockOf(start)} to ${end.slice(0, 10) === day ? "" : `${end.slice(0, 10)} `}${clockOf(end)}`);
    const count = lists.reduce((sum, list) => sum + list.length, 0);
    const parts = source ? [`${group(count)} ${count === 1 ? "bar" : "bars"} of ${source.name}`] : [];
    const chosen = byId("interval").value;
    if (source && chosen !== "auto" && chosen !== source.name) parts.push(`${chosen} would be more than ${group(BARS.most)} bars`);
    if (source?.cut) parts.push("the answer was cut: choose longer bars or fewer keys");
    if (source?.series && !count) parts.push("no trades of these keys here");
    setText(byId("plot-note"), parts.length ? `· ${parts.join(" · ")}` : "");
    setText(byId("chart-title"), keys.length === 1 ? label(keys[0]) : keys.length ? `${keys.length} keys, change in %` : "Price");
    this.#readOut(source, keys, lists);
  }

  #readOut(source, keys, lists) {
    const readout = byId("readout");
    if (lists.length > 1) return readout.replaceChildren(...lists.map((list, at) => this.#compared(list, keys[at], at)));
    const list = lists[0] ?? [];
    const one = (this.#cursor !== null && list.find((item) => item.at === this.#cursor)) || list[list.length - 1];
    if (!one) return readout.replaceChildren("\u00a0");
    const { bar } = one;
    const { price, size } = this.#subject.columns;
    const part = (name, value) => make("span", {}, make("span", { class: "name" }, name), ` ${value} `);
    const named = (name) => part(name[0].toUpperCase(), decimal(bar[name]));
    return readout.replaceChildren(
      part("bar", clockOf(bar.time)), ...["open", "high", "low", "close"].map(named), part("volume", `${decimal(bar.volume)} ${size}`),
      ...(bar.vwap === null ? [] : [part("VWAP", `${decimal(bar.vwap)} ${price}`)]), make("span", {}, `${group(bar.count)} trades `),
      source.series.isOpen(one) ? make("span", { class: "tag" }, this.#bound === null ? "provisional" : "so far") : make("span", { class: "tag final" }, "final"),
    );
  }

  #compared(list, key, at) {
    const until = this.#cursor === null ? list : list.filter((item) => item.at <= this.#cursor);
    const last = until[until.length - 1];
    const change = last ? changes(list)[until.length - 1].close : 0;
    const text = last ? `${decimal(last.bar.close)} (${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(2)} %)` : "no trades";
    return make("span", { class: `of series-${at}` }, make("span", { class: "name" }, label(key)), ` ${text} `);
  }

  #bars() {
    const source = this.#source;
    return source?.series ? source.series.within(source.keys[0], ...this.range) : [];
  }

  #key(event) {
    const acts = {
      "ArrowLeft": () => (event.shiftKey ? this.#step(-1) : this.#pan(-0.1)),
      "ArrowRight": () => (event.shiftKey ? this.#step(1) : this.#pan(0.1)),
      "+": () => this.#zoom(0.5),
      "=": () => this.#zoom(0.5),
      "-": () => this.#zoom(2),
      "0": () => this.#reset(),
      "Escape": () => this.#cancel(),
    };
    if (!acts[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    acts[event.key]();
  }

  #cancel() {
    this.#drag = null;
    this.#cursor = null;
    this.#plot.select(null, null);
    this.#readAloud(false);
    this.#paint();
  }

  #step(by) {
    const bars = this.#bars();
    const at = bars.findIndex((bar) => bar.at === this.#cursor);
    const next = at < 0 ? bars.length - 1 : Math.min(bars.length - 1, Math.max(0, at + by));
    this.#cursor = bars[next]?.at ?? null;
    this.#readAloud(true);
    this.#paint();
  }

  #readAloud(on) { byId("readout").setAttribute("aria-live", on ? "polite" : "off"); }

  #pointer(event) {
    const x = event.clientX - this.#svg.getBoundingClientRect().left;
    if (event.type === "pointerdown" && event.button === 0) {
      this.#drag = { x, range: this.range };
      this.#svg.setPointerCapture(event.pointerId);
    } else if (event.type === "pointermove") {
      if (this.#drag && Math.abs(x - this.#drag.x) >= DRAG) this.#plot.select(this.#drag.x, x);
      this.#point(x);
    } else if (event.type === "pointerup" && this.#drag) {
      this.#dropped(x);
    } else if (event.type !== "pointerdown") {
      this.#cancel();
    }
  }

  #point(x) {
    if (!this.#plot.x || !this.#source) return;
    const [start, end] = this.range;
    const at = start + BigInt(Math.round(Number(end - start) * this.#plot.share(x)));
    this.#cursor = floorTo(at, this.#source.interval);
    this.#paint();
  }

  #dropped(x) {
    const { x: from, range: [start, end] } = this.#drag;
    this.#drag = null;
    this.#plot.select(null, null);
    if (Math.abs(x - from) < DRAG) return;
    const shares = [this.#plot.share(Math.min(from, x)), this.#plot.share(Math.max(from, x))];
    const [left, right] = shares.map((share) => start + BigInt(Math.round(Number(end - start) * share)));
    if (right - left >= 10_000_000n) this.#fix([left, right]);
  }
}
