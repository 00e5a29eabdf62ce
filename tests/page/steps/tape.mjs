import assert from "node:assert/strict";
import { until } from "../service.mjs";
import { frames, inOrder, sameAsWindow, tapeLines, textOf } from "./look.mjs";

/** Rows of the tape at a moment with some on either side of the watermark. */
async function bothSides(page) {
  return until("rows on both sides of the watermark", async () => {
    const lines = await tapeLines(page);
    const count = (kind) => lines.filter((line) => line.kind === kind).length;
    return count("open") > 0 && count("edge") === 1 && count("final") > 4 && lines;
  });
}

export async function order({ page, service, shot }) {
  service.feed(400);
  for (let look = 0; look < 10; look += 1) {
    const lines = await bothSides(page);
    const rows = inOrder(lines);
    const edge = lines.find((line) => line.kind === "edge");
    assert.match(edge.mark, /^complete through \d\d:\d\d:\d\d\.\d{3}\u2009\d{3}\u2009\d{3} · .+ ago$/);
    if (look % 5 === 0) await sameAsWindow(service, rows);
  }
  assert.match(await textOf(page, "tape-count"), /rows\/s · the newest [\d,]+ are shown/);
  await shot("light-live");
}

export async function paused({ page, service }) {
  await page.click("#tape-pause");
  const came = async () => Number((/paused, ([\d,]+) rows/.exec(await textOf(page, "tape-count"))?.[1] ?? "0").replaceAll(",", ""));
  await until("rows come behind a paused tape", async () => (await came()) > 0);
  const before = (await tapeLines(page)).map((line) => [line.hlc, line.writer]);
  const first = await came();
  await until("more rows come", async () => (await came()) > first + 50);
  assert.deepEqual((await tapeLines(page)).map((line) => [line.hlc, line.writer]), before);
  assert.equal(await page.getAttribute("#tape-pause", "aria-pressed"), "true");
  await page.focus("#tape-view");
  await page.keyboard.press("End");
  await until("the end of the tape", async () => {
    const lines = await tapeLines(page);
    return lines[lines.length - 1].hlc < before[before.length - 1][0] && lines;
  });
  const rows = inOrder(await tapeLines(page));
  assert.ok(rows.length > 4);
  await sameAsWindow(service, rows);
  await page.keyboard.press("Home");
  await page.click("#tape-pause");
  await until("newer rows", async () => (await tapeLines(page))[0].hlc > before[0][0]);
  assert.equal(await page.getAttribute("#tape-pause", "aria-pressed"), "false");
}

export async function chosen({ page, service }) {
  await page.selectOption("#tape-of", "chosen");
  const mine = (line) => line.cells[2] === "XSIM_SPOT" && line.cells[3] === "BTCUSDT";
  const lines = await until("rows of the chosen key", async () => {
    const rows = (await tapeLines(page)).filter((line) => ["open", "final"].includes(line.kind));
    return rows.length > 10 && rows.some((row) => row.kind === "open") && rows;
  });
  assert.ok(lines.every(mine), "and of no other");
  await sameAsWindow(service, inOrder(lines), "&key.venue=XSIM_SPOT&key.symbol=BTCUSDT");
  await page.selectOption("#tape-of", "all");
  await until("rows of other keys", async () => (await tapeLines(page)).some((line) => line.cells[3] === "SOLUSDT"));
}

export async function flood({ page, service }) {
  service.pause();
  const rates = [];
  const watch = async (sent) => {
    for (let done = false; !done; ) {
      done = await Promise.race([sent.then(() => true), frames(page, 4).then(() => false)]);
      rates.push(Number(/^([\d,]+) rows\/s/.exec(await textOf(page, "tape-count"))[1].replaceAll(",", "")));
      inOrder(await tapeLines(page));
    }
  };
  const send = async () => { for (let at = 0; at < 8; at += 1) await service.send(4000); };
  await watch(send());
  await until("the flood is counted", async () => {
    rates.push(Number(/^([\d,]+) rows\/s/.exec(await textOf(page, "tape-count"))[1].replaceAll(",", "")));
    return Math.max(...rates) > 3000;
  });
  await until("all is complete", async () => /the newest 2,00\d are shown$/.test(await textOf(page, "tape-count")));
  assert.ok(await page.locator("#tape-space .line").count() < 60, "elements for what is in view alone");
  await sameAsWindow(service, inOrder(await tapeLines(page)));
  service.feed(400);
}
