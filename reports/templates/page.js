// Tables: sorted by the button in a column's title, as the ARIA authoring practices have it.
const collator = new Intl.Collator("en", { numeric: true });

function compare(a, b) {
  const [x, y] = [a, b].map((text) => (text.trim() === "" ? NaN : Number(text)));
  if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? Infinity : -Infinity; // words behind numbers, always
  return Number.isNaN(x) ? collator.compare(a, b) : x - y;
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("thead tr:last-child th")];
  heads.forEach((head, column) => {
    head.querySelector("button")?.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const key = (row) => row.cells[column]?.dataset.sort ?? "";
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const difference = compare(key(a), key(b));
        return descending && Number.isFinite(difference) ? -difference : difference;
      });
      table.tBodies[0].append(...rows);
    });
  });
}

// Pictures: one above the other, the upper one cut at the slider.
for (const box of document.querySelectorAll("[data-compare]")) {
  const part = (role) => box.querySelector(`[data-role="${role}"]`);
  const cell = (method) =>
    [...box.querySelectorAll(`[data-picture="${part("picture").value}"]`)].find((b) => b.dataset.method === method);
  const stage = box.querySelector(".stage");
  const range = part("share");
  const cut = () => stage.style.setProperty("--share", `${range.value}%`);
  const show = () => {
    for (const [layer, side] of [["over", "left"], ["under", "right"]]) {
      const source = cell(part(side).value)?.querySelector("img");
      const image = part(layer);
      image.hidden = !source;
      if (source) {
        image.src = source.src;
        image.alt = `${side === "left" ? "Left" : "Right"}: ${source.alt}`;
        stage.style.aspectRatio = `${source.getAttribute("width")} / ${source.getAttribute("height")}`;
        stage.style.setProperty("--ratio", source.getAttribute("width") / source.getAttribute("height"));
      }
    }
    stage.dataset.left = part("left").value;
    stage.dataset.right = part("right").value;
    range.setAttribute("aria-valuetext", `${range.value} % ${part("left").value}`);
    for (const button of box.querySelectorAll("[data-picture]")) {
      const chosen = button.dataset.picture === part("picture").value &&
        [part("left").value, part("right").value].includes(button.dataset.method);
      button.setAttribute("aria-pressed", chosen);
    }
  };
  range.addEventListener("input", () => { cut(); show(); });
  for (const role of ["picture", "left", "right"]) part(role).addEventListener("change", show);
  for (const button of box.querySelectorAll("[data-picture]")) {
    button.addEventListener("click", () => {
      part("picture").value = button.dataset.picture;
      if (button.dataset.method !== part("left").value) part("right").value = button.dataset.method;
      show();
    });
  }
  const drag = (event) => {
    const area = stage.getBoundingClientRect();
    range.value = Math.round((100 * (event.clientX - area.left)) / area.width);
    range.dispatchEvent(new Event("input"));
  };
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); drag(event); });
  stage.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
  cut();
  show();
}

// The section that is read is marked in the list of sections.
const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
function mark() {
  const seen = [...links.keys()].filter((id) => document.getElementById(id).getBoundingClientRect().top < 120);
  const now = seen.at(-1) ?? links.keys().next().value;
  for (const [id, link] of links) {
    if (id !== now) link.removeAttribute("aria-current");
    else if (!link.hasAttribute("aria-current")) {
      link.setAttribute("aria-current", "true");
      const list = link.closest("ul");
      list.scrollLeft = link.offsetLeft - list.offsetLeft - 20;
    }
  }
}
window.addEventListener("scroll", mark, { passive: true });
mark();

// Charts: colours come from the style sheet, so that light and dark are one page.
const text = { labelColor: "currentColor", titleColor: "currentColor" };
const config = {
  background: null,
  font: "system-ui, sans-serif",
  axisX: { tickCount: 8, labelOverlap: "parity", labelSeparation: 6 },
  axis: { ...text, gridColor: "var(--grid)", domainColor: "var(--muted)", tickColor: "var(--muted)", labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" },
  legend: { ...text, orient: "bottom", labelFontSize: 12, labelLimit: 240, symbolStrokeWidth: 3 },
  header: { ...text, labelFontSize: 12, labelFontWeight: 600 },
  title: { color: "currentColor", subtitleColor: "currentColor", fontSize: 13, subtitleFontSize: 13, fontWeight: 600, subtitleFontWeight: 600 },
  text: { color: "currentColor", fontSize: 12 },
  view: { stroke: null },
};

async function draw(host, spec) {
  const width = host.clientWidth;
  const ready = structuredClone(spec);
  ready.$schema = "https://vega.github.io/schema/vega-lite/v6.json"; // a name, never loaded
  ready.config = { ...config, legend: { ...config.legend, columns: width < 560 ? 1 : 5 } };
  ready.autosize = { type: "fit-x", contains: "padding" };
  if (ready.facet) {
    delete ready.autosize;
    ready.columns = width < 560 ? 1 : 2;
    ready.spec.width = Math.floor(width / ready.columns) - 75;
  }
  const titles = spec.usermeta?.axisTitles;
  const patch = (vega) => {
    // Vega-Lite has no title that follows a choice; Vega has
    for (const axis of vega.axes ?? []) if (titles && axis.title) axis.title = { signal: titles[axis.orient] };
    return vega;
  };
  await vegaEmbed(host, ready, { renderer: "svg", actions: false, mode: "vega-lite", patch });
}

const specs = JSON.parse(document.getElementById("specs").textContent);
const plots = [...document.querySelectorAll("[data-spec]")];
let drawnAt = 0;

async function drawAll() {
  if (drawnAt === document.documentElement.clientWidth) return;
  drawnAt = document.documentElement.clientWidth;
  for (const host of plots) await draw(host, specs[host.dataset.spec]);
  document.documentElement.dataset.ready = "true";
}

let waiting;
window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(drawAll, 200); });
drawAll();
