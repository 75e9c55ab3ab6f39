// Looks at pages in Chromium, as pages.sh says, and holds the PNG of a figure against its SVG: node pages.mjs PROFILE FONTS FILE...
import fs from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const [profile, fonts, ...files] = process.argv.slice(2);
const [paths, figures] = ["html", "svg"].map((ending) => files.filter((file) => file.endsWith(ending)));
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
  check(name, small || !(await page.$("main svg[role=img]")), "a picture has no button that opens it");
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

// Edges of letters differ by how the browser smooths them: 0.05 to 0.1 of the ink. A figure that lies one raster pixel lower has 0.3.
const MOST_ELSEWHERE = 0.15;

// The share of ink that lies elsewhere in a figure's PNG than where the browser draws its SVG, in the letters that the program has.
async function twins(page, path) {
  const uri = (kind, file) => `data:${kind};base64,${fs.readFileSync(file).toString("base64")}`;
  const face = (file, weight) => `@font-face { font-family: Arial; font-weight: ${weight}; src: url(${uri("font/ttf", `${fonts}/${file}`)}); }`;
  const style = `${face("Arimo-Regular.ttf", 400)} ${face("Arimo-Bold.ttf", 700)} body { margin: 0 } svg { display: block }`;
  const svg = fs.readFileSync(path, "utf8");
  const [width, height] = ["width", "height"].map((side) => Math.ceil(Number(svg.match(new RegExp(`<svg[^>]* ${side}="([0-9.]+)"`))[1])));
  await page.setViewport({ width, height, deviceScaleFactor: 2 });
  await page.setContent(`<style>${style}</style>${svg}`);
  await page.evaluate(() => document.fonts.ready);
  const drawn = `data:image/png;base64,${await page.screenshot({ encoding: "base64" })}`;
  const elsewhere = await page.evaluate(async (sources) => {
    const [one, other] = await Promise.all(sources.map(async (src) => {
      const image = Object.assign(new Image(), { src });
      await image.decode();
      const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext("2d");
      canvas.drawImage(image, 0, 0);
      return canvas.getImageData(0, 0, image.naturalWidth, image.naturalHeight);
    }));
    if (one.width !== other.width || one.height !== other.height) return 1;
    const sum = (value) => one.data.reduce((total, _, at) => total + value(at), 0);
    return sum((at) => Math.abs(one.data[at] - other.data[at])) / sum((at) => 255 - Math.min(one.data[at], other.data[at]));
  }, [drawn, uri("image/png", path.replace(/svg$/, "png"))]);
  check(path.split("/").pop(), elsewhere < MOST_ELSEWHERE, `${(100 * elsewhere).toFixed(1)} % of the ink lies elsewhere in the PNG than in the SVG`);
  return elsewhere;
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
const page = await browser.newPage();
let most = 0;
for (const path of figures) most = Math.max(most, await twins(page, path));
console.log(`at most ${(100 * most).toFixed(1)} % of the ink of ${figures.length} figures lies elsewhere in the PNG than in the SVG`);
await browser.close();
console.log(found === 0 ? `axe-core and the browser find nothing on ${paths.length} pages, in the light, in the dark, on a phone and on paper` : `${found} findings`);
process.exit(found === 0 ? 0 : 1);
