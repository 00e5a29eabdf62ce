// Partitions, writers, rejects, commits and segments.
import { Poller, clock, getJson } from "./api.js";
import { byId, make, setText, wordsOf } from "./dom.js";
import { bytes, group } from "./exact.js";
import { MS, clockOf, formatSpan, formatStamp, parseDuration, parseStamp } from "./stamp.js";
import { Landed, Refused, leaseLeft } from "./health.js";

/** How often it asks, ms. */
const EVERY_MS = { partitions: 1000, writers: 2000, rejects: 3000 };

/** Rows of a table. */
const SHOWN = { writers: 12, rejects: 20, commits: 12, files: 12 };

const HEADS = {
  partitions: ["partition", "watermark", "watermark delay", "fresh after (middle, longest)", "lag", "newest commit", "sealed", "unsealed", "repeats", "rejected", "state"],
  writers: ["writer", "gateway", "state", "lease", "clock drift", "last seen"],
  rejects: ["partition", "offset", "appended", "reason", "frame", "writer", "rows", "size"],
  commits: ["seen", "partition", "commit", "sealed by it", "rows in all"],
  files: ["partition", "rows", "size", "first stamp", "spans", "file hash"],
};

export class HealthView {
  #def = null;
  #live = () => null;
  #pollers = [];
  #landed = null;
  #refused = null;
  #on;

  /** `on` has `heard()` and `lost(error)`. */
  constructor(on) {
    this.#on = on;
  }

  /** Shows a stream; `live()` is the tape's source, which knows how fresh rows are. */
  show(def, live) {
    this.#def = def;
    this.#live = live;
    this.#landed = new Landed();
    this.#refused = new Refused();
    for (const name of Object.keys(HEADS)) table(name, []);
    this.wake();
  }

  sleep() {
    this.#pollers.forEach((poller) => poller.close());
    this.#pollers = [];
  }

  wake() {
    this.sleep();
    if (!this.#def) return;
    const poll = (every, ask) => new Poller(every, ask, (error) => this.#on.lost(error));
    this.#pollers = [
      poll(EVERY_MS.partitions, (signal) => this.#partitions(signal)),
      poll(EVERY_MS.writers, (signal) => this.#writers(signal)),
      poll(EVERY_MS.rejects, (signal) => this.#rejects(signal)),
    ];
  }

  #get(what, params, signal) {
    return getJson(`streams/${encodeURIComponent(this.#def.name)}/${what}`, params, signal);
  }

  async #partitions(signal) {
    const { partitions } = await this.#get("partitions", [], signal);
    if (signal.aborted) return;
    this.#on.heard();
    const now = clock.now(Date.now());
    table("partitions", partitions.map((one) => this.#partition(one, now)));
    const fresh = "Fresh after: time from a row’s stamp to its arrival here, over the last 10 s.";
    setText(byId("partitions-note"), fresh);
    const ahead = clock.aheadMs;
    const agree = Math.abs(ahead) < 500 ? "" : `The service’s clock is ${formatSpan(BigInt(Math.round(ahead)) * MS)} ahead of this machine’s; delays are by the service’s.`;
    setText(byId("clock-note"), agree);
    this.#refused.known(partitions);
    if (this.#landed.commits(partitions, formatStamp(now))) await this.#files(signal);
    this.#showCommits();
  }

  #partition(one, now) {
    const fresh = this.#live()?.freshness?.of(Number(one.partition), now);
    const delay = now - parseStamp(one.watermark);
    const state = one.stopped ?? (one.caught_up ? "follows" : "catches up");
    return [
      one.partition, clockOf(one.watermark), meter(formatSpan(delay > 0n ? delay : 0n), delay),
      fresh ? `${formatSpan(fresh.middle)}, ${formatSpan(fresh.longest)}` : "no rows",
      `${group(one.lag)} records`, one.commit ?? "none", rows(one.sealed_rows), rows(one.unsealed_rows), rows(one.duplicate_rows),
      make("span", { class: Number(one.rejected_rows) ? "bad" : "" }, rows(one.rejected_rows)),
      make("span", { class: one.stopped ? "bad" : "" }, state),
    ];
  }

  async #writers(signal) {
    const { writers } = await getJson("writers", [], signal);
    if (signal.aborted) return;
    const now = clock.now(Date.now());
    const rank = (one) => (one.state === "joined" ? 0 : 1);
    const sorted = writers.sort((a, b) => rank(a) - rank(b) || Number(b.writer) - Number(a.writer));
    table("writers", sorted.slice(0, SHOWN.writers).map((one) => writer(one, now)));
    setText(byId("writers-note"), more(sorted.length, SHOWN.writers, "earlier ones"));
  }

  async #rejects(signal) {
    for (const { partition, from } of this.#refused.due(Date.now())) {
      const { rejects } = await this.#get("rejects", [["partition", partition], ["from_offset", from], ["limit", "1000"]], signal);
      if (signal.aborted) return;
      this.#refused.found(partition, rejects);
    }
    const { list } = this.#refused;
    table("rejects", list.slice(0, SHOWN.rejects).map((one) => [
      one.partition, one.offset, clockOf(one.append_time), one.reason, one.kind ?? "unreadable", one.writer ?? "–", one.rows === undefined ? "–" : rows(one.rows), bytes(one.bytes),
    ]));
    const none = "None among the newest records: frames that break the protocol would be listed here as they come.";
    setText(byId("rejects-note"), list.length ? more(list.length, SHOWN.rejects, "more") : none);
  }

  async #files(signal) {
    const window = parseDuration(this.#def.window) ?? 10_000_000_000n;
    const start = this.#landed.filesFrom(clock.now(Date.now()), window);
    try {
      const { files } = await this.#get("files", [["start", formatStamp(start)]], signal);
      if (signal.aborted) return;
      this.#landed.files(files);
      this.#showFiles();
    } catch (error) {
      if (!signal.aborted) setText(byId("files-note"), wordsOf(error));
    }
  }

  #showFiles() {
    const { newest } = this.#landed;
    table("files", newest.slice(0, SHOWN.files).map((file) => {
      const first = BigInt(file.first_hlc);
      const hash = make("span", { title: file.path }, file.file_hash.slice(0, 12));
      return [file.partition, rows(file.rows), bytes(file.bytes), clockOf(formatStamp(first)), formatSpan(BigInt(file.last_hlc) - first), hash];
    }));
    setText(byId("files-note"), newest.length ? more(newest.length, SHOWN.files, "lately") : "None in the last minutes: a segment lands once its window is sealed.");
  }

  #showCommits() {
    const { list, began } = this.#landed;
    table("commits", list.slice(0, SHOWN.commits).map((one) => [clockOf(one.seen, 0), one.partition, one.commit, rows(one.rows), rows(one.all)]));
    setText(byId("commits-note"), list.length ? more(list.length, SHOWN.commits, "earlier") : `None since ${clockOf(began ?? "", 0)}, when this page began to look.`);
  }
}

