"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

  /* Text is inserted with textContent only, never as HTML: names of classes and files may contain markup. */
  const make = (name, attributes = {}, text) => {
    const node = document.createElement(name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const draw = (name, attributes = {}, parent) => {
    const node = document.createElementNS(SVG, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (parent) parent.append(node);
    return node;
  };
  const percent = (share) => `${Math.round(100 * share)} %`;
  const color = (agent) => `var(--s${agent % 12})`;
  const dashes = ["", "7 4", "2 3", "9 3 2 3", "14 4", "4 2", "14 3 2 3 2 3", "1 5"];
  /* Wrapped in bidi isolates, so that a right-to-left name does not reorder the text around it. */
  const says = (panel, step) => `\u2068${data.names[panel.says[step]]}\u2069`;

  /* ---- sortable tables ---- */
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button" }, head.textContent);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => row.cells[column].dataset.sort || row.cells[column].textContent;
        const rows = [...table.tBodies[0].rows].sort((a, b) => {
          const [x, y] = [key(a), key(b)];
          const order = isNaN(x) || isNaN(y) || x === "" || y === "" ? x.localeCompare(y) : x - y;
          return down ? -order : order;
        });
        table.tBodies[0].append(...rows);
      });
    });
  }

  /* ---- confusion matrices ---- */
  const confusions = [...document.querySelectorAll(".confusion-of")];
  const pickConfusion = () => confusions.forEach((one) => { one.hidden = one.dataset.number !== by("confusion-agent").value; });
  if (by("confusion-agent")) { by("confusion-agent").addEventListener("change", pickConfusion); pickConfusion(); }

  if (!by("videos")) return;

  /* ---- a frame with its boxes, path and probabilities ---- */
  const side = data.side, count = data.frames;
  const noteOf = (panel, step) => (panel.notes ? panel.notes[step] : panel.kept[step] ? "" : "skipped");
  const frameView = (video, lazy) => {
    const svg = draw("svg", { viewBox: `0 0 ${side} ${side}`, class: "frame", role: "img" });
    const image = draw("image", { width: side * count, height: side, preserveAspectRatio: "none" }, svg);
    if (side < 200) image.setAttribute("class", "blocky");
    const heat = draw("g", { class: "heat" }, svg);
    const dim = draw("rect", { width: side, height: side, class: "dim" }, svg);
    const trueBox = draw("rect", { class: "true" }, svg);
    const path = draw("polyline", { class: "path" }, svg);
    const spot = draw("circle", { class: "spot", r: side / 70 }, svg);
    const chosen = draw("rect", { class: "chosen" }, svg);
    let shaded = null;
    const load = () => image.setAttribute("href", video.strip);
    if (lazy) lazy(svg, load); else load();
    const place = (rect, box) => {
      rect.style.display = box ? "" : "none";
      if (box) ["y", "x", "height", "width"].forEach((name, i) => rect.setAttribute(name, box[i]));
    };
    const show = (agent, step, options) => {
      const panel = video.panels[agent];
      image.setAttribute("x", -step * side);
      dim.style.display = panel.kept[step] ? "none" : "";
      chosen.setAttribute("class", panel.kept[step] ? "chosen" : "chosen skipped");
      place(chosen, panel.boxes[step]);
      place(trueBox, options.truth ? video.truth[step] : null);
      const centers = panel.boxes.slice(0, step + 1).map((box) => `${box[1] + box[3] / 2},${box[0] + box[2] / 2}`);
      path.style.display = spot.style.display = options.path ? "" : "none";
      path.setAttribute("points", centers.join(" "));
      const [x, y] = centers[step].split(",");
      spot.setAttribute("cx", x); spot.setAttribute("cy", y);
      const wanted = options.heat && panel.heat ? agent : null;
      if (wanted !== shaded) {
        heat.replaceChildren();
        if (wanted !== null) for (const cell of data.agents[agent].cells) place(draw("rect", {}, heat), cell);
        shaded = wanted;
      }
      if (shaded !== null) {
        if (!panel.shades) panel.shades = atob(panel.heat);
        [...heat.children].forEach((rect, i) => {
          rect.setAttribute("fill-opacity", (0.75 * panel.shades.charCodeAt(step * heat.children.length + i)) / 255);
        });
      }
      const box = panel.boxes[step];
      const note = noteOf(panel, step);
      svg.setAttribute("aria-label", `Frame ${step + 1}: ${note ? `${note}, ` : ""}patch ${box[3]} by ${box[2]} pixels, ${box[0]} from the top, ${box[1]} from the left`);
    };
    return { svg, show };
  };

  /* ---- the gallery ---- */
  const gallery = by("gallery");
  const seen = "IntersectionObserver" in window
    ? new IntersectionObserver((entries) => entries.forEach((entry) => {
      if (entry.isIntersecting) { entry.target.load(); seen.unobserve(entry.target); }
    }), { rootMargin: "400px" }) : null;
  const lazily = (node, load) => { if (seen) { node.load = load; seen.observe(node); } else load(); };
  const cards = data.videos.map((video, number) => {
    const item = make("li");
    const button = make("button", { type: "button" });
    const view = frameView(video, lazily);
    const words = make("span", { class: "words" }), verdict = make("span"), name = make("span", { class: "name" }, video.path);
    view.svg.setAttribute("aria-hidden", "true");
    button.append(view.svg, words, verdict, name);
    button.addEventListener("click", () => open(number, true));
    item.append(button);
    return { item, button, view, words, verdict, video, number };
  });

  data.agents.forEach((agent, number) => by("by-agent").append(make("option", { value: number }, agent.title)));
  const classes = [...new Set(data.videos.flatMap((video) => video.classes))];
  classes.sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  classes.forEach((name) => by("class").append(make("option", { value: name }, name.length > 40 ? `${name.slice(0, 39)}…` : name)));

  const last = (list) => list[list.length - 1];
  const filter = () => {
    const agent = Number(by("by-agent").value), which = by("which").value, wanted = by("class").value;
    const find = by("find").value.toLowerCase();
    const shown = cards.filter(({ video }) => {
      const panel = video.panels[agent];
      if (which === "right" && panel.right !== true) return false;
      if (which === "wrong" && panel.right !== false) return false;
      if (which === "disagree" && new Set(video.panels.map((one) => last(one.says))).size < 2) return false;
      if (wanted && !video.classes.includes(wanted)) return false;
      return video.path.toLowerCase().includes(find);
    });
    const belief = (card) => last(card.video.panels[agent].truth ?? card.video.panels[agent].confidence);
    const orders = {
      list: (a, b) => a.number - b.number,
      least: (a, b) => belief(a) - belief(b),
      most: (a, b) => belief(b) - belief(a),
      class: (a, b) => a.video.classes.join().localeCompare(b.video.classes.join(), undefined, { numeric: true }) || a.number - b.number,
      name: (a, b) => a.video.path.localeCompare(b.video.path, undefined, { numeric: true }),
    };
    shown.sort(orders[by("sort").value]);
    for (const card of shown) {
      const panel = card.video.panels[agent];
      card.view.show(agent, count >> 1, { truth: true, path: false, heat: false });
      card.words.textContent = card.video.classes.length ? `true: ${card.video.classes.join(", ")}` : "";
      card.verdict.textContent = `${panel.right === true ? "✓ " : panel.right === false ? "✗ " : ""}said: ${says(panel, count - 1)} (${percent(last(panel.confidence))})`;
      card.verdict.className = `words ${panel.right === true ? "is-right" : panel.right === false ? "is-wrong" : ""}`;
      card.button.setAttribute("aria-label", `${panel.right === true ? "Right" : panel.right === false ? "Wrong" : "Video"}: ${card.words.textContent}, said: ${says(panel, count - 1)}, ${card.video.path}`);
    }
    gallery.replaceChildren(...shown.map((card) => card.item));
    by("count").textContent = `${shown.length} of ${cards.length} videos`;
    order = shown.map((card) => card.number);
  };
  let order = [];
  ["by-agent", "which", "class", "sort"].forEach((id) => by(id).addEventListener("change", filter));
  by("find").addEventListener("input", filter);
  by("filters").addEventListener("submit", (event) => event.preventDefault());

  /* ---- the player ---- */
  const state = { video: null, step: 0, playing: false, timer: 0, views: [], agents: new Set(data.agents.slice(0, 2).map((_, i) => i)) };
  const options = () => ({ path: by("show-path").checked, heat: by("show-heat").checked, truth: by("show-true").checked });
  by("scrub").max = count - 1;
  by("show-heat-label").hidden = !data.agents.some((agent) => agent.cells);
  by("show-true-label").hidden = !data.videos.some((video) => video.truth.some(Boolean));
  data.agents.forEach((agent, number) => {
    const label = make("label"), box = make("input", { type: "checkbox", value: number });
    box.checked = state.agents.has(number);
    box.addEventListener("change", () => {
      if (box.checked) state.agents.add(number); else state.agents.delete(number);
      if (!state.agents.size) { state.agents.add(number); box.checked = true; }
      build();
    });
    label.append(box, agent.title);
    by("agents").append(label);
  });

  const build = () => {
    const video = data.videos[state.video];
    const chosen = [...state.agents].sort((a, b) => a - b);
    state.views = chosen.map((agent) => {
      const view = frameView(video), figure = make("figure", { class: "panel" }), status = make("p");
      const caption = make("figcaption");
      caption.append(swatch(agent), data.agents[agent].title);
      figure.append(caption, view.svg, status);
      return { agent, view, figure, status };
    });
    by("panels").replaceChildren(...state.views.map((one) => one.figure));
    buildChart(chosen);
    show();
  };
  const swatch = (agent) => {
    const svg = draw("svg", { viewBox: "0 0 30 10", width: 30, height: 10, "aria-hidden": "true" });
    draw("path", { d: "M0 5H30", stroke: color(agent), "stroke-width": 3, "stroke-dasharray": dashes[agent % 8] }, svg);
    return svg;
  };

  /* ---- confidence over time ---- */
  let cursor = null;
  const chart = { width: 640, height: 180, left: 52, right: 12, top: 10, bottom: 26 };
  const atX = (step) => chart.left + (count > 1 ? step / (count - 1) : 0.5) * (chart.width - chart.left - chart.right);
  const atY = (value) => chart.height - chart.bottom - value * (chart.height - chart.top - chart.bottom);
  const buildChart = (chosen) => {
    const video = data.videos[state.video];
    // Use the available width in pixels, so that the text keeps its size.
    chart.width = Math.max(240, by("confidence-chart").clientWidth || 640);
    const svg = draw("svg", { viewBox: `0 0 ${chart.width} ${chart.height}`, "aria-hidden": "true" });
    for (const value of [0, 0.5, 1]) {
      draw("path", { d: `M${chart.left} ${atY(value)}H${chart.width - chart.right}`, class: "grid" }, svg);
      draw("text", { x: chart.left - 6, y: atY(value) + 4, "text-anchor": "end" }, svg).textContent = percent(value);
    }
    const every = Math.ceil((count * 30) / chart.width);
    for (let step = 0; step < count; step += every) {
      draw("text", { x: atX(step), y: chart.height - 8, "text-anchor": "middle" }, svg).textContent = step + 1;
    }
    for (const agent of chosen) {
      const panel = video.panels[agent];
      const values = by("confidence-of").value === "true" && panel.truth ? panel.truth : panel.confidence;
      draw("polyline", {
        points: values.map((value, step) => `${atX(step)},${atY(value)}`).join(" "), fill: "none", stroke: color(agent),
        "stroke-width": 2.5, "stroke-dasharray": dashes[agent % 8],
      }, svg);
      values.forEach((value, step) => panel.kept[step] || draw("path", { d: `M${atX(step) - 4} ${atY(value) - 4}l8 8m0 -8l-8 8`, stroke: color(agent) }, svg));
    }
    cursor = draw("path", { class: "cursor" }, svg);
    const seek = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const area = svg.getBoundingClientRect();
      const x = ((event.clientX - area.left) / area.width) * chart.width;
      pause();
      go(Math.round(((x - chart.left) / (chart.width - chart.left - chart.right)) * (count - 1)));
    };
    svg.addEventListener("pointerdown", seek);
    svg.addEventListener("pointermove", seek);
    by("confidence-chart").replaceChildren(svg);
    by("confidence-legend").replaceChildren(...chosen.map((agent) => {
      const item = make("li");
      item.append(swatch(agent), data.agents[agent].title + (video.panels[agent].kept.every(Boolean) ? "" : " (× skipped)"));
      return item;
    }));
  };
  const redraw = () => { if (state.video !== null) { buildChart([...state.agents].sort((a, b) => a - b)); show(); } };
  by("confidence-of").addEventListener("change", redraw);
  window.addEventListener("resize", redraw);

  const describe = (agent, step) => {
    const panel = data.videos[state.video].panels[agent];
    const parts = [`says ${says(panel, step)} (${percent(panel.confidence[step])})`];
    if (panel.truth) parts.push(`true class ${percent(panel.truth[step])}`);
    if (panel.reward) parts.push(`reward ${panel.reward[step].toFixed(2)}`);
    const note = noteOf(panel, step);
    if (note) parts.push(note);
    return parts.join(" · ");
  };
  const show = () => {
    const step = state.step;
    for (const { agent, view, status } of state.views) {
      view.show(agent, step, options());
      const panel = data.videos[state.video].panels[agent];
      const cost = `${panel.gmacs.toPrecision(3)} GMACs${panel.looked ? `, ${panel.looked}` : ""}`;
      status.textContent = `${describe(agent, step)} · ${cost}`;
    }
    if (cursor) cursor.setAttribute("d", `M${atX(step)} ${chart.top}V${chart.height - chart.bottom}`);
    by("scrub").value = step;
    by("scrub").setAttribute("aria-valuetext", `frame ${step + 1} of ${count}`);
    by("place").textContent = `frame ${step + 1} of ${count}`;
    if (!state.playing) {
      by("status").textContent = `Frame ${step + 1}. ` + state.views.map(({ agent }) => `${data.agents[agent].title}: ${describe(agent, step)}`).join(". ");
    }
  };
  const go = (step) => { state.step = Math.max(0, Math.min(count - 1, step)); show(); };
  const tick = () => { state.step = (state.step + 1) % count; show(); };
  const play = () => {
    state.playing = true;
    by("play").textContent = "Pause";
    clearInterval(state.timer);
    state.timer = setInterval(tick, 1000 / Number(by("speed").value));
  };
  const pause = () => {
    clearInterval(state.timer);
    state.playing = false;
    by("play").textContent = "Play";
    if (state.video !== null) show();
  };
  const toggle = () => (state.playing ? pause() : play());
  const step = (by_) => { pause(); go(state.step + by_); };

  const open = (number, focus) => {
    const video = data.videos[number];
    state.video = number; state.step = 0;
    by("player").hidden = false;
    by("player-title").textContent = video.path;
    by("player-true").textContent = video.classes.length ? `True class: ${video.classes.join(", ")}` : "";
    cards.forEach((card) => card.button.setAttribute("aria-current", card.number === number));
    if (!state.playing) pause();
    build();
    if (focus) { by("player-title").focus({ preventScroll: true }); by("player").scrollIntoView({ block: "start" }); }
    history.replaceState(null, "", `#video=${video.row}`);
    if (!calm.matches) play();
  };
  const close = () => {
    pause();
    by("player").hidden = true;
    const card = cards[state.video];
    cards.forEach((one) => one.button.setAttribute("aria-current", false));
    state.video = null;
    history.replaceState(null, "", "#videos");
    if (card && card.item.isConnected) card.button.focus();
  };
  const neighbour = (way) => {
    const at = order.indexOf(state.video);
    if (order.length) open(order[(at + way + order.length) % order.length], false);
  };
  const faster = (way) => {
    const speed = by("speed");
    speed.selectedIndex = Math.max(0, Math.min(speed.length - 1, speed.selectedIndex + way));
    if (state.playing) play();
  };

  by("play").addEventListener("click", toggle);
  by("back").addEventListener("click", () => step(-1));
  by("forward").addEventListener("click", () => step(1));
  by("scrub").addEventListener("input", () => { const wanted = Number(by("scrub").value); pause(); go(wanted); });
  by("speed").addEventListener("change", () => state.playing && play());
  by("previous-video").addEventListener("click", () => neighbour(-1));
  by("next-video").addEventListener("click", () => neighbour(1));
  by("close").addEventListener("click", close);
  ["show-path", "show-heat", "show-true"].forEach((id) => by(id).addEventListener("change", show));

  const flip = (id) => { by(id).checked = !by(id).checked; show(); };
  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if (state.video === null || event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.matches("select, input[type=search]")) return;
    const ranged = target.matches("input[type=range]"), pressed = target.matches("button, input[type=checkbox], summary");
    const keys = {
      " ": pressed ? null : toggle, ArrowLeft: ranged ? null : () => step(-1), ArrowRight: ranged ? null : () => step(1),
      Home: ranged ? null : () => step(-count), End: ranged ? null : () => step(count), Escape: close,
      "+": () => faster(1), "=": () => faster(1), "-": () => faster(-1), n: () => neighbour(1), p: () => neighbour(-1),
      t: () => flip("show-path"), h: () => flip("show-heat"), b: () => flip("show-true"),
    };
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act) { event.preventDefault(); act(); }
  });

  filter();
  const asked = /^#video=(\d+)$/.exec(location.hash);
  const at = asked ? data.videos.findIndex((video) => video.row === Number(asked[1])) : -1;
  if (at >= 0) open(at, true);
})();
