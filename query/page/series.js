// Bars of one or more keys, as the API gave them.
import { floorTo, parseStamp } from "./stamp.js";

/** Bars that are kept of each key. */
export const MOST_BARS = 3000;

export class Series {
  /** Bars by key, in order of time: `{at, bar, low, high, open, close, volume}`, `bar` with the exact text. */
  byKey = new Map();
  /** How far the newest answer was complete, ns. */
  complete = null;
  #interval;
  #most;

  constructor(interval, most = MOST_BARS) {
    this.#interval = interval;
    this.#most = most;
  }

  /** From where on bars may still change: where to ask again. */
  dueFrom(start) {
    if (this.complete === null || this.complete < start) return start;
    return floorTo(this.complete, this.#interval);
  }

  /** Whether nothing below `end` can change any more. */
  isFinal(end) {
    return this.complete !== null && this.complete >= end;
  }

  /** Puts an answer that began at `from` in the place of what was there from then on. */
  put(from, bars, keyOf, complete) {
    for (const [key, list] of this.byKey) {
      const cut = firstFrom(list, from);
      if (cut < list.length) this.byKey.set(key, list.slice(0, cut));
    }
    for (const bar of bars) {
      const key = keyOf(bar);
      if (!this.byKey.has(key)) this.byKey.set(key, []);
      this.byKey.get(key).push(drawn(bar));
    }
    for (const [key, list] of this.byKey) {
      if (!list.length) this.byKey.delete(key);
      else if (list.length > this.#most) this.byKey.set(key, list.slice(-this.#most));
    }
    this.complete = complete;
  }

  /** Bars of a key whose interval reaches into [start, end). */
  within(key, start, end) {
    const list = this.byKey.get(key) ?? [];
    return list.slice(firstFrom(list, start - this.#interval + 1n), firstFrom(list, end));
  }

  /** Whether a bar can still change. */
  isOpen(bar) {
    return this.complete === null || bar.at + this.#interval > this.complete;
  }

  get length() {
    let count = 0;
    for (const list of this.byKey.values()) count += list.length;
    return count;
  }
}

// doubles say where to draw; what is read out is `bar`
function drawn(bar) {
  const number = (name) => Number(bar[name]);
  return {
    at: parseStamp(bar.time),
    bar,
    open: number("open"),
    high: number("high"),
    low: number("low"),
    close: number("close"),
    volume: number("volume"),
  };
}

function firstFrom(list, at) {
  let from = 0;
  let to = list.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (list[middle].at < at) from = middle + 1;
    else to = middle;
  }
  return from;
}
