import assert from "node:assert/strict";
import { until } from "../service.mjs";
import { decimal, frames, inOrder, sameAsWindow, stampNs, stampText, tapeLines, textOf } from "./look.mjs";

const state = (page) => textOf(page, "replay-state");
const soFar = async (page) => Number((/ ([\d,]+) rows so far/.exec(await state(page))?.[1] ?? "-1").replaceAll(",", ""));
const at = async (page) => / at (\d\d:\d\d:[\d.]+) · /.exec((await state(page)).replaceAll("\u2009", ""))[1];

/** Writes a range into the fields that ends where the stream is complete. */
async function last(page, service, seconds) {
  const { complete_through: complete } = await service.json("streams/trades/partitions");
  const end = stampNs(complete);
  const range = { start: stampText(end - BigInt(seconds) * 1_000_000_000n), end: stampText(end) };
  await page.fill("#replay-from", range.start);
  await page.fill("#replay-to", range.end);
  return range;
}

export async function whole({ page, service, shot }) {
  const range = await last(page, service, 30);
  const window = await service.rows(`streams/trades/window?start=${range.start}&end=${range.end}&columns=hlc`);
  assert.ok(window.length > 4000, "more than two pages");
  await page.selectOption("#replay-speed", "max");
  await page.click("#replay-play");
  await until("its end", async () => /^at its end/.test(await state(page)), 40_000);
  assert.equal(await soFar(page), window.length, "each row came once");
  const rows = await until("its last row", async () => {
    const found = inOrder(await tapeLines(page));
    return found[0]?.hlc === window[window.length - 1].hlc && found;
  });
  await sameAsWindow(service, rows);
  const edge = (await tapeLines(page))[0];
  assert.equal(edge.kind, "edge");
  assert.match(edge.mark, /^replayed through/);
  await until("the chart is at the end too", async () => (await page.locator("#plot .edge-text").textContent()) === "replay");
  assert.equal(await textOf(page, "replay-play"), "Play again");
  await page.selectOption("#replay-speed", "100");
  await page.click("#replay-play");
  await until("it plays again", async () => /^(plays|waits)/.test(await state(page)) || /^at its end/.test(await state(page)));
  await shot("light-replay");
  await page.click("#replay-stop");
  await until("live rows", async () => (await tapeLines(page)).some((line) => line.mark.startsWith("complete through")));
  assert.equal(await page.locator("#plot .edge-text").textContent(), "complete");
}

export async function controls({ page, service, shot }) {
  await page.click("#replay-range");
  assert.match(await page.inputValue("#replay-from"), /^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{9}Z$/);
  const range = await last(page, service, 20);
  const window = await service.rows(`streams/trades/window?start=${range.start}&end=${range.end}&limit=3`);
  await page.selectOption("#replay-speed", "1");
  for (let count = 1; count <= 3; count += 1) {
    await until("the next row is there", async () => {
      if ((await soFar(page)) < count) await page.click("#replay-step");
      return (await soFar(page)) === count;
    });
    const rows = await until("it on the tape", async () => {
      const found = inOrder(await tapeLines(page));
      return found.length === count && found;
    });
    assert.deepEqual([rows[0].hlc, rows[0].cells[4]], [window[count - 1].hlc, decimal(window[count - 1].price)]);
  }
  await page.click("#replay-play");
  await until("rows", async () => (await soFar(page)) > 20);
  await page.click("#replay-play");
  await until("a pause", async () => /^paused/.test(await state(page)));
  const stood = await at(page);
  await frames(page, 20);
  assert.equal(await at(page), stood, "it stands");
  await shot("light-replay-paused");
  await faster(page);
  await seeks(page, range);
  await page.click("#replay-stop");
  assert.equal(await page.isDisabled("#replay-stop"), true);
}

const seconds = (clock) => clock.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);

async function faster(page) {
  await page.selectOption("#replay-speed", "2");
  const from = seconds(await at(page));
  const began = Date.now();
  await page.click("#replay-play");
  await until("two seconds", async () => seconds(await at(page)) > from + 2);
  const took = (Date.now() - began) / 1000;
  await page.click("#replay-play");
  assert.ok(took > 0.9, `twice as fast, not faster: 2 s in ${took} s`);
}

async function seeks(page, range) {
  await page.focus("#replay-at");
  await page.keyboard.press("Home");
  await until("the start", async () => (await at(page)) === range.start.slice(11, 26));
  await page.keyboard.press("PageUp");
  const moved = await until("a place further on", async () => (await at(page)) > range.start.slice(11, 26) && at(page));
  await page.keyboard.press("ArrowRight");
  await until("and a bit", async () => (await at(page)) > moved);
  await until("a tape without rows of before", async () => (await tapeLines(page)).every((line) => line.kind !== "final" || line.hlc >= range.start.slice(0, 11) + moved));
}

export async function refused({ page }) {
  const says = async (from, to, pattern, marked) => {
    await page.fill("#replay-from", from);
    await page.fill("#replay-to", to);
    await page.click("#replay-play");
    await until(String(pattern), async () => pattern.test(await state(page)));
    for (const id of marked) assert.equal(await page.getAttribute(`#${id}`, "aria-invalid"), "true");
    assert.equal(await page.evaluate(() => document.body.dataset.mode), "live");
  };
  await says("yesterday", "2026-01-01", /write times like/, ["replay-from"]);
  await says("2026-01-02", "2026-01-01", /the end must lie after the beginning/, ["replay-to"]);
  await says("2222-01-01", "2222-01-02", /nothing is complete there yet/, []);
}
