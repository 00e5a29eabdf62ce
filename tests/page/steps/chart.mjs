import assert from "node:assert/strict";
import { until } from "../service.mjs";
import { decimal, frames, plotRange, stampText, textOf } from "./look.mjs";

const FILTER = "key.venue=XSIM_SPOT&key.symbol=BTCUSDT";
const barsIn = async (page) => Number(/(\d[\d,]*) bars? of/.exec(await textOf(page, "plot-note"))[1].replaceAll(",", ""));

/** Candles that are drawn, by their paths. */
const drawn = (page) => page.evaluate(() => [...document.querySelectorAll("#plot [class^='body']")].reduce((sum, path) => sum + (path.getAttribute("d").match(/z/g) ?? []).length, 0));

const intervalNs = { "100ms": 100_000_000n, "1s": 1_000_000_000n };

export async function bars({ page, service, shot }) {
  await page.selectOption("#range", "30s");
  await page.selectOption("#interval", "1s");
  await until("bars", async () => (await barsIn(page)) >= 5);
  assert.equal(await textOf(page, "chart-title"), "XSIM_SPOT · BTCUSDT", "the busiest key is chosen");
  await until("a provisional bar", async () => /provisional/.test(await textOf(page, "readout")));
  assert.equal(await page.locator("#plot .edge-text").textContent(), "complete");
  await shot("light-chart");
  service.pause();
  await page.focus("#plot");
  await page.keyboard.press("-");
  for (const interval of ["1s", "100ms"]) {
    await page.selectOption("#interval", interval);
    await until("they are final", async () => (await textOf(page, "plot-note")).includes(`bars of ${interval}`) && (await barsIn(page)) > 4 && /final/.test(await textOf(page, "readout")));
    const { start, end } = await plotRange(page);
    const floor = (ns) => ns - (ns % intervalNs[interval]);
    const told = await service.rows(`streams/trades/bars?interval=${interval}&${FILTER}&start=${stampText(floor(start))}&end=${stampText(floor(end) + intervalNs[interval])}`);
    assert.equal(await barsIn(page), told.length);
    assert.equal(await drawn(page), told.length, "each is drawn");
    await readOut(page, told);
  }
  service.feed(400);
  await page.keyboard.press("0");
}

/** Reads bars with the keyboard, from the newest back. */
async function readOut(page, told) {
  await page.focus("#plot");
  await page.keyboard.press("Escape");
  for (const bar of told.slice(-6).reverse()) {
    await page.keyboard.press("Shift+ArrowLeft");
    const exact = ["open", "high", "low", "close"].map((name) => `${name[0].toUpperCase()} ${decimal(bar[name])}`);
    const all = [`bar ${bar.time.slice(11, 23)}`, ...exact, `volume ${decimal(bar.volume)} size`, `VWAP ${decimal(bar.vwap)} price`, `${bar.count} trades`, "final"];
    await until(`the bar of ${bar.time}: ${all.join(", ")}`, async () => {
      const text = (await textOf(page, "readout")).replace(/\s+/g, " ");
      return all.every((part) => text.includes(part));
    }, 5000);
  }
}

const length = ({ start, end }) => end - start;
const near = (a, b, within) => (a > b ? a - b : b - a) <= within;

async function changes(page, act, is, what) {
  const before = await plotRange(page);
  await act();
  return until(what, async () => {
    const after = await plotRange(page);
    return is(before, after) && after;
  }, 5000);
}

export async function controls({ page }) {
  for (const range of ["1m", "5m", "15m", "1h", "6h", "1d", "7d", "30s"]) {
    await page.selectOption("#range", range);
    const unit = { s: 1_000_000_000n, m: 60_000_000_000n, h: 3_600_000_000_000n, d: 86_400_000_000_000n };
    const wanted = BigInt(range.slice(0, -1)) * unit[range.slice(-1)];
    await until(range, async () => near(length(await plotRange(page)), wanted, 2_000_000n));
  }
  for (const interval of ["100ms", "5s", "15s", "1m", "auto"]) {
    await page.selectOption("#interval", interval);
    const fits = interval === "auto" ? /bars? of 1s/ : new RegExp(`bars? of ${interval}`);
    await until(interval, async () => fits.test(await textOf(page, "plot-note")) && (await barsIn(page)) > 0);
  }
  await page.selectOption("#interval", "10ms");
  await page.selectOption("#range", "1h");
  await until("too many bars are refused, and said", async () => /10ms would be more than 3,000 bars/.test(await textOf(page, "plot-note")));
  await page.selectOption("#interval", "auto");
  await page.selectOption("#range", "30s");
  await page.selectOption("#price", "seq");
  await until("another column", async () => /VWAP [\d,.]+ seq/.test((await textOf(page, "readout")).replace(/\s+/g, " ")));
  await page.selectOption("#price", "price");
  await page.selectOption("#size", "size");
  await until("prices again", async () => /size.*VWAP [\d,.]+ price/.test((await textOf(page, "readout")).replace(/\s+/g, " ")));
  await moves(page);
}

