import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Follower, Refusal, getJson, getRows } from "../../../query/page/api.js";
import { BarSource } from "../../../query/page/barsource.js";
import { Landed, Refused, leaseLeft } from "../../../query/page/health.js";
import { Freshness } from "../../../query/page/live.js";
import { ReplaySource } from "../../../query/page/replaysource.js";
import { SECOND, formatStamp, parseStamp } from "../../../query/page/stamp.js";

const noon = parseStamp("2026-01-31T12:00:00Z");
const at = (ms) => formatStamp(noon + BigInt(ms) * 1_000_000n);
const def = { name: "ticks", key: ["symbol"], columns: [{ name: "symbol", type: "string" }, { name: "price", type: "float64" }] };
const real = globalThis.fetch;
afterEach(() => { globalThis.fetch = real; });

/** Answers instead of a service: `answer(url)` gives a body and headers. */
function service(answer) {
  const asked = [];
  globalThis.fetch = async (url) => {
    asked.push(new URL(url, "http://service/"));
    const { body, status = 200, headers = {} } = await answer(asked[asked.length - 1], asked.length);
    return new Response(body, { status, headers });
  };
  return asked;
}

const turns = async (count = 20) => { for (let turn = 0; turn < count; turn += 1) await new Promise(setImmediate); };
const lines = (rows) => rows.map((row) => JSON.stringify(row)).join("\n");

test("refusals have the text of the API, whatever else comes", async () => {
  service(() => ({ status: 400, body: '{"title":"Bad Request","detail":"interval: use 1ms to 1d"}' }));
  await assert.rejects(getJson("x"), (error) => error instanceof Refusal && error.status === 400 && error.message === "interval: use 1ms to 1d");
  service(() => ({ status: 502, body: "<h1>proxy</h1>" }));
  await assert.rejects(getJson("x"), { status: 502, message: "<h1>proxy</h1>" });
});

test("parameters that are not given are not sent, and pages have their link", async () => {
  const asked = service(() => ({ body: '{"hlc":"a","n":9007199254740993}\n', headers: { link: '</v1/streams/t/window?cursor=c%3A1>; rel="next"', "tourbillon-final": "true" } }));
  const { rows, next, final } = await getRows("streams/t/window", [["start", null], ["limit", "1"], ["key.a", "x&y"]]);
  assert.equal(asked[0].href, "http://service/v1/streams/t/window?limit=1&key.a=x%26y");
  assert.deepEqual([rows, next, final], [[{ hlc: "a", n: "9007199254740993" }], "./v1/streams/t/window?cursor=c%3A1", true]);
});

test("a broken subscription goes on from its last event", async () => {
  const event = (id, hlc) => `id: ${id}\nevent: rows\ndata: {"final":false,"partition":1,"rows":[{"hlc":"${hlc}","writer":2}]}\n\n`;
  const bodies = [event("c1", "a") + event("c2", "b"), 'event: watermark\nid: c3\ndata: {"complete_through":"b"}\n\n', 'id: c4\nevent: end\ndata: {"reason":"the service stops"}\n\n'];
  const asked = service((_, count) => ({ body: bodies[count - 1] ?? "", headers: { "tourbillon-cursor": "c0" } }));
  const seen = [];
  await new Promise((resolve) => {
    const follower = new Follower("streams/t/subscribe", [["mode", "eager"]], {
      opened: (again) => seen.push(again ? "again" : "first"),
      rows: (rows, partition) => seen.push(`${rows[0].hlc}${rows[0].writer} of ${partition}`),
      watermark: (stamp) => seen.push(`through ${stamp}`),
      lost: (error) => {
        seen.push(error.message);
        if (error.message === "the service stops") { follower.close(); resolve(); }
      },
    });
  });
  const ended = "the service ended the connection";
  assert.deepEqual(seen, ["first", "a2 of 1", "b2 of 1", ended, "again", "through b", ended, "again", "the service stops"]);
  assert.deepEqual(asked.map((url) => url.searchParams.get("from")), [null, "c2", "c3"]);
});

test("bars are asked for from where they may change", async () => {
  let complete = 2500;
  const bar = (ms) => ({ time: at(ms), symbol: "A", open: 1, high: 1, low: 1, close: 1, volume: 1 });
  const asked = service((url) => {
    const from = Number((parseStamp(url.searchParams.get("start")) - noon) / 1_000_000n);
    const bars = [0, 1000, 2000, 3000].filter((ms) => ms >= from && ms <= complete).map(bar);
    return { body: lines(bars), headers: { "tourbillon-complete-through": at(complete) } };
  });
  const source = new BarSource({ stream: "ticks", def, keys: ["A"], columns: { price: "price", size: "price" }, interval: "1s", intervalNs: SECOND });
  const range = [noon + 1n, noon + 4n * SECOND];
  const refresh = (bound = null) => source.refresh(range, { open: false, bound });
  assert.equal(await refresh(), true);
  complete = 3500;
  await refresh();
  complete = 4000;
  await refresh();
  assert.equal(await refresh(), false, "all is final");
  assert.deepEqual(asked.map((url) => url.searchParams.get("start")), [at(0), at(2000), at(3000)]);
  assert.ok(asked.every((url) => url.searchParams.get("end") === at(4000)));
  assert.equal(source.series.within("A", ...range).length, 4);
  // a replay is the same up to a stamp, and begins anew when it goes back
  complete = 9000;
  await refresh(noon + 1500n * 1_000_000n);
  assert.equal(source.series.complete, noon + 1500n * 1_000_000n);
  assert.equal(asked[3].searchParams.get("end"), at(1500));
  assert.equal(asked[3].searchParams.get("start"), at(0));
});

