// Runs all steps in one browser, in order, and ends with status 1 at the first that fails.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Service } from "./service.mjs";
import * as shell from "./steps/shell.mjs";
import * as tape from "./steps/tape.mjs";
import * as chart from "./steps/chart.mjs";
import * as replay from "./steps/replay.mjs";
import * as health from "./steps/health.mjs";
import * as reach from "./steps/reach.mjs";

const { chromium } = await import(process.env.TOURBILLON_PLAYWRIGHT ?? "playwright-core");
const [executablePath, binary] = process.argv.slice(2);
const shots = process.env.TOURBILLON_PAGE_SHOTS;
if (shots) await mkdir(shots, { recursive: true });

const STEPS = [
  ["an empty stream says how to fill it, and the command works", shell.empty],
  ["rows are in order, around the watermark, as the API has them", tape.order],
  ["bars are those of the API", chart.bars],
  ["every control of the chart", chart.controls],
  ["dragging zooms into history", chart.drag],
  ["several keys are compared", chart.compared],
  ["the tape pauses, scrolls by keyboard and goes on", tape.paused],
  ["the tape shows chosen keys only", tape.chosen],
  ["a flood is bounded, and said", tape.flood],
  ["partitions, writers, commits and segments", health.tables],
  ["rejects as they come", health.rejects],
  ["a replay gives the window again", replay.whole],
  ["a replay pauses, steps, seeks and changes speed", replay.controls],
  ["a replay of nonsense is refused", replay.refused],
  ["errors of the API are shown", shell.problems],
  ["light and dark, remembered", shell.themes],
  ["all by keyboard, with a visible focus and a name", reach.keyboard],
  ["text can be read in both themes", reach.contrast],
  ["a phone's width", reach.phone],
  ["a killed service comes back without a gap", shell.reconnect],
  ["another stream", shell.streams],
];

const libraries = process.env.TOURBILLON_CHROMIUM_LIBRARIES;
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
  env: { ...process.env, ...(libraries ? { LD_LIBRARY_PATH: libraries } : {}) },
});
const service = await Service.make(binary);
// whatever ends this process ends what it started
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.once(signal, () => process.exit(1));
process.once("exit", () => service.kill());
const context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, colorScheme: "light" });
const page = await context.newPage();
page.setDefaultTimeout(20_000);

/** What the page must not do. Failures that a step provokes are expected in it. */
const wrong = [];
const test = { page, context, service, expected: null, shot };
page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
page.on("console", (message) => {
  const bad = ["error", "warning"].includes(message.type());
  if (bad && !test.expected?.test(message.text())) wrong.push(`console: ${message.text()}`);
});
page.on("request", (request) => {
  if (!request.url().startsWith(`${service.url}/`)) wrong.push(`asks elsewhere: ${request.url()}`);
});

async function shot(name, full = false) {
  if (!shots) return;
  if (full) await page.evaluate(() => window.scrollTo(0, 0));
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: full });
}

let failed = false;
let current = "";
const began = Date.now();
try {
  for (const [name, step] of STEPS) {
    const start = Date.now();
    current = name;
    test.expected = null;
    await step(test);
    if (/must not happen/.test(await page.locator("#tape-count").textContent())) wrong.push("rows came behind the watermark");
    if (wrong.length) throw new Error(wrong.join("\n"));
    console.log(`ok ${name} (${Date.now() - start} ms)`);
  }
  console.log(`${STEPS.length} steps in ${((Date.now() - began) / 1000).toFixed(1)} s`);
} catch (error) {
  failed = true;
  console.error(`FAILED ${current}\n${error.stack}\n${wrong.join("\n")}`);
  await shot("failed", true).catch(() => {});
} finally {
  await browser.close();
  await service.close();
}
process.exit(failed ? 1 : 0);
