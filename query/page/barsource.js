// Bars from the API, kept up to date: the whole range once, then from where bars may still change.
import { getRows } from "./api.js";
import { keyOf, keyParams } from "./keys.js";
import { Series } from "./series.js";
import { ceilTo, floorTo, formatStamp, parseStamp } from "./stamp.js";

/** Bars of one answer. */
const LIMIT = 20_000;

export class BarSource {
  /** What was loaded last; null before. */
  series = null;
  /** Whether an answer was cut. */
  cut = false;
  #asked = null;
  #from = null;

  /** A question: `{stream, def, keys, columns, interval, intervalNs}`. */
  constructor(question) {
    this.#asked = question;
  }

  /**
   * Asks for what may have changed in a range; `open` if it goes on with time. `bound` is where a
   * replay stands: nothing from there on is asked for, and what lies before is complete. Whether there
   * was anything to ask.
   */
  async refresh([start, end], { open, bound }, signal) {
    const { intervalNs } = this.#asked;
    const begin = floorTo(start, intervalNs);
    const { series } = this;
    const fits = series && this.#from <= begin && !(bound !== null && series.complete > bound);
    const last = ceilTo(end, intervalNs);
    if (fits && series.isFinal(bound ?? last)) return false;
    const target = fits ? series : new Series(intervalNs, LIMIT);
    const from = fits ? series.dueFrom(begin) : begin;
    if (bound !== null && bound <= from) return this.#nothing(target, bound, begin, fits);
    const answer = await this.#ask(from, bound ?? (open ? null : last), signal);
    const complete = parseStamp(answer.complete);
    target.put(from, this.#wanted(answer.rows), (bar) => keyOf(this.#asked.def, bar), bound !== null && bound < complete ? bound : complete);
    this.cut = answer.next !== null;
    this.series = target;
    if (!fits) this.#from = begin;
    return true;
  }

  #nothing(target, bound, begin, fits) {
    if (fits) return false;
    target.complete = bound;
    this.series = target;
    this.#from = begin;
    return true;
  }

  #ask(from, end, signal) {
    const { stream, def, keys, columns, interval } = this.#asked;
    const params = [
      ["interval", interval], ["price", columns.price], ["size", columns.size], ["start", formatStamp(from)],
      ["end", end === null ? null : formatStamp(end)], ["consistency", "latest"], ["limit", String(LIMIT)],
      ...keyParams(def, keys),
    ];
    return getRows(`streams/${encodeURIComponent(stream)}/bars`, params, signal);
  }

  #wanted(bars) {
    const { def, keys } = this.#asked;
    return bars.filter((bar) => keys.includes(keyOf(def, bar)));
  }
}