test("a replay gives every row once, in order, and holds two pages", async () => {
  const all = Array.from({ length: 9000 }, (_, index) => ({ hlc: at(index), writer: 1, symbol: "A" }));
  const asked = service((url) => {
    const from = Number(url.searchParams.get("cursor") ?? 0);
    const rows = all.slice(from, from + 2000);
    const more = from + 2000 < all.length ? { link: `</v1/streams/ticks/window?cursor=${from + 2000}>; rel="next"` } : {};
    return { body: lines(rows), headers: more };
  });
  const source = new ReplaySource(def, null, [noon, noon + 10n * SECOND], 1);
  await turns();
  assert.equal(asked[0].searchParams.get("end"), at(10_000));
  assert.equal(asked[0].searchParams.get("consistency"), null, "final rows");
  assert.ok(source.step() && source.tape.came === 1, "a step is one row");
  source.clock.playing = true;
  source.advance(1000, 0);
  assert.equal(source.tape.came, 1001);
  source.clock.speed = Infinity;
  for (let frame = 0; frame < 50 && !source.clock.ended; frame += 1) {
    source.advance(16, frame * 16);
    await turns();
    assert.ok(asked.length <= 2 + Math.ceil(source.tape.came / 2000), `${asked.length} pages after ${source.tape.came} rows`);
  }
  assert.ok(source.clock.ended);
  assert.equal(source.tape.came, all.length);
  assert.equal(source.tape.final[source.tape.final.length - 1].hlc, all[all.length - 1].hlc);
  assert.equal(asked.length, 5);
});

test("a replay waits for what cannot be read, and goes on", async () => {
  let broken = true;
  service(() => (broken ? { status: 503, body: '{"detail":"away"}' } : { body: lines([{ hlc: at(5), writer: 1, symbol: "A" }]) }));
  const source = new ReplaySource(def, ["A"], [noon, noon + SECOND], 1);
  await turns();
  source.clock.playing = true;
  source.advance(100, 0);
  assert.deepEqual([source.error.message, source.clock.at, source.tape.came], ["away", noon, 0]);
  broken = false;
  source.retry();
  await turns();
  source.advance(100, 0);
  assert.deepEqual([source.error, source.tape.came], [null, 1]);
});

test("commits and files are noted as they land", () => {
  const landed = new Landed();
  const partition = (commit, sealed) => [{ partition: "0", commit, sealed_rows: sealed }];
  assert.equal(landed.commits(partition(null, "0"), "t0"), true, "files are looked at once");
  assert.equal(landed.commits(partition(null, "0"), "t1"), false);
  assert.equal(landed.commits(partition("1", "30"), "t2"), true);
  assert.equal(landed.commits(partition("2", "70"), "t3"), true);
  assert.deepEqual(landed.list.map(({ commit, rows, all, seen }) => [commit, rows, all, seen]), [["2", "40", "70", "t3"], ["0 to 1", "30", "30", "t2"]]);
  const file = (path, last) => ({ path, last_hlc: String(last) });
  assert.equal(landed.filesFrom(noon, SECOND), noon - 300n * SECOND);
  landed.files([file("a", noon), file("b", noon + SECOND)]);
  landed.files([file("b", noon + SECOND)]);
  assert.deepEqual(landed.newest.map(({ path }) => path), ["b", "a"]);
  assert.equal(landed.filesFrom(noon, SECOND), noon - 2n * SECOND);
  landed.files(Array.from({ length: 500 }, (_, index) => file(`f${index}`, noon + BigInt(index) * SECOND)));
  assert.equal(landed.newest.length, 200);
});

test("refused frames are asked for from where they were not seen", () => {
  const refused = new Refused();
  const partition = (rejected) => [{ partition: "0", next_offset: "60000", rejected_rows: rejected }];
  refused.known(partition("0"));
  assert.deepEqual(refused.due(0), [{ partition: "0", from: "10000" }]);
  assert.deepEqual(refused.due(1000), [], "not again at once");
  refused.known(partition("3"));
  assert.deepEqual(refused.due(2000), [{ partition: "0", from: "10000" }], "rows were refused");
  refused.found("0", [{ offset: "20000", append_time: "a" }, { offset: "20007", append_time: "b" }]);
  assert.deepEqual(refused.list.map(({ offset }) => offset), ["20007", "20000"]);
  assert.deepEqual(refused.due(20_000), [{ partition: "0", from: "20008" }], "refused beats have no rows");
});

test("a lease runs from when its writer spoke", () => {
  const writer = { lease_ms: "2000", last_seen: at(0) };
  assert.deepEqual(leaseLeft(writer, noon + 500_000_000n), { lease: 2n * SECOND, left: 1_500_000_000n });
  assert.equal(leaseLeft(writer, noon + 3n * SECOND).left, -SECOND);
  assert.equal(leaseLeft({ last_seen: at(0) }, noon), null);
});

test("freshness is that of the last ten seconds", () => {
  const freshness = new Freshness();
  assert.equal(freshness.of(0, noon), null);
  for (const [ms, delay] of [[0, 900], [20_000, 5], [21_000, 7], [22_000, 30]]) freshness.note(0, at(ms - delay), noon + BigInt(ms) * 1_000_000n);
  assert.deepEqual(freshness.of(0, noon + 23n * SECOND), { middle: 7_000_000n, longest: 30_000_000n });
  assert.equal(freshness.of(1, noon), null);
});
