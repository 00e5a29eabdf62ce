// Final rows of a range again, page after page, as a clock comes to them. Two pages are held at most.
import { getRows, rowsAt } from "./api.js";
import { ReplayClock } from "./clocks.js";
import { keyOf, keyParams } from "./keys.js";
import { formatStamp, parseStamp } from "./stamp.js";
import { Rate, Tape } from "./tape.js";

/** Rows of a page. */
const PAGE = 2000;

/** Rows that a frame gives at most: the next has the rest. */
const BURST = 4000;

export class ReplaySource {
  tape = new Tape();
  rate = new Rate();
  word = "replayed through";
  /** Whether it waits for rows. */
  waiting = false;
  error = null;
  #def;
  #keys;
  #rows = [];
  #loaded;
  #next = null;
  #busy = false;
  #stop = new AbortController();

  /** Rows of these keys, or of all (null), in [start, end). */
  constructor(def, keys, [start, end], speed) {
    this.#def = def;
    this.#keys = keys;
    this.clock = new ReplayClock(start, end, speed);
    this.seek(start);
  }

  close() {
    this.#stop.abort();
  }

  /** Begins anew at a stamp of the range. */
  seek(at) {
    this.#stop.abort();
    this.#stop = new AbortController();
    this.clock.seek(at);
    const { came } = this.tape;
    this.tape = new Tape();
    this.tape.came = came;
    this.#rows = [];
    this.#next = null;
    this.#busy = false;
    this.#loaded = this.clock.at;
    this.error = null;
    this.#load(() => getRows(`streams/${encodeURIComponent(this.#def.name)}/window`, this.#params(), this.#stop.signal));
  }

  #params() {
    const range = [["start", formatStamp(this.clock.at)], ["end", formatStamp(this.clock.end)]];
    return [...range, ["limit", String(PAGE)], ...(this.#keys ? keyParams(this.#def, this.#keys) : [])];
  }

  async #load(ask) {
    const { signal } = this.#stop;
    this.#busy = true;
    try {
      const { rows, next } = await ask();
      if (signal.aborted) return;
      this.#next = next;
      const last = rows[rows.length - 1];
      this.#loaded = next && last ? parseStamp(last.hlc) : this.clock.end;
      const wanted = this.#keys ? rows.filter((row) => this.#keys.includes(keyOf(this.#def, row))) : rows;
      this.#rows.push(...wanted.map((row) => [parseStamp(row.hlc), row]));
      this.error = null;
    } catch (error) {
      if (!signal.aborted) this.error = error;
    }
    if (!signal.aborted) this.#busy = false;
  }

  /** Moves on by real time. Whether anything changed. */
  advance(elapsedMs, nowMs) {
    if (!this.error) this.#more();
    const before = this.clock.at;
    // of two rows with one stamp, the second may be on the next page
    const bound = this.#next ? this.#loaded - 1n : this.#loaded;
    const rows = this.#rows.length > BURST ? this.#rows[BURST][0] - 1n : bound;
    this.waiting = this.clock.advance(elapsedMs, rows < bound ? rows : bound);
    this.#give();
    this.rate.note(nowMs, this.tape.came);
    return this.clock.at !== before;
  }

  /** Goes to the next row, if one is there. Whether it did. */
  step() {
    if (!this.#rows.length) return false;
    this.clock.at = this.#rows[0][0];
    this.#give();
    if (this.#rows.length < PAGE && !this.error) this.#more();
    return true;
  }

  #more() {
    if (this.#busy || !this.#next || this.#rows.length > PAGE) return;
    const next = this.#next;
    this.#load(() => rowsAt(next, this.#stop.signal));
  }

  #give() {
    let count = 0;
    while (count < this.#rows.length && this.#rows[count][0] <= this.clock.at) count += 1;
    const rows = this.#rows.splice(0, count).map(([, row]) => row);
    if (rows.length) this.tape.add(rows);
    this.tape.complete(formatStamp(this.clock.at));
  }

  /** Tries again what failed. */
  retry() {
    if (!this.error) return;
    if (this.#next) this.error = null;
    else this.seek(this.clock.at);
  }
}
