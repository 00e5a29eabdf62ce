import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { until } from "../service.mjs";
import { frames, inOrder, stampNs, stampText, tapeLines, textOf } from "./look.mjs";

const run = promisify(execFile);

export async function empty({ page, service, shot }) {
  const answer = await page.goto(`${service.url}/`);
  assert.match(answer.headers()["content-security-policy"], /^default-src 'self'/);
  await page.locator("#empty").waitFor();
  await until("it is live", async () => (await page.getAttribute("#link", "data-state")) === "live");
  await shot("light-empty");
  await run("sh", ["-c", await textOf(page, "empty-how")]);
  const lines = await until("the two rows", async () => {
    const found = (await tapeLines(page)).filter((line) => line.cells[2] === "XNAS");
    return found.length === 2 && found;
  });
  assert.deepEqual(lines.map((line) => line.cells.slice(3, 6)), [["MSFT", "402.5", "10"], ["AAPL", "187.15", "100"]]);
  await until("the chart instead", async () => (await page.isHidden("#empty")) && page.isVisible("#plot"));
  await until("its key", async () => /XNAS/.test(await textOf(page, "keys-summary")));
  // the busiest key is chosen when the page begins
  service.feed(400);
  await until("rows of the feed", async () => (await service.rows("streams/trades/window?consistency=latest&columns=hlc&limit=200")).length === 200);
  await page.reload();
  await until("its busiest key", async () => (await textOf(page, "keys-summary")) === "Keys: XSIM_SPOT · BTCUSDT");
}

export async function problems(test) {
  const { page } = test;
  test.expected = /status of 400/;
  const detail = "interval: longer than a day";
  await page.route("**/bars?*", (route) => route.fulfill({
    status: 400, contentType: "application/problem+json", body: JSON.stringify({ title: "Bad Request", status: 400, detail }),
  }));
  await until("the text of the API", async () => (await page.isVisible("#plot-message")) && (await textOf(page, "plot-message")) === `400: ${detail}`);
  await page.unroute("**/bars?*");
  await until("it goes when it is over", () => page.isHidden("#plot-message"));
}

const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);

export async function themes({ page, shot }) {
  const light = await ground(page);
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await ground(page);
  assert.notEqual(dark, light, "as the system has it");
  await page.click("#theme");
  assert.deepEqual([await textOf(page, "theme"), await ground(page)], ["Theme: light", light]);
  await page.reload();
  await until("it is remembered", async () => (await textOf(page, "theme")) === "Theme: light" && (await ground(page)) === light);
  await page.emulateMedia({ colorScheme: "light" });
  await page.click("#theme");
  assert.deepEqual([await textOf(page, "theme"), await ground(page)], ["Theme: dark", dark]);
  await until("bars in the dark", async () => /bars? of/.test(await textOf(page, "plot-note")) && (await tapeLines(page)).length > 12);
  await page.locator("#writers tbody tr").first().waitFor();
  await shot("dark-live", true);
  await page.click("#theme");
  assert.equal(await textOf(page, "theme"), "Theme: auto");
}

export async function reconnect(test) {
  const { page, service, shot } = test;
  test.expected = /ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY|Failed to load resource/;
  await until("rows before", async () => inOrder(await tapeLines(page)).length > 4);
  const from = (await tapeLines(page)).find((line) => line.kind === "final").hlc;
  service.pause();
  await service.kill();
  await until("it says so", async () => /^not connected since \d\d:\d\d:\d\d$/.test(await textOf(page, "link")));
  assert.equal(await page.getAttribute("#link", "data-state"), "lost");
  assert.match(await textOf(page, "trouble"), /^Not connected: .+\. What is shown is of .+ UTC; trying again\.$/);
  await shot("light-lost");
  // rows from before the page is back: it must fetch them
  await page.route("**/subscribe?*", (route) => route.abort());
  await service.start();
  await service.send(40);
  service.feed(400);
  await until("its parts that ask are back", async () => (await page.locator("#plot-message").isHidden()));
  await page.unroute("**/subscribe?*");
  await until("it is live again by itself", async () => (await textOf(page, "link")) === "live", 30_000);
  assert.ok(await page.isHidden("#trouble"));
  await until("rows after", async () => {
    const [first] = inOrder(await tapeLines(page));
    return first && first.hlc > stampText(stampNs(from) + 2_000_000_000n);
  });
  await page.click("#tape-pause");
  await frames(page, 20);
  await gapless(page, service, from);
  await page.click("#tape-pause");
}

/** Reads the paused tape down to a stamp, and compares it with the window. */
async function gapless(page, service, from) {
  const rows = new Map();
  for (let y = 0; ; y += 336) {
    await page.evaluate((top) => { document.querySelector("#tape-view").scrollTop = top; }, y);
    await frames(page, 8);
    const lines = await tapeLines(page);
    for (const line of lines) if (line.kind === "final") rows.set(`${line.hlc} ${line.writer}`, line);
    const last = lines[lines.length - 1];
    if (last.hlc && last.hlc < from) break;
    assert.ok(y < 50_000, "the tape reaches back to before the kill");
  }
  const shown = [...rows.values()].filter((row) => row.hlc >= from).map((row) => `${row.hlc} ${row.writer}`);
  const end = stampText(stampNs(shown[0].split(" ")[0]) + 1n);
  const told = await service.rows(`streams/trades/window?start=${from}&end=${end}&order=desc&columns=hlc,writer`);
  assert.deepEqual(shown, told.map((row) => `${row.hlc} ${row.writer}`));
  assert.ok(new Set(told.map((row) => row.writer)).size > 1, "before the kill and after it");
}

export async function streams({ page, service }) {
  const def = { columns: [{ name: "who", type: "string" }, { name: "text", type: "string", nullable: true }], key: ["who"], partitions: 1 };
  const made = await fetch(`${service.url}/v1/streams/notes`, { method: "PUT", body: JSON.stringify(def) });
  assert.ok(made.ok, await made.text());
  await page.focus("#theme");
  await page.focus("#stream");
  await page.selectOption("#stream", "notes");
  await page.locator("#empty").waitFor();
  await run("sh", ["-c", await textOf(page, "empty-how")]);
  await until("rows without numbers", async () => (await tapeLines(page)).filter((line) => line.cells[2] === "WHO").length === 2);
  await until("no chart, and why", async () => (await textOf(page, "plot-message")) === "This stream has no numbers to draw.");
  await page.reload();
  await until("the stream is remembered in the address", async () => (await page.inputValue("#stream")) === "notes");
  await page.selectOption("#stream", "trades");
  await until("trades again", async () => (await tapeLines(page)).some((line) => line.cells[3] === "BTCUSDT") && (await page.isHidden("#plot-message")));
}
