"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const facts = JSON.parse(by("facts").textContent);
  const side = facts.frame_size, patch = facts.patch_size, count = facts.frames;
  const SVG = "http://www.w3.org/2000/svg";
  const SECONDS = 4; /* of the webcam in which a clip's frames are taken, as `adafocus predict` does */
  const PATIENCE = 1000; /* milliseconds, for a sought frame to arrive */
  const SHOWN = 5; /* classes in the chart */
  /* Both ways are timed by turns on a few frames: for a moment, and on a busy machine longer, for enough samples. */
  const MEASURED = 4, MOMENT = 200, BUSY = 2000, SAMPLES = 20;

  /* Text is inserted with textContent only, never as HTML: names of classes and files may contain markup. */
  const draw = (name, attributes, parent) => {
    const node = document.createElementNS(SVG, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (parent) parent.append(node);
    return node;
  };
  const make = (name, text, parent) => {
    const node = document.createElement(name);
    node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  /* Wrapped in bidi isolates, so that a right-to-left name does not reorder the text around it. */
  const named = (place) => `\u2068${facts.classes[place]}\u2069`;
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const tell = (text, failed = false) => {
    by("status").textContent = text;
    by("status").className = failed ? "failed" : "";
  };

  /* ---- the networks ---- */
  const unpack = async (id) => {
    const packed = atob(by(id).textContent);
    by(id).remove(); /* its text is several megabytes */
    const bytes = new Uint8Array(packed.length);
    for (let place = 0; place < packed.length; place++) bytes[place] = packed.charCodeAt(place);
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(plain).arrayBuffer());
  };
  const moduleOf = (bytes) => URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
  const modelOf = async (name) => {
    if (by(`model-${name}`)) return unpack(`model-${name}`);
    if (location.protocol === "file:") {
      throw new Error("the models are large files beside this page, which browsers read from a server only: run `python -m http.server` in this folder");
    }
    const answer = await fetch(facts.models[name].file);
    if (!answer.ok) throw new Error(`${facts.models[name].file}: ${answer.status} ${answer.statusText}`);
    return new Uint8Array(await answer.arrayBuffer());
  };
  let ort = null;
  const cells = {};
  const load = async () => {
    ort = await import(moduleOf(await unpack("ort")));
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = { mjs: moduleOf(await unpack("ort-loader")) };
    ort.env.wasm.wasmBinary = await unpack("ort-binary");
    for (const name in facts.models) {
      cells[name] = await ort.InferenceSession.create(await modelOf(name), { executionProviders: ["wasm"] });
    }
    /* The first call of a network takes longer than the others. */
    const blank = new Uint8Array(3 * side * side), state = begin();
    await recogniseFrame(blank, state, 0);
    await wholeFrame(blank, state, 0);
  };

  /* ---- one frame; planes are its red, green and blue pixels, row by row ---- */
  const run = (name, given) => {
    const feeds = {};
    for (const key in facts.models[name].inputs) feeds[key] = given[key];
    return cells[name].run(feeds);
  };
  const images = (planes, width) => new ort.Tensor("uint8", planes, [1, 3, width, width]);
  const begin = () => {
    const state = {};
    for (const name in facts.states) {
      const model = Object.values(facts.models).find((one) => name in one.inputs);
      const size = model.inputs[name].shape[1];
      state[name] = new ort.Tensor("float32", new Float32Array(size).fill(facts.states[name].initial), [1, size]);
    }
    return state;
  };
  const crop = (planes, top, left) => {
    const part = new Uint8Array(3 * patch * patch);
    for (let plane = 0; plane < 3; plane++) {
      for (let row = 0; row < patch; row++) {
        const from = (plane * side + top + row) * side + left;
        part.set(planes.subarray(from, from + patch), (plane * patch + row) * patch);
      }
    }
    return part;
  };
  const softmax = (logits) => {
    const most = Math.max(...logits), shares = Array.from(logits, (value) => Math.exp(value - most));
    const total = shares.reduce((sum, value) => sum + value, 0);
    return shares.map((value) => value / total);
  };
  const glance = (planes, state, step) =>
    run("glance", { ...state, frames: images(planes, side), time_step: new ort.Tensor("float32", [step / count], [1]) });
  const recogniseFrame = async (planes, state, step) => {
    const seen = await glance(planes, state, step);
    const [top, left] = Array.from(seen.origin.data, Number);
    const { local } = await run("focus", { images: images(crop(planes, top, left), patch) });
    const said = await run("classifier", { vector: seen.vector, local, state: state.state });
    for (const name in facts.states) state[name] = seen[facts.states[name].next] || said[facts.states[name].next];
    return { box: [top, left, patch, patch], probabilities: softmax(said.logits.data) };
  };
  const wholeFrame = async (planes, state, step) => {
    const { vector } = await glance(planes, state, step);
    const { local } = await run("focus", { images: images(planes, side) });
    await run("classifier", { vector, local, state: state.state });
  };
  /* Median milliseconds a frame of both ways, by turns on the same frames. */
  const timed = async (frames) => {
    const patches = [], whole = [], start = performance.now(), spent = () => performance.now() - start;
    const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
    do {
      for (const [planes, state, step] of frames) {
        const began = performance.now();
        await recogniseFrame(planes, { ...state }, step);
        const between = performance.now();
        await wholeFrame(planes, state, step);
        patches.push(between - began);
        whole.push(performance.now() - between);
      }
    } while (spent() < MOMENT || (patches.length < SAMPLES && spent() < BUSY));
    return { patches: median(patches), whole: median(whole) };
  };

  /* ---- pixels of a video, resized and cropped as in evaluation ---- */
  /* For each of `side` pixels after the crop of an axis: the first source pixel, and the weights of it and the next. */
  const taps = (size, resized) => {
    const scale = size / resized, wide = Math.max(scale, 1);
    const spare = (resized - side) / 2, low = Math.floor(spare);
    const start = spare - low < 0.5 || low % 2 === 0 ? low : low + 1; /* Python rounds halves to even */
    return Array.from({ length: side }, (_, place) => {
      const center = (place + start + 0.5) * scale;
      const first = Math.max(0, Math.floor(center - wide + 0.5)), last = Math.min(size, Math.floor(center + wide + 0.5));
      const weights = [];
      for (let from = first; from < last; from++) weights.push(Math.max(0, 1 - Math.abs((from - center + 0.5) / wide)));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      return { first, weights: weights.map((weight) => weight / total) };
    });
  };
  const canvas = document.createElement("canvas");
  const planesOf = (video) => {
    const width = video.videoWidth, height = video.videoHeight, short = Math.min(width, height);
    if (facts.short_side === 0 && short < side) {
      throw new Error(`its frames have ${width}×${height} pixels, and this recogniser needs at least ${side}×${side}`);
    }
    const to = facts.short_side || short, fit = (size) => (size === short ? to : Math.floor((to * size) / short));
    const columns = taps(width, fit(width)), rows = taps(height, fit(height));
    canvas.width = width; canvas.height = height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(video, 0, 0, width, height);
    const pixels = context.getImageData(0, 0, width, height).data;
    const planes = new Uint8Array(3 * side * side), line = new Uint8Array(height * side);
    for (let plane = 0; plane < 3; plane++) {
      for (let row = 0; row < height; row++) {
        for (let place = 0; place < side; place++) {
          const { first, weights } = columns[place];
          let sum = 0.5;
          for (let k = 0; k < weights.length; k++) sum += weights[k] * pixels[4 * (row * width + first + k) + plane];
          line[row * side + place] = sum;
        }
      }
      for (let row = 0; row < side; row++) {
        const { first, weights } = rows[row];
        for (let place = 0; place < side; place++) {
          let sum = 0.5;
          for (let k = 0; k < weights.length; k++) sum += weights[k] * line[(first + k) * side + place];
          planes[(plane * side + row) * side + place] = sum;
        }
      }
    }
    return planes;
  };
  const pictureOf = (planes) => {
    const size = side * side, image = new ImageData(side, side);
    for (let place = 0; place < size; place++) {
      image.data.set([planes[place], planes[size + place], planes[2 * size + place], 255], 4 * place);
    }
    canvas.width = canvas.height = side;
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas.toDataURL("image/png");
  };

  /* ---- what is shown ---- */
  let clip = [], selected = 0, order = [];
  const frameView = (svg, frame) => {
    svg.setAttribute("viewBox", `0 0 ${side} ${side}`);
    const image = svg.querySelector("image") || draw("image", {}, svg);
    const rect = svg.querySelector("rect") || draw("rect", { class: "chosen" }, svg);
    for (const key of ["width", "height"]) image.setAttribute(key, side);
    if (side < 200) image.setAttribute("class", "blocky");
    image.setAttribute("href", frame.picture);
    ["y", "x", "height", "width"].forEach((key, place) => rect.setAttribute(key, frame.box[place]));
    return svg;
  };
  const ranked = (probabilities) => probabilities.map((_, place) => place).sort((a, b) => probabilities[b] - probabilities[a]);
  const select = (step) => {
    selected = step;
    const frame = clip[step], [best] = ranked(frame.probabilities);
    frameView(by("stage").querySelector("svg"), frame).setAttribute("aria-label", `Frame ${step + 1}: patch ${frame.box[0]} pixels from the top, ${frame.box[1]} from the left`);
    by("caption").textContent = `Frame ${step + 1}: ${named(best)}, ${percent(frame.probabilities[best])}`;
    [...by("strip").children].forEach((entry, place) => entry.firstChild.setAttribute("aria-current", place === step));
    chart();
  };
  const chart = () => {
    const width = 420, height = 200, edge = 50;
    const x = (step) => edge + ((width - edge - 8) * step) / Math.max(1, count - 1), y = (share) => 8 + (height - 30) * (1 - share);
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": "Probabilities of the classes after each frame" });
    for (const share of [0, 0.5, 1]) {
      draw("line", { class: "grid", x1: edge, x2: width - 8, y1: y(share), y2: y(share) }, svg);
      draw("text", { class: "axis", x: edge - 5, y: y(share) + 4, "text-anchor": "end" }, svg).textContent = `${100 * share} %`;
    }
    draw("text", { class: "axis", x: x(0), y: height - 4 }, svg).textContent = "frame 1";
    draw("text", { class: "axis", x: x(count - 1), y: height - 4, "text-anchor": "end" }, svg).textContent = count;
    draw("line", { class: "tick", x1: x(selected), x2: x(selected), y1: y(0), y2: y(1) }, svg);
    by("legend").replaceChildren();
    order.slice(0, SHOWN).forEach((place, number) => {
      const color = `var(--s${number})`, points = clip.map((frame, step) => `${x(step)},${y(frame.probabilities[place])}`);
      draw("polyline", { points: points.join(" "), fill: "none", stroke: color, "stroke-width": number ? 2 : 3 }, svg);
      clip.forEach((frame, step) => draw("circle", { cx: x(step), cy: y(frame.probabilities[place]), r: number ? 2.5 : 3.5, fill: color }, svg));
      const entry = make("li", "", by("legend"));
      draw("rect", { width: 14, height: 14, fill: color }, draw("svg", { width: 14, height: 14, "aria-hidden": true }, entry));
      make("span", `${named(place)}: ${percent(clip[selected].probabilities[place])}`, entry);
    });
    by("chart").replaceChildren(svg);
  };
  const addFrame = (frame) => {
    clip.push(frame);
    order = ranked(frame.probabilities);
    const button = make("button", "", make("li", "", by("strip"))), step = clip.length - 1;
    button.type = "button";
    button.append(frameView(draw("svg", { class: "frame", "aria-hidden": true }), frame));
    make("span", `${step + 1}: ${named(order[0])}`, button);
    button.addEventListener("click", () => select(step));
    by("answer").textContent = `${named(order[0])}: ${percent(frame.probabilities[order[0]])}`;
    by("progress").value = clip.length;
    by("result").hidden = false;
    select(step);
  };
  const number = (value) => (value < 100 ? value.toPrecision(3) : value.toFixed(0));
  const compute = (time) => {
    const ms = clip.length * time.patches, wholeMs = clip.length * time.whole;
    const gmacs = clip.length * facts.gmacs.frame, wholeGmacs = clip.length * facts.gmacs.whole_frame;
    const shown = { "patch-gmacs": gmacs, "whole-gmacs": wholeGmacs, "patch-ms": ms, "whole-ms": wholeMs };
    for (const id in shown) by(id).textContent = number(shown[id]);
    by("gmacs-ratio").textContent = `${(wholeGmacs / gmacs).toFixed(2)}×`;
    by("ms-ratio").textContent = `${(wholeMs / ms).toFixed(2)}×`;
    by("timing").textContent = `For all ${clip.length} frames. Milliseconds are those of the networks, on one thread by WebAssembly: medians of both by turns on ${Math.min(MEASURED, clip.length)} frames.`;
    return { gmacs, wholeGmacs, ms, wholeMs };
  };

  /* ---- from a source of frames to a result ---- */
  let turn = 0;
  const clear = () => {
    clip = []; selected = 0;
    by("strip").replaceChildren();
    by("progress").value = 0;
    by("progress").hidden = false;
    for (const id of ["patch-gmacs", "whole-gmacs", "patch-ms", "whole-ms", "gmacs-ratio", "ms-ratio", "timing"]) by(id).textContent = "";
  };
  /* Returns whether it came to its end; another video or Stop ends it before. */
  const recognise = async (nextFrame, mine) => {
    clear();
    const state = begin(), kept = [];
    for (let step = 0; step < count; step++) {
      const planes = await nextFrame(step);
      if (turn !== mine) return false;
      const before = { ...state }, frame = await recogniseFrame(planes, state, step);
      if (kept.length < MEASURED) kept.push([planes, before, step]);
      addFrame({ ...frame, picture: pictureOf(planes) });
      await new Promise((done) => setTimeout(done)); /* lets the browser draw */
    }
    by("progress").hidden = true;
    const time = await timed(kept);
    if (turn !== mine) return false;
    document.dispatchEvent(new CustomEvent("recognised", { detail: { frames: clip, ...compute(time) } }));
    return true;
  };
  /* Browsers say that they have sought before the frame can be drawn; a hidden page shows none, and does not wait. */
  const shown = (video) => new Promise((done) => {
    if (!video.requestVideoFrameCallback || document.hidden) { done(); return; }
    video.requestVideoFrameCallback(done);
    setTimeout(done, PATIENCE);
  });
  const seek = (video, time) => new Promise((done, fail) => {
    const drawable = shown(video);
    video.onseeked = () => drawable.then(done);
    video.onerror = () => fail(new Error("this browser cannot decode it"));
    video.currentTime = time;
  });
  const openVideo = (source) => new Promise((done, fail) => {
    const video = document.createElement("video");
    video.muted = video.playsInline = true;
    video.preload = "auto";
    /* The first frame of a film is awaited, lest it be taken for one that was sought. */
    const drawable = source instanceof MediaStream ? null : shown(video);
    video.onloadeddata = async () => { await drawable; done(video); };
    video.onerror = () => fail(new Error("this browser cannot decode it"));
    if (source instanceof MediaStream) video.srcObject = source; else video.src = URL.createObjectURL(source);
  });
  const lengthOf = async (video) => {
    /* A film recorded by a browser does not say how long it is until its end was sought. */
    if (!Number.isFinite(video.duration)) await seek(video, 1e6);
    return Number.isFinite(video.duration) ? video.duration : video.currentTime;
  };
  const attempt = async (name, work) => {
    const mine = ++turn;
    try {
      await work(mine);
    } catch (error) {
      if (turn === mine) { by("progress").hidden = true; tell(`${name}: ${error.message}`, true); }
    }
  };
  const recogniseFile = (file) => attempt(`\u2068${file.name}\u2069`, async (mine) => {
    stop();
    tell(`Recognising \u2068${file.name}\u2069 …`);
    const video = await openVideo(file);
    try {
      const length = await lengthOf(video);
      /* The middles of equal parts, as in evaluation; a millisecond later, so as not to fall before a frame's start. */
      const nextFrame = async (step) => {
        await seek(video, Math.min((length * (2 * step + 1)) / (2 * count) + 0.001, length));
        return planesOf(video);
      };
      if (await recognise(nextFrame, mine)) tell(`Recognised \u2068${file.name}\u2069.`);
    } finally {
      URL.revokeObjectURL(video.src);
    }
  });
  let stream = null;
  const stop = () => {
    if (stream) stream.getTracks().forEach((track) => track.stop());
    stream = null;
    by("stop").hidden = true;
  };
  const recogniseWebcam = () => attempt("The webcam", async (mine) => {
    stop();
    if (!navigator.mediaDevices) throw new Error("browsers offer it to pages from https or this device only; choose a video instead");
    const opened = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    if (turn !== mine) { opened.getTracks().forEach((track) => track.stop()); return; }
    stream = opened;
    by("stop").hidden = false;
    const video = await openVideo(stream);
    await video.play();
    do {
      const began = performance.now();
      tell(`Looking for ${SECONDS} s …`);
      const nextFrame = async (step) => {
        const due = began + (1000 * SECONDS * (step + 0.5)) / count;
        await new Promise((done) => setTimeout(done, Math.max(0, due - performance.now())));
        return planesOf(video);
      };
      if (!(await recognise(nextFrame, mine))) return;
      tell("Recognised; looking again soon …");
      await new Promise((done) => setTimeout(done, 1500));
    } while (turn === mine);
  });

  by("file").addEventListener("change", () => { if (by("file").files[0]) recogniseFile(by("file").files[0]); by("file").value = ""; });
  by("webcam").addEventListener("click", recogniseWebcam);
  by("stop").addEventListener("click", () => { turn++; stop(); by("progress").hidden = true; tell("Stopped."); });
  const over = (event) => { event.preventDefault(); by("input").classList.toggle("over", event.type === "dragover"); };
  for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, over);
  document.addEventListener("drop", (event) => {
    const file = event.dataTransfer.files[0];
    if (file && !by("file").disabled) recogniseFile(file);
  });

  load().then(
    () => { by("file").disabled = by("webcam").disabled = false; tell("Drop a video here, choose one, or use the webcam."); },
    (error) => tell(`The networks could not be loaded: ${error.message}`, true),
  );
})();
