// Draws every .plot of the page with uPlot from the JSON in #charts; the curves of a stage share their zoom and cursor.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("charts").textContent);
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const HEIGHT = 200, NEAR = 0.5;  // NEAR: what one zoom leaves of the range
  const groups = {};  // stage -> its line charts
  let following = false;

  const short = value => {
    if (value == null || !isFinite(value)) return "";
    const size = Math.abs(value);
    if (size >= 1e6) return +(value / 1e6).toPrecision(4) + "M";
    if (size >= 1e4) return +(value / 1e3).toPrecision(4) + "k";
    if (size > 0 && size < 1e-3) return value.toExponential(1).replace(".0e", "e");
    return String(+value.toPrecision(4));
  };

  // The whole range of a stage's steps, over all of its charts.
  const whole = plots => [Math.min(...plots.map(p => p.data[0][0])), Math.max(...plots.map(p => p.data[0].at(-1)))];

  function show(plots, low, high) {
    const [first, last] = whole(plots);
    const width = Math.min(high - low, last - first);
    if (!(width > 0)) return;
    const start = Math.min(Math.max(low, first), last - width);
    following = true;
    plots.forEach(p => p.setScale("x", {min: start, max: start + width}));
    following = false;
  }

  function zoom(plots, what) {
    if (!plots.length) return;
    const {min, max} = plots[0].scales.x, width = max - min, middle = (min + max) / 2;
    if (what === "in") show(plots, middle - width * NEAR / 2, middle + width * NEAR / 2);
    if (what === "out") show(plots, middle - width / NEAR / 2, middle + width / NEAR / 2);
    if (what === "left") show(plots, min - width / 2, max - width / 2);
    if (what === "right") show(plots, min + width / 2, max + width / 2);
    if (what === "all") show(plots, ...whole(plots));
  }

  function options(chart, stage, told) {
    const points = chart.kind === "points";
    const axis = {stroke: colour("--soft"), grid: {stroke: colour("--rule"), width: 1}, ticks: {show: false}, font: "12px system-ui, sans-serif"};
    const values = (_, ticks) => ticks.map(short);
    return {
      width: 300, height: HEIGHT, legend: {show: false}, padding: [8, 10, 0, 0],
      scales: {x: {time: false}, y: {range: (_, low, high) => low == null ? [0, 1] : low === high ? [low - (Math.abs(low) * 0.1 || 1), high + (Math.abs(high) * 0.1 || 1)] : [low - (high - low) * 0.06, high + (high - low) * 0.06]}},
      axes: [{...axis, values, size: 24, label: chart.x_label, labelSize: 18, labelGap: 0, labelFont: axis.font, space: 60}, {...axis, values, size: 54, space: 34}],
      cursor: {drag: {x: !points, y: false}, ...(points ? {} : {sync: {key: stage}}), points: {size: 7}},
      series: [{}, ...chart.lines.map(line => ({
        label: line.name, spanGaps: true, stroke: colour("--c" + line.colour), dash: line.dash, width: points ? 0 : 1.75,
        ...(points ? {paths: () => null} : {}),
        points: {show: points || line.values.filter(v => v != null).length < 40, size: points ? 7 : 4, fill: colour("--c" + line.colour)},
      }))],
      hooks: {
        setCursor: [plot => {
          const at = plot.cursor.idx;
          const parts = at == null ? [] : chart.lines.flatMap((line, number) => {
            const value = plot.data[number + 1][at];
            return value == null ? [] : [`${line.name} ${short(value)}`];
          });
          told.textContent = parts.length ? `${chart.x_label} ${short(plot.data[0][at])}: ${parts.join(", ")}` : "\u00a0";
        }],
        setScale: [(plot, key) => {
          if (key !== "x" || following || points || !plot.ready) return;
          following = true;
          const {min, max} = plot.scales.x;
          (groups[stage] || []).filter(p => p !== plot).forEach(p => p.setScale("x", {min, max}));
          following = false;
        }],
      },
    };
  }

  function read(plot, step) {  // moves the cursor to another point, for those who use no mouse
    const shown = plot.series[0].idxs || [0, plot.data[0].length - 1];
    const now = plot.cursor.idx == null ? (step > 0 ? shown[0] - 1 : shown[1] + 1) : plot.cursor.idx;
    const next = Math.min(Math.max(now + step, shown[0]), shown[1]);
    const line = plot.data.slice(1).find(values => values[next] != null);
    plot.setCursor({left: plot.valToPos(plot.data[0][next], "x"), top: line ? plot.valToPos(line[next], "y") : 0});
  }

  function build(place) {
    const stage = place.dataset.stage, chart = data[stage][place.dataset.chart];
    const told = place.closest("figure").querySelector("output");
    const plot = new uPlot(options(chart, stage, told), [chart.x, ...chart.lines.map(line => line.values)], place);
    if (chart.kind === "line") (groups[stage] ||= []).push(plot);
    const fit = () => plot.setSize({width: Math.max(place.clientWidth, 120), height: HEIGHT});
    fit();
    plot.ready = true;
    const observer = new ResizeObserver(fit);
    observer.observe(place);
    const keys = event => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      const what = {"+": "in", "=": "in", "-": "out", "0": "all", Escape: "all"}[event.key];
      if (event.ctrlKey || event.metaKey || event.altKey || (!step && !what)) return;
      event.preventDefault();
      if (step) read(plot, step); else if (chart.kind === "line") zoom(groups[stage], what);
    };
    place.addEventListener("keydown", keys);
    return () => { observer.disconnect(); place.removeEventListener("keydown", keys); plot.destroy(); };
  }

  let undo = [];
  function draw() {
    undo.forEach(one => one());
    Object.keys(groups).forEach(stage => delete groups[stage]);
    undo = [...document.querySelectorAll(".plot")].map(build);
    Object.values(groups).forEach(plots => zoom(plots, "all"));
  }
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  document.querySelectorAll(".tools button").forEach(button => button.addEventListener("click", () =>
    zoom(groups[button.parentElement.dataset.for] || [], button.dataset.do)));

  // The chain: a stage that is pointed at shows what it was made from and what was made from it.
  document.querySelectorAll(".chain li[data-stage]").forEach(row => {
    const mark = on => document.querySelectorAll(".chain path").forEach(arc => {
      arc.classList.toggle("source", on && arc.dataset.target === row.dataset.stage);
      arc.classList.toggle("target", on && arc.dataset.source === row.dataset.stage);
    });
    ["mouseenter", "focusin"].forEach(kind => row.addEventListener(kind, () => mark(true)));
    ["mouseleave", "focusout"].forEach(kind => row.addEventListener(kind, () => mark(false)));
  });

  // In a long page, the contents show where one is.
  const links = new Map([...document.querySelectorAll("nav a")].map(link => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver(entries => entries.forEach(entry => {
    if (!entry.isIntersecting) return;
    links.forEach(link => link.removeAttribute("aria-current"));
    links.get(entry.target.id)?.setAttribute("aria-current", "true");
  }), {rootMargin: "-20% 0px -70% 0px"});
  document.querySelectorAll("main section").forEach(section => seen.observe(section));
})();
