// Opens a report in headless Chromium and prints one line for each fault: parse errors of its HTML, requests and console
// messages, what is cut or overlaps at the widths of a telephone and of a large screen, in light, dark and print, and
// serious findings of axe-core. Usage: node check.mjs CHROMIUM FILE.html [SCREENSHOT-PREFIX]
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";
import { parse } from "parse5";

const [executablePath, file, screenshots] = process.argv.slice(2);
const faults = [];
const html = readFileSync(file, "utf8");
parse(html, { onParseError: (error) => faults.push(`html: ${error.code} in line ${error.startLine}`) });

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

// Runs in the page: what sticks out of the page or of its picture, and labels of one picture that overlap.
function layout() {
  const found = [];
  const name = (element) => `${element.tagName.toLowerCase()} "${(element.textContent ?? "").trim().slice(0, 40)}"`;
  if (document.documentElement.scrollWidth > window.innerWidth + 1) {
    found.push(`the page is ${document.documentElement.scrollWidth} wide in a window of ${window.innerWidth}`);
  }
  for (const svg of document.querySelectorAll("svg")) {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map((text) => ({ text, box: text.getBoundingClientRect() }));
    for (const { text, box } of texts) {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1) {
        found.push(`cut: ${name(text)}`);
      }
      if (box.height > 0 && box.height < 8) found.push(`too small: ${name(text)} ${box.height}`);
    }
    for (let i = 0; i < texts.length; i += 1) {
      for (let j = i + 1; j < texts.length; j += 1) {
        const [a, b] = [texts[i].box, texts[j].box];
        const [wide, high] = [Math.min(a.right, b.right) - Math.max(a.left, b.left), Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)];
        if (wide > 1 && high > 4) found.push(`overlap: ${name(texts[i].text)} and ${name(texts[j].text)}`);
      }
    }
  }
  for (const needed of ["h1", "#incidents", "svg", "table caption"]) {
    if (!document.querySelector(needed)) found.push(`there is no ${needed}`);
  }
  return found;
}

for (const [width, colorScheme, media] of [[400, "light", "screen"], [1200, "dark", "screen"], [2000, "light", "screen"], [900, "light", "print"]]) {
  const where = `${width} ${colorScheme} ${media}`;
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
  page.on("request", (request) => request.url().startsWith("file:") || faults.push(`${where}: request ${request.url()}`));
  page.on("console", (message) => faults.push(`${where}: console ${message.text()}`));
  page.on("pageerror", (error) => faults.push(`${where}: error ${error}`));
  await page.emulateMedia({ media, colorScheme });
  await page.goto(pathToFileURL(file).href);
  if (screenshots) await page.screenshot({ path: `${screenshots}-${width}-${colorScheme}-${media}.png`, fullPage: true });
  for (const fault of await page.evaluate(layout)) faults.push(`${where}: ${fault}`);
  if (media === "print") {
    const hidden = await page.evaluate(() => [...document.querySelectorAll("details > div")].filter((div) => div.getBoundingClientRect().height === 0).length);
    if (hidden > 0) faults.push(`${where}: ${hidden} folded parts are not printed`);
  } else {
    await page.evaluate(() => document.querySelectorAll("details").forEach((details) => details.setAttribute("open", "")));
    const result = await page.evaluate(`(() => { ${axe}; return axe.run(document, { resultTypes: ["violations"] }); })()`);
    for (const finding of result.violations.filter((one) => ["serious", "critical"].includes(one.impact))) {
      faults.push(`${where}: axe ${finding.id}: ${finding.help} (${finding.nodes[0].html.slice(0, 120)})`);
    }
  }
  await page.close();
}
await browser.close();
[...new Set(faults)].slice(0, 40).forEach((fault) => console.log(fault));
console.log(`${faults.length} faults`);
process.exit(faults.length > 0 ? 1 : 0);
