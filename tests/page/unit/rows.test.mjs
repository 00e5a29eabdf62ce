import assert from "node:assert/strict";
import { test } from "node:test";
import { axisNumber, bytes, decimal, group, parseExact, parseRows } from "../../../query/page/exact.js";
import { chartColumns, keyOf, keyParams, label, sizeFor, tapeColumns } from "../../../query/page/keys.js";
import { EventParser } from "../../../query/page/sse.js";
import { Rate, Tape, compareRows, merged, shown } from "../../../query/page/tape.js";

test("numbers keep all their digits, and text that looks like them stays", () => {
  const text = '{"a":187.150000000000000001,"b":9007199254740993,"c":"x\\":12,\\"d\\":3","e":null,"f":[1,2],"g":-1.5e-7,"h":"\\\\","i":2,"j":{"k":0.1}}';
  assert.deepEqual(parseExact(text), {
    a: "187.150000000000000001", b: "9007199254740993", c: 'x":12,"d":3', e: null, f: [1, 2], g: "-1.5e-7", h: "\\", i: "2", j: { k: "0.1" },
  });
  assert.deepEqual(parseRows('{"a":1}\n{"a":2}\n'), [{ a: "1" }, { a: "2" }]);
});

test("decimals are shown exactly", () => {
  const shownAs = ["187.150000000", "402.500000000", "10.000000000", "-1234567.000000001", "99999999999999999999.5", "1.5e-7", "NaN", "0.000000000"];
  assert.deepEqual(shownAs.map(decimal), ["187.15", "402.5", "10", "−1,234,567.000000001", "99,999,999,999,999,999,999.5", "1.5e-7", "NaN", "0"]);
  assert.deepEqual([group(20000), group(999), group("1234567")], ["20,000", "999", "1,234,567"]);
  assert.deepEqual([axisNumber(61840, 10), axisNumber(0.30000000000000004, 0.1), axisNumber(-2.5, 0.5), axisNumber(-1e-17, 0.1)], ["61,840", "0.3", "−2.5", "0.0"]);
  assert.deepEqual([bytes(12), bytes("411648"), bytes(1536), bytes(5 * 1024 ** 3)], ["12 B", "402 KiB", "1.5 KiB", "5.0 GiB"]);
});

test("events come whole from pieces that end anywhere", () => {
  const text = 'event: watermark\nid: e1.3\ndata: {"a":1}\n\n: comment\n\nid:x\ndata: one\ndata: two\n\nevent: end\n\n';
  const whole = [{ id: "e1.3", event: "watermark", data: '{"a":1}' }, { id: "x", event: "message", data: "one\ntwo" }];
  for (const size of [1, 2, 3, 7, 1000]) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
    assert.deepEqual(events, whole, `pieces of ${size}`);
  }
});

const row = (at, writer = 1) => ({ hlc: `2026-01-01T00:00:00.${String(at).padStart(9, "0")}Z`, writer: String(writer) });
const stamp = (at) => row(at).hlc;

test("rows are in the order of stamp and writer, each once", () => {
  assert.ok(compareRows(row(1, 10), row(1, 9)) > 0, "writers go by number");
  const all = merged([row(1), row(3), row(5)], [row(2), row(3), row(3, 2), row(9)]);
  assert.deepEqual(all, [row(1), row(2), row(3), row(3, 2), row(5), row(9)]);
  assert.deepEqual(merged([], [row(1)]), [row(1)]);
});

test("the watermark parts final rows from open ones", () => {
  const tape = new Tape();
  tape.add([row(5), row(2), row(8, 3), row(8, 2)]);
  tape.complete(stamp(5));
  assert.deepEqual(tape.final, [row(2), row(5)], "a row at the watermark is final");
  assert.deepEqual(tape.open, [row(8, 2), row(8, 3)]);
  tape.complete(stamp(1));
  assert.equal(tape.watermark, stamp(5), "it never goes back");
  tape.add([row(6)]);
  assert.deepEqual(shown(tape, 2), [
    { row: row(8, 3), open: true }, { row: row(8, 2), open: true }, { hidden: 1 }, { watermark: stamp(5) }, { row: row(5) }, { row: row(2) },
  ]);
  assert.equal(tape.late, 0);
  tape.add([row(5)]);
  assert.equal(tape.late, 0, "a repeat is not late");
  tape.add([row(4)], true);
  assert.equal(tape.late, 0, "nor is history");
  tape.add([row(3)]);
  assert.equal(tape.late, 1);
  assert.equal(tape.came, 7);
});

test("the tape is bounded and says what it let go", () => {
  const tape = new Tape({ final: 3, open: 4 });
  tape.add(Array.from({ length: 10 }, (_, at) => row(at)));
  assert.equal(tape.open.length, 4);
  assert.equal(tape.lost, 6);
  tape.complete(stamp(9));
  assert.deepEqual(tape.final, [row(7), row(8), row(9)]);
  assert.equal(tape.came, 10);
});

test("a rate is that of the last seconds", () => {
  const rate = new Rate(2000);
  assert.equal(rate.perSecond, 0);
  for (let ms = 0; ms <= 10_000; ms += 100) rate.note(ms, ms < 5000 ? ms : 5000 + (ms - 5000) * 20);
  assert.equal(Math.round(rate.perSecond), 20_000);
});

const trades = {
  key: ["venue", "symbol"],
  columns: [["venue", "string"], ["symbol", "string"], ["ts_event", "timestamp"], ["price", "decimal(18,9)"], ["size", "decimal(18,9)"], ["side", "string"], ["seq", "int64"]]
    .map(([name, type]) => ({ name, type })),
};

test("keys are asked for by column, and filtered again", () => {
  const [a, b] = [keyOf(trades, { venue: "X", symbol: "A" }), keyOf(trades, { venue: "Y", symbol: "B" })];
  assert.equal(label(a), "X · A");
  assert.deepEqual(keyParams(trades, [a, b]), [["key.venue", "X,Y"], ["key.symbol", "A,B"]]);
  assert.deepEqual(keyParams(trades, []), []);
  assert.deepEqual(keyParams(trades, [keyOf(trades, { venue: "X", symbol: "A,B" })]), [["key.venue", "X"]]);
});

test("columns are chosen by their names and types", () => {
  assert.deepEqual(chartColumns(trades), { price: "price", size: "size" });
  assert.deepEqual(tapeColumns(trades), ["venue", "symbol", "price", "size", "side"]);
  const quotes = ["bid", "bid_size", "ask", "ask_size"];
  assert.equal(sizeFor(quotes, "ask"), "ask_size");
  assert.deepEqual(chartColumns({ key: ["k"], columns: [{ name: "k", type: "int64" }, { name: "t", type: "string" }] }), null);
});
