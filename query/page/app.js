// Puts the page together: what is chosen, and who is told.
import { clock, rest } from "./api.js";
import { ChartView } from "./chartview.js";
import { byId, setOptions, setText, wordsOf } from "./dom.js";
import { HealthView } from "./healthview.js";
import { chartColumns } from "./keys.js";
import { KeysView, streams } from "./keysview.js";
import { Live } from "./live.js";
import { ReplayView } from "./replayview.js";
import { clockOf, formatStamp } from "./stamp.js";
import { TapeView, behind } from "./tapeview.js";
import { startTheme } from "./theme.js";

/** How often an empty stream is looked at again, ms. */
const EMPTY_MS = 2000;

const tapeView = new TapeView();
const chart = new ChartView();
const keysView = new KeysView((keys) => keysChosen(keys));
const health = new HealthView({ heard: () => heard("api"), lost: (error) => lost("api", error) });
const replay = new ReplayView({
  range: () => chart.range,
  begun: (source, range) => { tapeView.show(def, source); chart.replay(range, range[0]); mode("replay"); },
  moved: (at) => chart.replayed(at),
  ended: () => { if (live) tapeView.show(def, live); chart.live(); mode("live"); },
  paint: () => tapeView.paint(),
});

let def = null;
let defs = [];
let live = null;
let generation = 0;

/** What does not answer, and since when. */
const troubles = new Map();

function heard(who) {
  if (troubles.delete(who)) said();
  else if (byId("link").dataset.state === "waiting") said();
}

function lost(who, error) {
  const since = troubles.get(who)?.since ?? Date.now();
  troubles.set(who, { since, error });
  said();
}

function said() {
  const link = byId("link");
  const trouble = [...troubles.values()].sort((a, b) => a.since - b.since)[0];
  const state = trouble ? "lost" : "live";
  link.dataset.state = state;
  const since = trouble && clockOf(new Date(trouble.since).toISOString(), 0);
  setText(link, trouble ? `not connected since ${since}` : "live");
  const line = byId("trouble");
  line.hidden = !trouble;
  setText(line, trouble ? `Not connected: ${wordsOf(trouble.error)}. What is shown is of ${since} UTC; trying again.` : "");
}

function mode(name) {
  document.body.dataset.mode = name;
}

/** Keys whose rows the tape shows; null for all. */
const tapeKeys = () => (byId("tape-of").value === "chosen" ? keysView.chosen : null);

/** Follows the stream anew. */
function connect() {
  live?.close();
  live = new Live(def, tapeKeys(), {
    paint: () => tapeView.paint(),
    opened: () => heard("tape"),
    lost: (error) => lost("tape", error),
    first: () => filled(),
    skipped: () => tapeView.skipped(),
  });
  live.lag = () => behind(live.tape.watermark, clock.now(Date.now()));
}

function follow() {
  connect();
  tapeView.show(def, live);
  replay.show(def, tapeKeys());
}

function keysChosen(keys) {
  replay.stop();
  chart.show(def, keys, chartColumns(def), keysView.range);
  if (byId("tape-of").value === "chosen") follow();
}

/** A row has come: the page is not empty, and knows keys. */
function filled() {
  if (byId("empty").hidden) return;
  byId("empty").hidden = true;
  byId("chart-panel").hidden = false;
}

async function choose(name) {
  generation += 1;
  const mine = generation;
  def = defs.find((one) => one.name === name);
  remember("stream", name);
  const columns = chartColumns(def);
  byId("tape-of").value = "all";
  chart.show(def, [], columns);
  follow();
  health.show(def, () => live);
  while (mine === generation && !(await keysView.begin(def, columns))) {
    if (mine === generation && !live.tape.came) showEmpty();
    await rest(EMPTY_MS);
  }
}

function showEmpty() {
  byId("empty").hidden = false;
  byId("chart-panel").hidden = true;
  const example = (column) => {
    if (column.type === "timestamp") return formatStamp(clock.now(Date.now()));
    if (column.type === "bool") return true;
    return /^(decimal|u?int64|float64)/.test(column.type) ? "1" : column.name.toUpperCase();
  };
  const row = (extra) => JSON.stringify({ ...Object.fromEntries(def.columns.filter((one) => !one.nullable || /price|size/.test(one.name)).map((one) => [one.name, example(one)])), ...extra });
  const known = def.name === "trades";
  const rows = known
    ? [row({ venue: "XNAS", symbol: "AAPL", price: "187.15", size: "100" }), row({ venue: "XNAS", symbol: "MSFT", price: "402.5", size: "10" })]
    : [row({}), row({})];
  setText(byId("empty-how"), [
    `curl -s ${new URL(`./v1/streams/${encodeURIComponent(def.name)}/events`, location.href)} \\`,
    "  -H 'content-type: application/x-ndjson' --data-binary '",
    `${rows.join("\n")}'`,
  ].join("\n"));
}

function remember(name, value) {
  const hash = new URLSearchParams(location.hash.slice(1));
  hash.set(name, value);
  history.replaceState(null, "", `#${hash}`);
}

async function start() {
  for (;;) {
    try {
      defs = await streams();
      break;
    } catch (error) {
      lost("api", error);
      await rest(1000);
    }
  }
  heard("api");
  const names = defs.map((one) => one.name);
  const asked = new URLSearchParams(location.hash.slice(1)).get("stream");
  setOptions(byId("stream"), names.map((name) => [name, name]), names.includes(asked) ? asked : names[0]);
  if (names.length) await choose(byId("stream").value);
  else setText(byId("link"), "no streams yet: reload once one is made");
}

byId("stream").addEventListener("change", (event) => choose(event.target.value));
byId("stream").addEventListener("focus", async () => {
  defs = await streams().catch(() => defs);
  setOptions(byId("stream"), defs.map(({ name }) => [name, name]));
});
byId("tape-of").addEventListener("change", () => follow());

// a page that nobody sees asks for nothing
document.addEventListener("visibilitychange", () => {
  if (!def) return;
  if (document.hidden) {
    live?.close();
    health.sleep();
    chart.sleep();
  } else {
    connect();
    if (document.body.dataset.mode !== "replay") tapeView.show(def, live);
    health.wake();
    chart.wake();
  }
});

mode("live");
startTheme(byId("theme"));
start();