async function moves(page) {
  const ms = 2_000_000n;
  const halved = (before, after) => near(length(after) * 2n, length(before), ms * 2n);
  const doubled = (before, after) => near(length(after), length(before) * 2n, ms * 2n);
  const by = (share) => (before, after) => near(after.start - before.start, (length(before) * share) / 100n, ms) && near(length(after), length(before), ms);
  // from the live edge on, which moves: fix the range first
  await changes(page, () => page.click("#zoom-in"), halved, "zoom in");
  assert.equal(await page.inputValue("#range"), "chosen");
  await changes(page, () => page.click("#zoom-out"), doubled, "zoom out");
  await changes(page, () => page.click("#pan-back"), by(-25n), "earlier");
  await changes(page, () => page.click("#pan-on"), by(25n), "later");
  await page.focus("#plot");
  await changes(page, () => page.keyboard.press("ArrowLeft"), by(-10n), "left");
  await changes(page, () => page.keyboard.press("ArrowRight"), by(10n), "right");
  await changes(page, () => page.keyboard.press("+"), halved, "plus");
  await changes(page, () => page.keyboard.press("-"), doubled, "minus");
  await changes(page, () => page.keyboard.press("0"), (before, after) => after.end > before.end, "live again by key");
  assert.notEqual(await page.inputValue("#range"), "chosen");
  await page.click("#zoom-out");
  await page.click("#reset");
  await until("live again", async () => (await page.inputValue("#range")) !== "chosen" && /provisional/.test(await textOf(page, "readout")));
}

export async function drag({ page, shot }) {
  await page.selectOption("#range", "30s");
  await page.focus("#plot");
  await page.keyboard.press("-");
  await until("a fixed range", async () => (await page.inputValue("#range")) === "chosen");
  await frames(page, 10);
  const before = await plotRange(page);
  const box = await page.locator("#plot").boundingBox();
  const inner = { left: box.x + 4, width: box.width - 78 };
  const x = (share) => inner.left + inner.width * share;
  const y = box.y + box.height / 2;
  await page.mouse.move(x(0.6), y);
  await page.mouse.down();
  await page.mouse.move(x(0.7), y, { steps: 3 });
  await page.mouse.move(x(0.9), y, { steps: 3 });
  const width = Number(await page.getAttribute("#plot .selection", "width"));
  assert.ok(Math.abs(width - inner.width * 0.3) < 3, `what is dragged over is marked: ${width}`);
  await shot("light-drag");
  await page.mouse.up();
  const part = (share) => before.start + (length(before) * BigInt(share)) / 100n;
  const slack = length(before) / 100n;
  await until("the range that was dragged over", async () => {
    const after = await plotRange(page);
    return near(after.start, part(60), slack) && near(after.end, part(90), slack);
  }, 5000);
  assert.equal(await page.getAttribute("#plot .selection", "width"), "0");
  await until("its bars", async () => (await barsIn(page)) > 0 && (await drawn(page)) > 0);
  await page.mouse.move(x(0.5), y);
  await until("the bar under the pointer", async () => (await page.getAttribute("#plot .cross", "d")) !== "");
  await page.click("#reset");
}

export async function compared({ page, shot }) {
  await page.click("#keys-summary");
  await until("the field has the focus", () => page.evaluate(() => document.activeElement.id === "keys-find"));
  await page.fill("#keys-find", "eth");
  assert.equal(await page.locator("#keys-list .key").count(), 1);
  await page.locator("#keys-list input").first().check();
  await page.fill("#keys-find", "");
  await until("all keys", async () => (await page.locator("#keys-list .key").count()) >= 4);
  await page.click("#keys-further");
  await until("further back", async () => /in the last (10 minutes|hour|day)/.test(await textOf(page, "keys-note")));
  assert.equal(await page.locator("#keys-list input:checked").count(), 2);
  await until("both are read out", async () => /XSIM_SPOT · BTCUSDT.*%\).*XSIM_SPOT · ETHUSDT.*%\)/.test(await textOf(page, "readout")));
  const lines = await page.evaluate(() => [...document.querySelectorAll("#plot .series")].filter((line) => line.getAttribute("d").includes("L")).length);
  assert.equal(lines, 2);
  assert.equal(await textOf(page, "chart-title"), "2 keys, change in %");
  await shot("light-keys");
  await page.locator("#keys-list .key", { hasText: "ETHUSDT" }).locator("input").uncheck();
  await page.locator("#keys-list .key", { hasText: "SPOT · BTCUSDT" }).locator("input").click();
  await until("one key must stay", async () => (await textOf(page, "keys-note")) === "at least one key");
  assert.equal(await page.locator("#keys-list input:checked").count(), 1);
  await page.keyboard.press("Escape");
  assert.equal(await page.evaluate(() => document.activeElement.id), "keys-summary");
  await until("candles again", async () => (await drawn(page)) > 0);
}
