import assert from "node:assert/strict";
import { test } from "node:test";
import { ReplayClock, ServerClock } from "../../../query/page/clocks.js";
import { ceilTo, clockOf, floorTo, formatSpan, formatStamp, parseDuration, parseStamp } from "../../../query/page/stamp.js";

test("stamps keep every nanosecond, there and back", () => {
  for (const text of ["2026-11-30T18:20:02.912614401Z", "1969-12-31T23:59:59.999999999Z", "2000-02-29T00:00:00.000000001Z"]) {
    assert.equal(formatStamp(parseStamp(text)), text);
  }
  assert.equal(parseStamp("2026-11-30T18:20:02.912614401Z"), 1796062802912614401n);
});

test("times are taken as people write them", () => {
  const noon = parseStamp("2026-01-31T12:00:00Z");
  for (const text of [" 2026-01-31 12:00 ", "2026-01-31T13:00:00.000+01:00", "2026-01-31t12:00:00z", String(noon), "2026-01-31T06:30-05:30"]) {
    assert.equal(parseStamp(text), noon, text);
  }
  assert.equal(parseStamp("2026-01-31"), noon - 43_200_000_000_000n);
  for (const text of ["", "noon", "2026-02-30", "2026-01-31T25:00", "2026-01-31T12:00:61Z", "2026-13-01", "1.5"]) {
    assert.equal(parseStamp(text), null, text);
  }
});

test("multiples below and above, of negative stamps too", () => {
  assert.deepEqual([floorTo(7n, 5n), floorTo(-7n, 5n), floorTo(-5n, 5n), ceilTo(7n, 5n), ceilTo(-7n, 5n)], [5n, -10n, -5n, 10n, -5n]);
});

test("spans have a unit, and clocks their places", () => {
  const spans = [0n, 999_999n, 4_900_000n, 108_000_000n, 2_540_000_000n, 182_000_000_000n, 7_500_000_000_000n, 200_000_000_000_000n, -108_000_000n];
  assert.deepEqual(spans.map(formatSpan), ["0 µs", "999 µs", "4.9 ms", "108 ms", "2.5 s", "3 min 2 s", "2 h 5 min", "2 d 7 h", "−108 ms"]);
  assert.equal(clockOf("2026-11-30T18:20:02.912614401Z", 9), "18:20:02.912\u2009614\u2009401");
  assert.equal(clockOf("2026-11-30T18:20:02.912614401Z"), "18:20:02.912");
  assert.deepEqual(["10s", "250ms", "1h", "x", "1"].map(parseDuration), [10_000_000_000n, 250_000_000n, 3_600_000_000_000n, null, null]);
});

test("the service's clock is found from whole seconds", () => {
  const clock = new ServerClock();
  assert.equal(clock.aheadMs, 0);
  // the service is 7300 ms ahead; answers take 10 ms
  for (let sent = 0; sent < 20_000; sent += 130) {
    const there = sent + 5 + 7300;
    clock.note(sent, sent + 10, new Date(Math.floor(there / 1000) * 1000).toUTCString());
  }
  assert.ok(Math.abs(clock.aheadMs - 7300) < 150, String(clock.aheadMs));
  // after a step the old bounds do not hold
  clock.note(30_000, 30_010, new Date(30_000).toUTCString());
  assert.equal(clock.aheadMs, 0);
  assert.equal(clock.now(5), 5_000_000n);
});

test("a replay moves with time, waits for rows and ends at its end", () => {
  const clock = new ReplayClock(1000n, 10_000_001_000n, 2);
  assert.equal(clock.advance(100, 10_000_001_000n), false);
  assert.equal(clock.at, 1000n, "it stands until it plays");
  clock.playing = true;
  assert.equal(clock.advance(100, 10_000_001_000n), false);
  assert.equal(clock.at, 200_001_000n);
  assert.equal(clock.advance(1000, 300_000_000n), true, "rows are missing");
  assert.equal(clock.at, 300_000_000n);
  assert.equal(clock.advance(1000, 100n), true);
  assert.equal(clock.at, 300_000_000n, "it never goes back by itself");
  clock.speed = Infinity;
  assert.equal(clock.advance(1, 10_000_001_000n), false);
  assert.ok(clock.ended && !clock.playing);
  assert.equal(clock.share, 1);
  clock.seek(clock.atShare(0.5));
  assert.equal(clock.at, 5_000_001_000n);
  clock.seek(1n);
  assert.equal(clock.at, 1000n);
  assert.equal(clock.share, 0);
});
