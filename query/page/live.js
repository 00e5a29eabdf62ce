// The live tape: eager rows and the watermark from a subscription, on top of the newest rows before.
import { Follower, clock, getRows } from "./api.js";
import { keyOf, keyParams } from "./keys.js";
import { parseStamp } from "./stamp.js";
import { Rate, Tape } from "./tape.js";

/** Rows from before the subscription. */
const BEFORE = "200";

/** A tape that is further behind cannot keep up, or was away: it goes on with what comes now. */
const MOST_BEHIND_NS = 10_000_000_000n;

/** Delays of a partition's rows that are remembered. */
const DELAYS = 256;

/** How long after its stamp a row was here, by partition. */
export class Freshness {
  #delays = new Map();

  note(partition, newest, now) {
    const list = this.#delays.get(partition) ?? [];
    list.push([now, now - parseStamp(newest)]);
    if (list.length > DELAYS) list.shift();
    this.#delays.set(partition, list);
  }

  /** The middle and the longest of the last ten seconds, ns; null without rows. */
  of(partition, now) {
    const list = (this.#delays.get(partition) ?? []).filter(([at]) => now - at < 10_000_000_000n);
    if (!list.length) return null;
    const sorted = list.map(([, delay]) => delay).sort((a, b) => (a < b ? -1 : 1));
    return { middle: sorted[sorted.length >> 1], longest: sorted[sorted.length - 1] };
  }
}

export class Live {
  tape = new Tape();
  rate = new Rate();
  freshness = new Freshness();
  word = "complete through";
  /** Rows of these keys alone; null: of all. */
  #keys;
  #def;
  #on;
  #follower;
  #stop = new AbortController();
  #begun = false;
  #timer;

  /** `on` has `paint()`, `opened()`, `lost(error)`, `first()` when a row comes, and `skipped()`. */
  constructor(def, keys, on) {
    this.#def = def;
    this.#keys = keys;
    this.#on = on;
    this.#follow();
    this.#timer = setInterval(() => {
      this.rate.note(performance.now(), this.tape.came);
      this.#on.paint();
    }, 250);
  }

  close() {
    this.#stop.abort();
    this.#follower.close();
    clearInterval(this.#timer);
  }

  get #path() {
    return `streams/${encodeURIComponent(this.#def.name)}`;
  }

  #follow() {
    const params = [["mode", "eager"], ...(this.#keys ? keyParams(this.#def, this.#keys) : [])];
    this.#follower = new Follower(`${this.#path}/subscribe`, params, {
      rows: (rows, partition) => this.#rows(rows, partition),
      watermark: (stamp) => this.#watermark(stamp),
      opened: (again) => this.#opened(again),
      lost: (error) => this.#on.lost(error),
    });
  }

  /** Whoever was away too long would show old rows as news: it begins anew. */
  #anew() {
    this.#follower.close();
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#begun = false;
    const { came } = this.tape;
    this.tape = new Tape();
    this.tape.came = came;
    this.#on.skipped();
    this.#follow();
  }

  #opened() {
    this.#on.opened();
    if (!this.#begun) this.#fillBefore(this.#stop.signal);
    this.#begun = true;
  }

  /** The subscription came first, so what is between is in both, and shown once. */
  async #fillBefore(signal) {
    const params = [["order", "desc"], ["limit", BEFORE], ["consistency", "latest"], ...(this.#keys ? keyParams(this.#def, this.#keys) : [])];
    try {
      const { rows, complete } = await getRows(`${this.#path}/window`, params, signal);
      if (signal.aborted) return;
      this.tape.complete(complete);
      this.tape.add(this.#wanted(rows), true);
      if (rows.length) this.#on.first();
      this.#on.paint();
    } catch (error) {
      if (!signal.aborted) this.#on.lost(error);
    }
  }

  #rows(rows, partition) {
    const wanted = this.#wanted(rows);
    if (!wanted.length) return;
    const now = clock.now(Date.now());
    const newest = wanted[wanted.length - 1].hlc;
    if (now - parseStamp(newest) > MOST_BEHIND_NS) return this.#anew();
    if (partition !== undefined) this.freshness.note(Number(partition), newest, now);
    this.tape.add(wanted);
    this.#on.first();
    this.#on.paint();
  }

  #watermark(stamp) {
    this.tape.complete(stamp);
    this.#on.paint();
  }

  #wanted(rows) {
    return this.#keys ? rows.filter((row) => this.#keys.includes(keyOf(this.#def, row))) : rows;
  }
}
