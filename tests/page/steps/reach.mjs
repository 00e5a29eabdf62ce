import assert from "node:assert/strict";
import { until } from "../service.mjs";
import { textOf } from "./look.mjs";

const CONTROLS = "button, select, input, summary, a[href], [tabindex='0']";
const ROLES = ["button", "combobox", "textbox", "searchbox", "checkbox", "slider", "link", "DisclosureTriangle", "table", "image", "MenuListPopup"];

/** Names of what can have the focus now. */
function reachable(page) {
  return page.evaluate((selector) => [...document.querySelectorAll(selector)]
    .filter((one) => !one.disabled && one.checkVisibility() && !one.closest("details:not([open]) > .pop"))
    .map((one) => one.id || one.textContent.trim()), CONTROLS);
}

/** Goes through the page by Tab: the names in their order. */
async function tabbed(page, most) {
  await page.evaluate(() => { document.activeElement.blur(); window.scrollTo(0, 0); });
  const seen = [];
  for (let at = 0; at < most; at += 1) {
    await page.keyboard.press("Tab");
    const focus = await page.evaluate(() => {
      const one = document.activeElement;
      const style = getComputedStyle(one);
      return { name: one === document.body ? null : one.id || one.textContent.trim(), outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1 };
    });
    if (focus.name === null || focus.name === seen[0]) break;
    assert.ok(focus.outline, `${focus.name} shows that it has the focus`);
    seen.push(focus.name);
  }
  return seen;
}

export async function keyboard({ page, context, shot }) {
  await page.reload();
  await until("the page stands", async () => /bars? of/.test(await textOf(page, "plot-note")));
  const seen = await tabbed(page, 80);
  assert.deepEqual([...(await reachable(page))].sort(), [...seen].sort(), "every control is reached");
  await page.focus("#keys-summary");
  await page.keyboard.press("Enter");
  await until("keys by keyboard", () => page.evaluate(() => document.activeElement.id === "keys-find"));
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.type), "checkbox");
  await shot("light-focus");
  await names(context, page);
  await page.keyboard.press("Escape");
  await page.focus("#replay-play");
  await page.keyboard.press("Enter");
  await until("a replay by keyboard", () => page.evaluate(() => document.body.dataset.mode === "replay"));
  await page.focus("#replay-stop");
  await page.keyboard.press("Space");
  await until("live by keyboard", () => page.evaluate(() => document.body.dataset.mode === "live"));
}

async function names(context, page) {
  const session = await context.newCDPSession(page);
  const { nodes } = await session.send("Accessibility.getFullAXTree");
  const controls = nodes.filter((node) => !node.ignored && ROLES.includes(node.role?.value));
  assert.ok(controls.length > 25, `${controls.length} controls`);
  const nameless = controls.filter((node) => !node.name?.value?.trim() && node.role.value !== "MenuListPopup");
  assert.deepEqual(nameless.map((node) => node.role.value), [], "each has a name");
  await session.detach();
}

/** Text whose contrast with what is behind it is below 4.5. */
function faint(page) {
  return page.evaluate(() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      return [r, g, b, a / 255];
    };
    const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
    const behind = (one) => {
      if (!one) return [255, 255, 255];
      const colour = rgba(getComputedStyle(one).backgroundColor);
      return colour[3] === 1 ? colour.slice(0, 3) : over(colour, behind(one.parentElement));
    };
    const light = (rgb) => {
      const [r, g, b] = rgb.map((value) => { const part = value / 255; return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = [];
    for (const one of document.querySelectorAll("body *")) {
      const own = [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
      if (!own || !one.checkVisibility() || one.disabled || one.closest(".unseen, .skip, noscript, option")) continue;
      const style = getComputedStyle(one);
      const ground = behind(one);
      const ink = over(rgba(one instanceof SVGElement ? style.fill : style.color), ground);
      const [high, low] = [light(ink), light(ground)].sort((a, b) => b - a);
      const ratio = (high + 0.05) / (low + 0.05);
      if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${one.id || one.className.baseVal || one.className || one.tagName}: ${one.textContent.trim().slice(0, 40)}`);
    }
    return found;
  });
}

export async function contrast({ page }) {
  for (const theme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: theme });
    assert.deepEqual(await faint(page), [], theme);
  }
  await page.emulateMedia({ colorScheme: "light" });
}

export async function phone({ page, shot }) {
  await page.setViewportSize({ width: 360, height: 740 });
  await page.reload();
  await until("the page stands", async () => /bars? of/.test(await textOf(page, "plot-note")) && (await page.locator("#files tbody tr").count()) > 0);
  const narrow = async () => {
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360, "nothing to scroll to the side");
    const outside = await page.evaluate((selector) => [...document.querySelectorAll(selector)].filter((one) => {
      const box = one.getBoundingClientRect();
      return one.checkVisibility() && !one.closest("details:not([open]) > .pop") && !one.matches(".skip") && (box.left < 0 || box.right > 360.5);
    }).map((one) => one.id), CONTROLS);
    assert.deepEqual(outside, []);
    const cut = await page.evaluate(() => [...document.querySelectorAll("#tape-space .line:not(.edge, .more) .number:not(.spare)")].filter((cell) => cell.checkVisibility() && (cell.scrollWidth > cell.clientWidth + 1 || cell.getBoundingClientRect().right > 360)).map((cell) => cell.textContent));
    assert.deepEqual(cut, [], "no number is cut");
  };
  await narrow();
  await shot("phone-light", true);
  await page.click("#keys-summary");
  await narrow();
  await shot("phone-keys");
  await page.keyboard.press("Escape");
  await page.emulateMedia({ colorScheme: "dark" });
  await shot("phone-dark");
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 1440, height: 1000 });
}
