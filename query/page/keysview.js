// Which keys are shown: those that traded lately, most trades first.
import { clock, getJson, getRows } from "./api.js";
import { byId, make, setText, wordsOf } from "./dom.js";
import { group } from "./exact.js";
import { keyOf, label } from "./keys.js";
import { MOST_KEYS } from "./plot.js";
import { SECOND, formatStamp } from "./stamp.js";

/** How far back keys are looked for, until there are some: seconds, words, and the range that shows it. */
const BACK = [[30n, "30 seconds", "1m"], [600n, "10 minutes", "15m"], [3600n, "hour", "1h"], [86_400n, "day", "1d"], [null, "", "7d"]];

/** Keys that are listed: more are found by typing. */
const LISTED = 100;

/** Bars that are read for it at most. */
const MOST_BARS = "20000";

export class KeysView {
  #found = [];
  #step = 0;
  #changed;
  #def = null;
  #columns = null;
  #stop = new AbortController();
  chosen = [];

  constructor(changed) {
    this.#changed = changed;
    const details = byId("keys");
    byId("keys-find").addEventListener("input", () => this.#list());
    byId("keys-further").addEventListener("click", () => this.#look(Math.min(this.#step + 1, BACK.length - 1)));
    details.addEventListener("toggle", () => { if (details.open) byId("keys-find").focus(); });
    details.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      details.open = false;
      byId("keys-summary").focus();
    });
    document.addEventListener("pointerdown", (event) => { if (!details.contains(event.target)) details.open = false; });
  }

  /** Looks for the keys of a stream and chooses the busiest. Whether there are any rows at all. */
  async begin(def, columns) {
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#def = def;
    this.#columns = columns;
    this.#found = [];
    this.chosen = [];
    this.#list();
    let found = false;
    for (let step = 0; step < BACK.length && !found; step += 1) found = await this.#look(step);
    return found;
  }

  async #look(step) {
    const { signal } = this.#stop;
    try {
      const counted = await this.#count(BACK[step][0], signal);
      if (signal.aborted) return true;
      this.#step = step;
      this.#found = [...counted].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
      if (!this.chosen.length && this.#found.length) this.#choose([this.#found[0][0]]);
      this.#list();
    } catch (error) {
      if (!signal.aborted) setText(byId("keys-note"), wordsOf(error));
      return signal.aborted;
    }
    return this.#found.length > 0;
  }

  async #count(seconds, signal) {
    const path = `streams/${encodeURIComponent(this.#def.name)}`;
    const start = seconds && formatStamp(clock.now(Date.now()) - seconds * SECOND);
    const counted = new Map();
    const add = (row, count) => counted.set(keyOf(this.#def, row), (counted.get(keyOf(this.#def, row)) ?? 0) + count);
    if (this.#columns) {
      const { price, size } = this.#columns;
      const params = [["interval", "1d"], ["price", price], ["size", size], ["start", start], ["consistency", "latest"], ["limit", MOST_BARS]];
      for (const bar of (await getRows(`${path}/bars`, params, signal)).rows) add(bar, Number(bar.count));
    } else {
      const params = [["start", start], ["consistency", "latest"], ["order", "desc"], ["limit", "2000"]];
      for (const row of (await getRows(`${path}/window`, params, signal)).rows) add(row, 1);
    }
    return counted;
  }

  #choose(keys) {
    this.chosen = keys;
    const [first, ...rest] = keys;
    const text = first === undefined ? "none" : label(first) + (rest.length ? ` and ${rest.length} more` : "");
    setText(byId("keys-summary"), `Keys: ${text}`);
    this.#changed(keys);
  }

  #list() {
    const wanted = byId("keys-find").value.trim().toLowerCase();
    const fits = this.#found.filter(([key]) => label(key).toLowerCase().includes(wanted));
    const items = fits.slice(0, LISTED).map(([key, count]) => this.#item(key, count));
    byId("keys-list").replaceChildren(...items);
    if (!this.chosen.length) setText(byId("keys-summary"), "Keys: none");
    const [seconds, words] = BACK[this.#step];
    const since = seconds === null ? "in all that is left" : `in the last ${words}`;
    const more = fits.length > LISTED ? `; the first ${LISTED} are listed` : "";
    setText(byId("keys-note"), `${group(fits.length)} keys with rows ${since}${more}`);
    byId("keys-further").hidden = seconds === null;
  }

  #item(key, count) {
    const box = make("input", { type: "checkbox" });
    box.checked = this.chosen.includes(key);
    box.addEventListener("change", () => this.#toggle(key, box));
    return make("label", { class: "key" }, box, make("span", {}, label(key)), make("span", { class: "count" }, `${group(count)} rows`));
  }

  /** The range of a chart that has rows of the keys. */
  get range() {
    return BACK[this.#step][2];
  }

  #toggle(key, box) {
    const others = this.chosen.filter((one) => one !== key);
    const keys = box.checked ? [...others, key] : others;
    if (!keys.length || keys.length > MOST_KEYS) {
      box.checked = !box.checked;
      setText(byId("keys-note"), keys.length ? `at most ${MOST_KEYS} keys at once` : "at least one key");
      return;
    }
    this.#choose(keys);
  }
}

/** All streams, by name; `trades` first, which exists from the start. */
export async function streams(signal) {
  const { streams: all } = await getJson("streams", [], signal);
  const rank = ({ name }) => (name === "trades" ? `0` : `1${name}`);
  return all.sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
}