function writer(one, now) {
  const left = leaseLeft(one, now);
  const lease = left === null ? "–" : left.left > 0n ? `${formatSpan(left.left)} of ${formatSpan(left.lease)} left` : `over for ${formatSpan(-left.left)}`;
  const drift = one.drift_ms === null ? "not told yet" : `${Number(one.drift_ms) > 0 ? "+" : ""}${String(one.drift_ms).replace("-", "−")} ms`;
  const joined = one.state === "joined";
  const seen = formatSpan(now - parseStamp(one.last_seen));
  return [
    one.writer, one.gateway, make("span", { class: joined ? "good" : "" }, one.state.replace("_", " ")),
    joined ? make("span", { class: left && left.left <= 0n ? "bad" : "" }, lease) : "–",
    make("span", { class: joined && Math.abs(Number(one.drift_ms)) >= 250 ? "bad" : "" }, drift), `${seen} ago`,
  ];
}

const rows = (count) => `${group(count)} rows`;

const more = (count, most, word) => (count > most ? `and ${group(count - most)} ${word}` : "");

/** A value with a bar behind it: full at one second. */
function meter(text, delay) {
  const element = make("span", { class: "meter" }, text);
  element.style.setProperty("--share", String(Math.min(1, Math.max(0, Number(delay) / 1e9))));
  if (delay > 5_000_000_000n) element.classList.add("bad");
  return element;
}

/** Fills a table; each cell knows its column's name, for narrow screens. */
function table(name, lines) {
  const element = byId(name);
  if (!element.tHead) {
    const head = make("tr", {}, ...HEADS[name].map((text) => make("th", { scope: "col" }, text)));
    element.append(make("thead", {}, head), make("tbody"));
  }
  const fill = (line) => make("tr", {}, ...line.map((value, at) => make("td", { "data-label": HEADS[name][at] }, value ?? "–")));
  element.tBodies[0].replaceChildren(...lines.map(fill));
  element.hidden = !lines.length;
}
