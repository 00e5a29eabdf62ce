import assert from "node:assert/strict";
import { test } from "node:test";
import { axisNumber } from "../../../query/page/exact.js";
import { intervalFor, linear, panned, ticks, timeScale, timeTicks, zoomed } from "../../../query/page/scale.js";
import { Series } from "../../../query/page/series.js";
import { SECOND, formatStamp, parseStamp } from "../../../query/page/stamp.js";

const noon = parseStamp("2026-01-31T12:00:00Z");

test("scales lead there and back", () => {
  assert.deepEqual([linear(0, 10, 100, 0)(5), linear(3, 3, 7, 9)(3)], [50, 7]);
  const x = timeScale(noon, noon + 100n * SECOND, 0, 1000);
  assert.equal(x(noon + 25n * SECOND), 250);
  assert.equal(x.stampAt(250), noon + 25n * SECOND);
});

test("axes have round marks", () => {
  assert.deepEqual(ticks(61837.2, 61842.1, 5).values, [61838, 61839, 61840, 61841, 61842]);
  assert.deepEqual(ticks(5, 5, 4).values, [5]);
  const small = ticks(0, 0.00037, 4);
  assert.deepEqual(small.values.map((value) => axisNumber(value, small.step)), ["0.0000", "0.0001", "0.0002", "0.0003"]);
  const minutes = timeTicks(noon - 30n * SECOND, noon + 270n * SECOND, 6);
  assert.deepEqual(minutes.map((mark) => mark.text), ["12:00", "12:01", "12:02", "12:03", "12:04"]);
  const fine = timeTicks(noon, noon + 10_000_000n, 5);
  assert.deepEqual(fine.map((mark) => mark.text).slice(0, 2), ["00.000", "00.002"]);
  for (const span of [1000n, SECOND, 3600n * SECOND, 40_000_000n * SECOND]) {
    assert.ok(timeTicks(noon, noon + span, 6).length <= 7, String(span));
  }
});

test("bars are as short as their number allows", () => {
  assert.equal(intervalFor(300n * SECOND, 300), "1s");
  assert.equal(intervalFor(301n * SECOND, 300), "5s");
  assert.equal(intervalFor(SECOND, 300), "10ms");
  assert.equal(intervalFor(10n ** 19n, 300), "1d");
});

test("zoom keeps the place under the pointer, pan the length", () => {
  assert.deepEqual(zoomed([0n, 1000n * SECOND], 0.5, 0.25), [125n * SECOND, 625n * SECOND]);
  assert.deepEqual(zoomed([0n, 20_000_000n], 0.1), [5_000_000n, 15_000_000n]);
  assert.deepEqual(panned([0n, 100n], -0.5), [-50n, 50n]);
});

const bar = (at, close = "2.5") => ({ time: formatStamp(noon + BigInt(at) * SECOND), symbol: "A", open: "1", high: "3", low: "0.5", close, volume: "4.000000001" });
const keyOf = (one) => one.symbol;
const times = (series, from, to) => series.within("A", noon + BigInt(from) * SECOND, noon + BigInt(to) * SECOND).map((one) => Number((one.at - noon) / SECOND));

test("an answer takes the place of what could still change", () => {
  const series = new Series(SECOND);
  assert.equal(series.dueFrom(noon), noon);
  series.put(noon, [bar(0), bar(1), bar(2)], keyOf, noon + 2n * SECOND + 500n);
  assert.equal(series.dueFrom(noon), noon + 2n * SECOND, "the third is open");
  assert.deepEqual(series.byKey.get("A").map((one) => series.isOpen(one)), [false, false, true]);
  assert.equal(series.isFinal(noon + 2n * SECOND), true);
  assert.equal(series.isFinal(noon + 3n * SECOND), false);
  series.put(noon + 2n * SECOND, [bar(2, "2.75"), bar(3)], keyOf, noon + 4n * SECOND);
  assert.deepEqual(times(series, 0, 10), [0, 1, 2, 3]);
  assert.equal(series.within("A", noon + 2n * SECOND, noon + 3n * SECOND)[0].bar.close, "2.75");
  assert.deepEqual(times(series, 1, 3), [1, 2], "the end is not part of a range");
  assert.deepEqual(times(series, 1, 3), times(series, 1, 3));
  // a range that begins within a bar shows it
  assert.equal(series.within("A", noon + SECOND + 1n, noon + 2n * SECOND).length, 1);
});

test("a key whose bars are gone is forgotten, and bars are bounded", () => {
  const series = new Series(SECOND, 5);
  series.put(noon, Array.from({ length: 9 }, (_, at) => bar(at)), keyOf, noon);
  assert.equal(series.length, 5);
  series.put(noon, [], keyOf, noon);
  assert.equal(series.byKey.size, 0);
});
