// The replay's controls.
import { clock, getJson } from "./api.js";
import { byId, setOptions, setText, wordsOf } from "./dom.js";
import { group } from "./exact.js";
import { ReplaySource } from "./replaysource.js";
import { clockOf, formatSpan, formatStamp, parseStamp } from "./stamp.js";

const SPEEDS = [["0.1", "0.1×"], ["1", "1×"], ["2", "2×"], ["10", "10×"], ["100", "100×"], ["1000", "1,000×"], ["max", "max"]];

/** Pause between two looks at the chart during a replay, ms. */
const CHART_MS = 250;

export class ReplayView {
  #subject = null;
  #source = null;
  #on;
  #frame = 0;
  #last = 0;
  #charted = 0;

  /** `on` has `range()`, `begun(source, range)`, `moved(at)`, `ended()` and `paint()`. */
  constructor(on) {
    this.#on = on;
    setOptions(byId("replay-speed"), SPEEDS, "1");
    byId("replay-range").addEventListener("click", () => this.#takeRange());
    byId("replay-play").addEventListener("click", () => this.#toggle());
    byId("replay-step").addEventListener("click", () => this.#step());
    byId("replay-stop").addEventListener("click", () => this.stop());
    byId("replay-speed").addEventListener("change", () => { if (this.#source) this.#source.clock.speed = this.#speed; });
    byId("replay-at").addEventListener("input", (event) => this.#seek(Number(event.target.value) / 1000));
    for (const id of ["replay-from", "replay-to"]) byId(id).addEventListener("input", () => { if (this.#source) this.stop(); });
  }

  /** What is replayed: rows of these keys, or of all (null). */
  show(def, keys) {
    this.stop();
    this.#subject = { def, keys };
  }

  get #speed() {
    const value = byId("replay-speed").value;
    return value === "max" ? Infinity : Number(value);
  }

  #takeRange() {
    const [start, end] = this.#on.range();
    byId("replay-from").value = formatStamp(start);
    byId("replay-to").value = formatStamp(end);
    if (this.#source) this.stop();
  }

  async #begin() {
    if (!byId("replay-from").value) this.#takeRange();
    const [start, to] = ["replay-from", "replay-to"].map((id) => parseStamp(byId(id).value));
    this.#marked("replay-from", start === null);
    this.#marked("replay-to", to === null || (start !== null && to <= start));
    if (start === null || to === null) throw new Error("write times like 2026-01-31T14:30:00.5Z, UTC");
    if (to <= start) throw new Error("the end must lie after the beginning");
    const { def, keys } = this.#subject;
    // what is not complete yet cannot be replayed: it could come out otherwise the next time
    const { complete_through: complete } = await getJson(`streams/${encodeURIComponent(def.name)}/partitions`);
    const through = complete ? parseStamp(complete) : clock.now(Date.now());
    const end = to < through ? to : through;
    if (end <= start) throw new Error(`nothing is complete there yet: the stream is complete through ${complete}`);
    if (end < to) byId("replay-to").value = formatStamp(end);
    this.#source = new ReplaySource(def, keys, [start, end], this.#speed);
    byId("replay-at").disabled = false;
    byId("replay-stop").disabled = false;
    this.#on.begun(this.#source, [start, end]);
    this.#last = performance.now();
    this.#frame = requestAnimationFrame((now) => this.#tick(now));
  }

  #marked(id, wrong) {
    byId(id).setAttribute("aria-invalid", String(wrong));
  }

  async #ready() {
    if (this.#source) return true;
    try {
      await this.#begin();
      return true;
    } catch (error) {
      setText(byId("replay-state"), wordsOf(error));
      return false;
    }
  }

  async #toggle() {
    if (!(await this.#ready())) return;
    const { clock: position } = this.#source;
    if (position.ended && !position.playing) this.#source.seek(position.start);
    this.#source.retry();
    position.playing = !position.playing;
    this.#say();
  }

  async #step() {
    if (!(await this.#ready())) return;
    this.#source.clock.playing = false;
    this.#source.step();
    this.#moved(true);
  }

  #seek(share) {
    if (!this.#source) return;
    this.#source.seek(this.#source.clock.atShare(share));
    this.#moved(true);
  }

  stop() {
    if (!this.#source) return;
    cancelAnimationFrame(this.#frame);
    this.#source.close();
    this.#source = null;
    byId("replay-at").value = "0";
    byId("replay-at").disabled = true;
    byId("replay-stop").disabled = true;
    setText(byId("replay-play"), "Play");
    setText(byId("replay-state"), "Live again.");
    this.#on.ended();
  }

  #tick(now) {
    if (!this.#source) return;
    const elapsed = Math.min(250, now - this.#last);
    this.#last = now;
    if (this.#source.advance(elapsed, now)) this.#moved(false);
    else this.#say();
    this.#frame = requestAnimationFrame((next) => this.#tick(next));
  }

  #moved(atOnce) {
    const { clock: position } = this.#source;
    const now = performance.now();
    if (atOnce || position.ended || now - this.#charted > CHART_MS) {
      this.#charted = now;
      this.#on.moved(position.at);
    }
    byId("replay-at").value = String(Math.round(position.share * 1000));
    this.#on.paint();
    this.#say();
  }

  #say() {
    const { clock: position, tape, waiting, error } = this.#source;
    setText(byId("replay-play"), position.playing ? "Pause" : position.ended ? "Play again" : "Play");
    const at = clockOf(formatStamp(position.at), 6);
    const state = error ? wordsOf(error) : position.ended ? "at its end" : !position.playing ? "paused" : waiting ? "waits for rows" : "plays";
    const left = formatSpan(position.end - position.at);
    setText(byId("replay-state"), `${state} at ${at} · ${group(tape.came)} rows so far · ${left} to go`);
    byId("replay-at").setAttribute("aria-valuetext", at);
  }
}
