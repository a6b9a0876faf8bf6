"use strict";
(() => {
  const read = (id) => {
    const node = document.getElementById(id);
    return node ? JSON.parse(node.textContent) : null;
  };
  const phone = () => window.innerWidth < 640;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // "var:--name" in a specification stands for the page's colour of that name.
  const themed = (value) => {
    if (typeof value === "string") return value.startsWith("var:") ? colour(value.slice(4)) : value;
    if (Array.isArray(value)) return value.map(themed);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) =>
      [key, key === "values" || key === "datasets" ? inner : themed(inner)]));
  };

  const config = () => ({
    background: "transparent",
    font: getComputedStyle(document.body).fontFamily,
    view: { stroke: null },
    axis: {
      labelColor: colour("--soft"), titleColor: colour("--soft"), gridColor: colour("--line"),
      domainColor: colour("--line"), tickColor: colour("--line"), labelFontSize: 12,
      titleFontSize: 12, titleFontWeight: "normal",
    },
    // On a phone a title is longer than its axis: it ends where that does, and begins to the left of it.
    axisX: phone() ? { titleAnchor: "end" } : {},
    axisY: { minExtent: phone() ? 30 : 52, labelLimit: phone() ? 105 : 260 },
    legend: { labelColor: colour("--ink"), titleColor: colour("--soft"), labelFontSize: 12,
      titleFontWeight: "normal", symbolStrokeWidth: 2 },
    text: { fontSize: 12.5 },
  });

  // ast: expressions are interpreted, so that the page needs no permission for eval.
  const options = () => ({
    mode: "vega-lite", ast: true, renderer: "svg", config: config(), tooltip: { theme: "custom", disableDefaultStyle: false },
    actions: { export: { svg: true, png: true }, source: false, compiled: false, editor: false },
  });

  const draw = async (node, spec) => {
    try {
      await window.vegaEmbed(node, themed(spec), options());
      // The menu of a chart is three dots, which have no name for a screen reader.
      for (const menu of node.querySelectorAll("summary:not([aria-label])")) {
        menu.setAttribute("aria-label", "Save this chart");
      }
    } catch (error) {
      node.textContent = "This chart could not be drawn: " + error.message;
      node.classList.add("chart-error");
    }
  };

  // A data set comes as columns; a chart wants rows.
  const rows = (groups) => groups.flatMap(({ each, columns }) => {
    const names = Object.keys(columns);
    const length = names.length ? columns[names[0]].length : 0;
    return Array.from({ length }, (_, index) => {
      const row = { ...each };
      for (const name of names) row[name] = columns[name][index];
      return row;
    });
  });

  const charts = read("charts-data");
  const timelines = read("timeline-data");
  const chooser = document.getElementById("timeline-cell");

  const ends = ["timeline-from", "timeline-to"].map((id) => document.getElementById(id));
  // The stretch of time that is asked for; null for all of it, and for what is no stretch.
  const range = (last) => {
    const [from, to] = ends.map((input) => (input ? input.value : ""));
    if (from === "" && to === "") return null;
    const domain = [from === "" ? 0 : Number(from), to === "" ? last : Number(to)];
    return domain[0] < domain[1] ? domain : null;
  };

  const drawTimeline = () => {
    const node = document.getElementById("timeline-chart");
    if (!timelines || !chooser || !node) return Promise.resolve();
    const { spec, data, end } = timelines[chooser.value];
    // Room for the axis on the left and the legend on the right.
    const width = Math.max(240, node.clientWidth - 320);
    const datasets = Object.fromEntries(Object.entries(data).map(([k, v]) => [k, rows(v)]));
    const domain = range(end);
    const vconcat = spec.vconcat.map((panel) => ({ ...panel, width, encoding: {
      ...panel.encoding, x: { ...panel.encoding.x,
        scale: domain ? { ...panel.encoding.x.scale, domain } : panel.encoding.x.scale } } }));
    return draw(node, { ...spec, vconcat, datasets });
  };

  const drawAll = async () => {
    if (!window.vegaEmbed) return;
    for (const node of document.querySelectorAll("[data-chart]")) {
      await draw(node, charts[node.dataset.chart]);
    }
    await drawTimeline();
    document.documentElement.dataset.drawn = "yes";
  };

  for (const input of [chooser, ...ends]) {
    if (input) input.addEventListener("change", drawTimeline);
  }
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let waiting = 0;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(drawTimeline, 200);
  });

  // A folded part that came as data: [tag, attributes or 0, child, …], texts by number. Nothing is
  // parsed as markup.
  const build = (node, texts) => {
    if (typeof node === "number") return document.createTextNode(texts[node]);
    const [tag, attributes, ...children] = node;
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    element.append(...children.map((child) => build(child, texts)));
    return element;
  };
  const folded = new Map();
  const unfoldPart = (holder) => {
    const { of: name, part } = holder.dataset;
    if (!holder.open || part === undefined) return;
    if (!folded.has(name)) folded.set(name, read(name));
    const { texts, parts } = folded.get(name);
    holder.append(...parts[part].map((node) => build(node, texts)));
    delete holder.dataset.part;
  };
  for (const holder of document.querySelectorAll("details[data-part]")) {
    holder.addEventListener("toggle", () => unfoldPart(holder));
  }

  // A link to a folded part opens it.
  const unfold = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  window.addEventListener("hashchange", unfold);
  unfold();

  const table = document.getElementById("overview-table");
  if (table) {
    const body = table.tBodies[0];
    const headers = Array.from(table.tHead.rows[0].cells);
    headers.forEach((header, column) => header.firstElementChild.addEventListener("click", () => {
      const ascending = header.getAttribute("aria-sort") !== "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const numeric = header.classList.contains("num");
      const key = (row) => {
        const cell = row.cells[column];
        if (!numeric) return cell.textContent;
        return cell.dataset.sort === undefined ? null : Number(cell.dataset.sort);
      };
      const apart = header.dataset.apart !== undefined;
      const compare = (a, b) => {
        const [first, second] = [a, b].map((row) => Number(row.cells[column].dataset.rank || 0));
        if (apart && first !== second) return first - second;
        const [x, y] = [key(a), key(b)];
        // Unknown stays at the end, whichever way the column is sorted.
        if (x === null || y === null) return (x === null) - (y === null);
        const order = numeric ? x - y : x.localeCompare(y);
        return ascending ? order : -order;
      };
      body.append(...Array.from(body.rows).sort(compare));
    }));
    document.getElementById("all-columns").addEventListener("change", (event) =>
      table.classList.toggle("brief", !event.target.checked));
    const filter = document.getElementById("filter");
    // Flags are letters whose names are the cells' hints.
    const hints = (row) => Array.from(row.cells, (cell) => cell.title).join(" ");
    const texts = new Map(Array.from(body.rows, (row) =>
      [row, `${row.textContent} ${hints(row)}`.toLowerCase()]));
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of body.rows) {
        const text = texts.get(row);
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      document.getElementById("matches").textContent =
        words.length ? `${shown} of ${body.rows.length} cells` : "";
    });
  }

  drawAll();
})();
