#include "report/page_style.h"

namespace introspect {

// Colours are pairs that keep their contrast in both modes (text 7:1, marks 3:1 or more) and differ in lightness as
// well as in hue, so that they can be told apart without colour vision.
const std::string_view kPageStyle = R"css(
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --raised: #ffffff; --ink: #1d1f23; --soft: #565b64; --rule: #dcd9d1; --grid: #e6e3dc;
  --self: #1b6cb3; --explainer: #6f90ad; --ablation: #b07a2a; --floor: #9b9a94; --second: #b4560f; --whisker: #1d1f23;
  --heat: #0a4a86; --on-heat: #ffffff; --good: #1a6a3c; --bad: #a3321f; --wash: #eef3f8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171b; --raised: #1c1f24; --ink: #e8e6e1; --soft: #a9adb5; --rule: #34383f; --grid: #2a2e34;
    --self: #4a9be0; --explainer: #5f809e; --ablation: #a87a35; --floor: #6d6f73; --second: #f0a35e; --whisker: #f2f0ec;
    --heat: #8cc6f5; --on-heat: #10151b; --good: #7fd0a0; --bad: #f09a86; --wash: #1d2731;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.6 Charter, "Bitstream Charter", "Sitka Text", Cambria, Georgia, serif;
}
main { max-width: 47rem; margin: 0 auto; padding: 4.5rem 1.25rem 6rem; }
h1 { font-size: clamp(1.9rem, 1.3rem + 2.6vw, 2.75rem); line-height: 1.15; font-weight: 600; letter-spacing: -.012em; margin: 0 0 1rem; text-wrap: balance; }
h2 { font-size: 1.5rem; line-height: 1.25; font-weight: 600; margin: 4.5rem 0 .75rem; text-wrap: balance; }
h3 { font-size: 1.0625rem; font-weight: 600; margin: 2.25rem 0 .35rem; }
.chapter { margin-top: 6rem; border-top: 3px solid var(--ink); padding-top: 2.5rem; }
.chapter > header h2 { font-size: clamp(1.6rem, 1.2rem + 1.8vw, 2.1rem); line-height: 1.2; margin: 0 0 1rem; letter-spacing: -.008em; }
.chapter h3 { font-size: 1.35rem; line-height: 1.25; margin: 4rem 0 .75rem; text-wrap: balance; }
.chapter h4 { font-size: 1.0625rem; font-weight: 600; margin: 2.25rem 0 .35rem; }
.chapter .question { font-size: 1.15rem; }
.parts { list-style: none; padding: 0; margin: 0; display: grid; gap: 1.25rem; }
.parts li { border-left: 3px solid var(--self); padding: .1rem 0 .1rem 1.25rem; }
.parts li.invalid { border-left-color: var(--bad); }
.parts a { font-weight: 600; font-size: 1.2rem; }
.parts p { margin: .2rem 0 0; }
a { color: var(--self); text-decoration-thickness: 1px; text-underline-offset: .18em; }
a:hover { text-decoration-thickness: 2px; }
a:focus-visible { outline: 2px solid var(--self); outline-offset: 2px; }
.next { font-size: .9rem; margin: 3rem 0 0; }
p { margin: 0 0 1rem; }
.eyebrow, figcaption, table, .facts, button, summary, .tags, .said, .filters, .note, .next {
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
.eyebrow { font-size: .8125rem; letter-spacing: .06em; color: var(--soft); margin-bottom: 1.25rem; }
.question { font-size: 1.3rem; line-height: 1.45; color: var(--soft); font-style: italic; margin-bottom: 2rem; text-wrap: pretty; }
.answer { border-left: 3px solid var(--self); padding: .1rem 0 .1rem 1.25rem; margin: 0 0 2.25rem; }
.answer.invalid { border-left-color: var(--bad); }
.answer.invalid p:first-child { color: var(--bad); }
.answer p { margin: 0 0 .6rem; }
.answer p:first-child { font-size: 1.2rem; line-height: 1.5; }
.answer p:last-child { margin-bottom: 0; }
figure { margin: 1.75rem 0 0; }
figcaption, .note { font-size: .84rem; line-height: 1.5; color: var(--soft); margin-top: .75rem; }
svg { display: block; max-width: 100%; height: auto; overflow: visible; font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
.narrow { display: none; }
.small-figures { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1.5rem 2.5rem; }
.small-figures .narrow { display: block; }
.small-figures .wide { display: none; }
svg text { fill: var(--ink); font-size: 13.5px; }
svg .tick { fill: var(--soft); font-size: 11.5px; }
svg .group { fill: var(--soft); font-size: 12px; letter-spacing: .02em; }
svg .label, svg .group { paint-order: stroke; stroke: var(--paper); stroke-width: 5px; stroke-linejoin: round; }
svg .value { font-variant-numeric: tabular-nums; }
svg text.self { font-weight: 650; }
svg text.second { fill: var(--second); }
svg .grid { stroke: var(--grid); stroke-width: 1; }
svg .axis { stroke: var(--soft); stroke-width: 1; }
svg .bar.self { fill: var(--self); }
svg .bar.explainer { fill: var(--explainer); }
svg .bar.ablation { fill: var(--ablation); }
svg .bar.floor { fill: var(--floor); }
svg .bar.simulation { fill: var(--paper); stroke: var(--self); stroke-width: 1.5; }
svg .whisker { stroke: var(--whisker); stroke-width: 1.4; }
svg .whisker.first { stroke: var(--self); }
svg .curve { stroke-width: 2; fill: none; }
svg .curve.self, svg .curve.whisker-self { stroke: var(--self); }
svg .curve.explainer, svg .curve.whisker-explainer { stroke: var(--second); }
svg .curve.floor, svg .curve.whisker-floor { stroke: var(--floor); }
svg .curve[class*="whisker-"] { stroke-width: 1; }
svg .point.self { fill: var(--self); }
svg .point.explainer { fill: var(--second); }
svg .point.floor { fill: var(--floor); }
svg .whisker.second { stroke: var(--second); }
svg .dot.first { fill: var(--self); }
svg .dot.second { fill: var(--paper); stroke: var(--second); stroke-width: 2; }
svg .heat { fill: var(--heat); }
svg .empty { fill: none; stroke: var(--grid); }
svg .cell { font-size: 12.5px; font-variant-numeric: tabular-nums; }
svg .cell.small { font-size: 10.5px; }
svg .cell.strong { fill: var(--on-heat); }
.scroll { overflow-x: auto; margin: 1.5rem 0 0; }
.scroll:focus-visible, button:focus-visible, summary:focus-visible { outline: 2px solid var(--self); outline-offset: 2px; }
.broad { width: min(100vw - 2.5rem, 62rem); position: relative; left: 50%; transform: translateX(-50%); }
table { border-collapse: separate; border-spacing: 0; font-size: .84rem; line-height: 1.35; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .5rem .7rem; text-align: right; vertical-align: baseline; border-bottom: 1px solid var(--rule); }
.dense th, .dense td { padding-left: .45rem; padding-right: .45rem; }
.dense th:first-child { padding-left: 0; }
th { font-weight: 500; }
thead th { color: var(--soft); vertical-align: bottom; border-bottom-color: var(--soft); }
th:first-child, td:first-child { text-align: left; padding-left: 0; position: sticky; left: 0; background: var(--paper); min-width: 8.5rem; }
td small { display: block; color: var(--soft); font-size: .72rem; white-space: nowrap; }
td small.words { white-space: normal; }
th small { display: block; color: var(--soft); font-size: .76rem; font-weight: 400; }
tr.reference th, tr.reference td { color: var(--soft); }
tr.self th, tr.self td { font-weight: 650; }
tr.self td small { font-weight: 400; }
tr.kind th { color: var(--soft); padding-top: 1.3rem; font-size: .78rem; }
td.words, th.words { text-align: left; }
.facts { display: grid; grid-template-columns: minmax(8rem, 14rem) 1fr; gap: .4rem 1.5rem; font-size: .9rem; line-height: 1.45; margin: 1rem 0; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
details { margin: 1.5rem 0 0; }
summary { cursor: pointer; font-size: .9rem; color: var(--self); padding: .3rem 0; }
pre { background: var(--raised); border: 1px solid var(--rule); border-radius: 6px; padding: .9rem 1rem; overflow-x: auto; font: .84rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.filters { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: 1.25rem 0 1rem; font-size: .84rem; }
.filters[hidden] { display: none; }
.filters .shown { color: var(--soft); margin-left: auto; }
button { font-size: .84rem; padding: .4rem .8rem; min-height: 2.25rem; border: 1px solid var(--rule); border-radius: 999px; background: var(--raised); color: var(--ink); cursor: pointer; }
button:hover { border-color: var(--soft); }
button[aria-pressed=true] { background: var(--ink); border-color: var(--ink); color: var(--paper); }
article { background: var(--raised); border: 1px solid var(--rule); border-radius: 8px; padding: 1.1rem 1.25rem; margin: 0 0 1rem; }
article[hidden] { display: none; }
.tags { display: flex; flex-wrap: wrap; gap: .15rem 1rem; font-size: .78rem; color: var(--soft); margin: 0 0 .6rem; }
.tags b { font-weight: 600; color: var(--ink); }
.input { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 0 .8rem; font-size: 1rem; line-height: 1.45; }
.truth { margin: 0 0 .5rem; }
.truth b { font-weight: 600; }
mark { background: var(--wash); color: inherit; padding: .05em .25em; border-radius: 3px; box-decoration-break: clone; -webkit-box-decoration-break: clone; }
.said { list-style: none; margin: 0; padding: 0; font-size: .86rem; line-height: 1.4; }
.said li { display: grid; grid-template-columns: 15rem 1fr auto; gap: .2rem 1rem; padding: .34rem 0; border-top: 1px solid var(--grid); }
.said .who { color: var(--soft); }
.said .words { overflow-wrap: anywhere; }
.said .words i { color: var(--soft); font-style: normal; }
.right { color: var(--good); white-space: nowrap; }
.wrong { color: var(--bad); white-space: nowrap; }
ul.plain { padding-left: 1.1rem; }
ul.plain li { margin-bottom: .5rem; }
@media (max-width: 46rem) {
  .broad { width: auto; left: 0; transform: none; }
  main { padding-top: 2.5rem; }
  h2 { margin-top: 3.5rem; }
  .chapter { margin-top: 4rem; padding-top: 1.75rem; }
  .chapter h3 { margin-top: 3rem; }
  .wide { display: none; }
  .narrow { display: block; }
  .narrow svg { width: 100%; max-width: 460px; }
  .small-figures { grid-template-columns: minmax(0, 1fr); gap: 1rem; }
  .facts { grid-template-columns: 1fr; gap: 0; }
  .facts dd { margin-bottom: .7rem; }
  .said li { grid-template-columns: 1fr auto; }
  .said .who { grid-column: 1 / -1; font-size: .78rem; }
  .filters .shown { margin-left: 0; flex-basis: 100%; }
}
@media print { main { max-width: none; padding: 0; } .filters { display: none; } article { break-inside: avoid; } }
)css";

// Filters of the examples, each for those of its own section. Without JavaScript all examples are shown and the buttons
// are not.
const std::string_view kPageScript = R"js(
"use strict";
for (const filters of document.querySelectorAll(".filters")) {
  const articles = [...filters.closest("section").querySelectorAll("article")];
  const buttons = [...filters.querySelectorAll("button")];
  const shown = filters.querySelector(".shown");
  const apply = chosen => {
    const [key, value] = chosen.dataset.filter.split("=");
    for (const button of buttons) button.setAttribute("aria-pressed", button === chosen);
    let count = 0;
    for (const article of articles) {
      const fits = key === "all" || article.dataset[key] === value;
      article.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${articles.length} shown`;
  };
  for (const button of buttons) button.addEventListener("click", () => apply(button));
  filters.hidden = false;
  apply(buttons[0]);
}
)js";

}  // namespace introspect
