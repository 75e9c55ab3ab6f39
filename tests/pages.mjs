// Looks at pages in Chromium, as pages.sh says: node pages.mjs PROFILE PAGE...
import fs from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const [profile, ...paths] = process.argv.slice(2);
const axe = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"];
const DESK = { width: 1280, height: 900 };
const PHONE = { width: 375, height: 812, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
const paper = (wide) => ({ width: Math.floor(((wide - 2 * 14) / 25.4) * 96), height: 1000 }); // in mm, less the margins that page.css sets

let found = 0;
const check = (page, holds, problem) => {
  if (!holds) console.error(`${page}: ${problem}`);
  found += holds ? 0 : 1;
};

async function accessible(page, name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate((values) => axe.run(document, { runOnly: { type: "tag", values }, resultTypes: ["violations"] }), RULES);
  for (const { id, help, nodes } of violations) {
    const [{ html, failureSummary }] = nodes;
    check(name, false, `axe: ${id} (${help}), ${nodes.length} times: ${html.slice(0, 200)}\n  ${failureSummary.replace(/\s+/g, " ").slice(0, 300)}`);
  }
}

// Elements beyond the right edge that no scrolling box holds.
const beyond = (page) =>
  page.evaluate(() => {
    const width = document.documentElement.clientWidth + 1;
    const scrolls = (element) => element && (getComputedStyle(element).overflowX !== "visible" || scrolls(element.parentElement));
    const cut = [...document.body.querySelectorAll("*")].filter((element) => {
      const { right, width: own } = element.getBoundingClientRect();
      return own > 0 && right > width && !scrolls(element.parentElement);
    });
    return cut.slice(0, 3).map((element) => element.outerHTML.slice(0, 120));
  });

async function scrolls(page, name) {
  const boxes = await page.$$(".scroll, pre");
  for (const box of boxes) {
    const { isWider, stop, label } = await box.evaluate((element) => ({
      isWider: element.scrollWidth > element.clientWidth,
      stop: element.tabIndex,
      label: element.getAttribute("aria-label"),
    }));
    check(name, label, "a box that scrolls has no name");
    check(name, !isWider || stop === 0, `the tab key does not stop at ${label}`);
  }
  for (const box of boxes) {
    if (!(await box.evaluate((element) => element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 20))) continue;
    await box.focus();
    await page.keyboard.press("ArrowRight");
    const moved = await page.waitForFunction((element) => element.scrollLeft > 0, { timeout: 3000 }, box).catch(() => false);
    check(name, moved, "the arrow keys do not scroll a table");
    return;
  }
}

async function zooms(page, name) {
  const small = await page.$("button.zoom");
  if (!small) return;
  await small.focus();
  await page.keyboard.press("Enter");
  check(name, await page.$("dialog[open] .pan svg"), "Enter on a picture's button does not open it");
  await accessible(page, `${name}, a picture opened`);
  const width = () => page.$eval(".pan svg", (picture) => picture.getBoundingClientRect().width);
  const before = await width();
  await page.keyboard.press("+");
  check(name, (await width()) > 1.4 * before, "+ does not enlarge a picture");
  await page.keyboard.press("Escape");
  check(name, !(await page.$("dialog[open]")), "Escape does not close a picture");
  check(name, await small.evaluate((button) => document.activeElement === button), "the focus is lost when a picture is closed");
  await (await page.$(".zoomable")).click();
  check(name, await page.$("dialog[open] .pan svg"), "a click does not open a picture");
  await page.keyboard.press("Escape");
}

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM,
  userDataDir: profile,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
for (const path of paths) {
  const page = await browser.newPage();
  const address = pathToFileURL(path).href;
  const kind = path.split("/").slice(-2).join("/");
  page.on("request", (request) => check(kind, request.url() === address || request.url().startsWith("data:"), `asks for ${request.url().slice(0, 100)}`));
  page.on("console", (message) => check(kind, message.type() !== "error", message.text()));
  page.on("pageerror", (error) => check(kind, false, String(error)));
  for (const [size, viewport] of [["desk", DESK], ["phone", PHONE]]) {
    for (const light of ["light", "dark"]) {
      const name = `${kind}, ${size}, ${light}`;
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: light }]);
      await page.setViewport(viewport);
      await page.goto(address);
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50))));
      await accessible(page, name);
      const wide = await page.evaluate(() => document.scrollingElement.scrollWidth);
      check(name, wide <= viewport.width, `scrolls sideways: ${wide} of ${viewport.width} px, ${await beyond(page)}`);
      if (light === "light") await scrolls(page, name);
      await zooms(page, name);
    }
  }
  await page.emulateMediaFeatures([]);
  await page.goto(address);
  await page.setViewport(paper((await page.content()).includes("size: A4 landscape") ? 297 : 210));
  await page.emulateMediaType("print");
  const cut = await page.evaluate(() =>
    [...document.querySelectorAll(".scroll, pre")].filter((box) => box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1).map((box) => box.getAttribute("aria-label")),
  );
  check(`${kind}, printed`, cut.length === 0, `is cut: ${cut}`);
  check(`${kind}, printed`, (await beyond(page)).length === 0, `is wider than A4: ${await beyond(page)}`);
  await page.close();
}
await browser.close();
console.log(found === 0 ? `axe-core and the browser find nothing on ${paths.length} pages, in the light, in the dark, on a phone and on paper` : `${found} findings`);
process.exit(found === 0 ? 0 : 1);
