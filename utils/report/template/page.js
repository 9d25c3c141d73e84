"use strict";
const element = (id) => document.getElementById(id);
const parsed = (id) => JSON.parse(element(id).textContent);
const prompts = parsed("prompts");
let accepted = false;

// Light and dark: as the system has it, until the reader chooses.
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme || (systemDark.matches ? "dark" : "light")) === "dark";
function showTheme() {
  element("theme").textContent = isDark() ? "Use light colours" : "Use dark colours";
  drawMap();
}
element("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
});
systemDark.addEventListener("change", showTheme);

// Tables sort by the column whose heading is pressed; rows without a value stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((heading, column) => {
    heading.querySelector("button")?.addEventListener("click", () => {
      const number = heading.classList.contains("number");
      const lowFirst = !number || /^(rank|p)$|lower is better/.test(heading.textContent);
      const [first, other] = lowFirst ? ["ascending", "descending"] : ["descending", "ascending"];
      const direction = heading.getAttribute("aria-sort") === first ? other : first;
      table.querySelectorAll("thead th").forEach((one) => one.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      const value = (row) => {
        const text = row.cells[column].dataset.value;
        return text === undefined ? null : number ? Number(text) : text;
      };
      const compared = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * (number ? x - y : x.localeCompare(y, "en", { numeric: true }));
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(compared));
    });
  });
}

// What is wider than the screen says so.
const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) target.classList.toggle("overflows", target.scrollWidth > target.clientWidth + 1);
});
for (const region of document.querySelectorAll(".scroll")) sizes.observe(region);

// The prompts, as text and never as markup, once the warning has been accepted.
if (element("accept")) {
  element("accept").addEventListener("click", () => {
    accepted = !accepted;
    element("accept").textContent = accepted ? "Hide the prompts" : "I understand: show the prompts";
    element("accepted").textContent = accepted ? "The prompts are shown." : "The prompts are hidden.";
    for (const cell of document.querySelectorAll("[data-prompt]")) {
      const span = document.createElement("span");
      span.textContent = accepted ? prompts[cell.dataset.prompt] : "hidden";
      if (!accepted) span.className = "hidden-prompt";
      cell.replaceChildren(span);
    }
    if (chosen !== null) choose(chosen);
  });
}

// The map.
const map = parsed("map-data");
let chosen = null;
const MARKS = {
  o: "circle", s: "square", "^": "triangle-up", D: "diamond", v: "triangle-down", P: "cross", X: "x", "*": "star",
  "<": "triangle-left", ">": "triangle-right", p: "pentagon", h: "hexagon",
};
// A page that scrolls under a resting pointer hovers too: after the keyboard, only a pointer that moves chooses.
let pointer = "";
let rested = null;
const rest = () => { rested = pointer; };
addEventListener("mousemove", (event) => { pointer = `${event.screenX} ${event.screenY}`; }, true);
for (const event of ["keydown", "focusin"]) addEventListener(event, rest, true);

const escaped = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");
const encoder = () => map.encoders[Number(element("map-encoder").value)];
const idOf = (place) => (typeof place === "number" ? map.ids[place] : place);
const categoryOf = (place) => (
  typeof place === "number" ? map.categories[map.category[place]].name : map.elsewhere[place]
);

function drawMap() {
  if (!map || typeof Plotly === "undefined") return;
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim();
  const one = encoder();
  element("map-trust").textContent =
    `Trustworthiness of this map: ${one.trustworthiness.toFixed(3)} (1: every neighbour on it is a neighbour in the ` +
    "encoder's space).";
  const traces = map.categories.map((category, number) => {
    const places = map.category.flatMap((c, place) => (c === number ? [place] : []));
    return {
      type: "scatter", mode: "markers", name: escaped(category.name), customdata: places,
      x: places.map((place) => one.points[place][0]), y: places.map((place) => one.points[place][1]),
      text: places.map((place) => (
        `id ${escaped(map.ids[place])}<br>${escaped(category.name)}<br>nearest: ` +
        one.nearest[place].map((near) => escaped(idOf(near))).join(", ")
      )),
      hovertemplate: "%{text}<extra></extra>",
      marker: { color: category.color, symbol: MARKS[category.mark], size: 8, line: { color: ink, width: 0.5 } },
    };
  });
  const axis = { visible: false, fixedrange: false };
  const phone = element("map").clientWidth < 600;
  const layout = {
    margin: { l: 8, r: 8, t: 8, b: 8 }, xaxis: axis, yaxis: axis, hovermode: "closest", dragmode: "pan",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: phone ? 11 : 12 },
    uirevision: one.label, // what was zoomed stays until another encoder is shown, what was hidden even then
    legend: phone ? { uirevision: "map", orientation: "h", y: -0.02, yanchor: "top" } : { uirevision: "map", x: 1.02, y: 1 },
  };
  const drawn = Plotly.react(element("map"), traces, layout, { responsive: true, displaylogo: false, displayModeBar: false });
  drawn.then((plot) => {
    if (plot.dataset.listening) return;
    plot.dataset.listening = "yes";
    plot.on("plotly_click", (data) => choose(data.points[0].customdata));
    plot.on("plotly_hover", (data) => {
      if (pointer !== rested) choose(data.points[0].customdata);
    });
  });
}

function line(tag, place) {
  const item = document.createElement(tag);
  const head = document.createElement("strong");
  head.textContent = `id ${idOf(place)}`;
  item.append(head, ` ${categoryOf(place)}`);
  const text = document.createElement("span");
  text.className = accepted ? "text" : "text hidden-prompt";
  text.textContent = accepted ? prompts[`${map.task} ${idOf(place)} question`] : "text hidden: see the content warning";
  item.append(text);
  return item;
}

function choose(place) {
  chosen = place;
  element("map-id").value = map.ids[place];
  const near = document.createElement("ol");
  near.append(...encoder().nearest[place].map((other) => line("li", other)));
  const heading = document.createElement("p");
  heading.textContent = "Nearest by cosine:";
  element("map-detail").replaceChildren(line("p", place), heading, near);
}

if (map && typeof Plotly !== "undefined") {
  const byId = () => {
    const place = map.ids.indexOf(element("map-id").value.trim());
    if (place < 0) {
      const missing = document.createElement("p");
      missing.textContent = "There is no prompt with that id on the map.";
      element("map-detail").replaceChildren(missing);
      return;
    }
    choose(place);
    rest();
    const curve = map.category[place];
    const point = element("map").data[curve].customdata.indexOf(place);
    Plotly.restyle("map", { visible: true }, [curve]) // its category may have been hidden
      .then(() => Plotly.Fx.hover("map", [{ curveNumber: curve, pointNumber: point }]));
  };
  const step = (by) => {
    const from = chosen === null ? (by > 0 ? -1 : 0) : chosen;
    element("map-id").value = map.ids[(from + by + map.ids.length) % map.ids.length];
    byId();
  };
  element("map-encoder").addEventListener("change", () => {
    drawMap();
    if (chosen !== null) choose(chosen);
  });
  element("map-id").addEventListener("change", byId);
  element("map-previous").addEventListener("click", () => step(-1));
  element("map-next").addEventListener("click", () => step(1));
}
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
showTheme();
