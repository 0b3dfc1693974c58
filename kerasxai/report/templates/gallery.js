(() => {
  const content = JSON.parse(document.getElementById("content").textContent);
  const find = id => document.getElementById(id);
  const colors = Object.fromEntries(Object.entries(content.colors).map(([name, text]) => [name, heatmaps.bytes(text)]));
  const HIT = 0.5, KEPT = 80, SLICE = 12;
  const photos = new Map(), kept = new Map();
  const state = { group: 0, variant: 0, step: 0, mode: "predicted", threshold: 0.2, opacity: 0.6, colors: "auto", box: true, mask: false, scale: false, peak: 0 };
  let measured = [], cards = [], order = [], opened = -1, ownClass = null, job = 0, player = 0;

  const group = () => content.groups[state.group];
  const variant = () => group().variants[state.variant];
  const model = () => (variant().model === null ? null : group().models[variant().model]);
  const className = label => (label < 0 ? "unknown" : group().classes[label] ?? `class ${label}`);
  const signed = new Map();
  // As `percent` and `unbroken` of kerasxai.tools.printable: no share below 1 is 100 %, and none above 0 is 0 %.
  function percent(share) {
    const whole = Math.round(100 * share);
    if (whole === 100 && share < 1) return ">\u00a099\u00a0%";
    return whole === 0 && share > 0 ? "<\u00a01\u00a0%" : `${whole}\u00a0%`;
  }
  const classNames = labels => labels.map(className).join(", ") || "unknown";

  // One choice for all images and epochs of a method, so that a color means the same in each picture.
  function tableName() {
    const of = variant(), isSigned = ([, text]) => text.startsWith("s", text.indexOf(":") - 1);
    if (!signed.has(of)) signed.set(of, of.steps.some(step => step.maps.some(its => its.some(isSigned))));
    if (state.colors !== "auto") return state.colors;
    return signed.get(of) ? "signed" : "inferno";
  }

  // Of several labels an image, all true classes and no other must have a probability of 0.5; null if not known.
  function isRight(i) {
    const of = model(), { truth, unknown } = group().images[i];
    if (of === null) return null;
    if (!group().multi) return of.predicted[i][0] === truth[0];
    const found = of.predicted[i].filter((label, k) => of.probability[i][k] >= HIT && !unknown.includes(label));
    return found.length === truth.length && found.every(label => truth.includes(label));
  }

  function option(select, value, text) {
    const made = document.createElement("option");
    made.value = value;
    made.textContent = text;
    select.append(made);
  }

  function fill(id, options, value) {
    const select = find(id);
    select.replaceChildren();
    for (const [key, text] of options) option(select, key, text);
    if (options.some(([key]) => key === value)) select.value = value;
    return select.value;
  }

  // The stored map of an image for the chosen class: its number and text; null if there is none.
  function entry(i, mode = state.mode) {
    const maps = variant().steps[state.step].maps[i], of = model();
    if (mode === "explained") return maps[0] ?? null;
    const labels = mode === "true" ? group().images[i].truth : mode === "predicted" ? [of.predicted[i][0]] : [Number(mode)];
    return maps.find(([target]) => labels.includes(target)) ?? null;
  }

  // The largest magnitude of a map as a share of that of all maps of the method, over all epochs.
  function peakOf(i, target) {
    if (!state.scale) return null;
    const step = variant().steps[state.step], number = step.maps[i].findIndex(one => one[0] === target);
    return state.peak ? step.peaks[i][number] / state.peak : 0;
  }

  function mapOf(i, label) {
    const found = label === undefined || label === null ? entry(i) : entry(i, String(label));
    if (!found) return null;
    const key = [state.group, state.variant, state.step, i, found[0]].join();
    let map = kept.get(key);
    if (!map) {
      const image = group().images[i];
      map = heatmaps.enlarge(heatmaps.decode(found[1]), image.width, image.height);
      kept.set(key, map);
      // The oldest first, so that memory stays bounded.
      if (kept.size > KEPT) kept.delete(kept.keys().next().value);
    }
    return { target: found[0], map };
  }

  function measure(i, label) {
    const found = mapOf(i, label);
    if (!found) return null;
    const image = group().images[i];
    const inside = heatmaps.mask(found.map, state.threshold);
    const box = heatmaps.largestBox(inside, image.width, image.height);
    const own = image.boxes.filter((_, k) => image.box_labels === null || image.box_labels[k] === found.target);
    const truth = own.map(one => [one[0] * image.width, one[1] * image.height, one[2] * image.width, one[3] * image.height]);
    return { ...found, inside, box, truth, iou: heatmaps.bestIou(box, truth) };
  }

  function photo(i, then) {
    const key = `${state.group},${i}`;
    let picture = photos.get(key);
    if (!picture) {
      picture = new Image();
      picture.src = group().images[i].picture;
      photos.set(key, picture);
    }
    if (picture.complete && picture.naturalWidth) then(picture);
    else picture.addEventListener("load", () => then(picture), { once: true });
  }

  function paint(canvas, i, found, scale) {
    const image = group().images[i], at = state.group;
    photo(i, picture => {
      if (at !== state.group) return;
      canvas.width = image.width * scale;
      canvas.height = image.height * scale;
      const pen = canvas.getContext("2d");
      pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
      if (found) drawing.layer(pen, drawing.heat(found.map, colors, tableName(), peakOf(i, found.target)), state.opacity);
      if (found && state.mask) drawing.layer(pen, drawing.edges(found.inside, image.width, image.height), 1);
      if (!state.box || !found) return;
      for (const box of found.truth) drawing.frame(pen, box, scale, drawing.TRUE, false);
      if (found.box) drawing.frame(pen, found.box, scale, drawing.FOUND, true);
    });
  }

  function words(i, found) {
    const image = group().images[i], of = model(), right = isRight(i), lines = [`true: ${classNames(image.truth)}`];
    if (of) {
      const found = of.predicted[i].map((label, k) => `${className(label)}, ${percent(of.probability[i][k])}`);
      lines.push(`predicted: ${found.join("; ")}, ${right ? "right" : "wrong"}`);
    }
    lines.push(found ? `heatmap of: ${className(found.target)}` : "no heatmap of this class is stored");
    if (found && found.iou !== null) lines.push(`IoU ${found.iou.toFixed(2)}`);
    return lines;
  }

  function makeCard(i) {
    const item = document.createElement("li"), button = document.createElement("button");
    const canvas = document.createElement("canvas"), text = document.createElement("span"), image = group().images[i];
    canvas.width = image.width;
    canvas.height = image.height;
    canvas.setAttribute("aria-hidden", "true");
    button.type = "button";
    button.append(canvas, text);
    button.addEventListener("click", () => open(i));
    item.append(button);
    item.dataset.image = String(i);
    return { item, button, canvas, text, visible: false };
  }

  function refresh(i) {
    const card = cards[i], found = measure(i), lines = words(i, found);
    measured[i] = found && { iou: found.iou };
    card.text.replaceChildren();
    for (const line of lines) {
      const part = document.createElement("span");
      part.textContent = line;
      if (isRight(i) === false && line.startsWith("predicted")) part.className = "wrong";
      card.text.append(part);
    }
    card.button.setAttribute("aria-label", `${group().images[i].name}; ${lines.join("; ")}; enlarge`);
    // Others are painted when they come into view.
    if (card.visible) paint(card.canvas, i, found, 1);
  }

  const watcher = new IntersectionObserver(entries => {
    for (const one of entries) {
      const i = Number(one.target.dataset.image);
      if (!cards[i] || cards[i].item !== one.target) continue;
      cards[i].visible = one.isIntersecting;
      if (one.isIntersecting) refresh(i);
    }
  }, { rootMargin: "300px" });

  // On paper, all cards are in view.
  addEventListener("beforeprint", () => order.filter(i => !cards[i].visible).forEach(i => paint(cards[i].canvas, i, measure(i), 1)));

  // Visible cards at once; all others in slices of time, so that a slider never waits.
  function update() {
    const mine = ++job;
    find("threshold-text").textContent = state.threshold.toFixed(2);
    find("large-threshold-text").textContent = state.threshold.toFixed(2);
    find("color-key").textContent = tableName() === "signed" ? "red: evidence for the class, blue: against it" : "dark: no evidence, bright: most evidence";
    const first = order.filter(i => cards[i].visible), rest = order.filter(i => !cards[i].visible);
    first.forEach(refresh);
    if (opened >= 0) show();
    (function work() {
      if (mine !== job) return;
      const end = performance.now() + SLICE;
      while (rest.length && performance.now() < end) refresh(rest.shift());
      if (rest.length) return void setTimeout(work, 0);
      summarize();
      // Printing does not wait for pictures that are not loaded.
      order.forEach(i => photo(i, () => {}));
    })();
  }

  function summarize() {
    const ious = order.map(i => measured[i]).filter(one => one && one.iou !== null).map(one => one.iou);
    const wrong = order.filter(i => isRight(i) === false).length, parts = [`${order.length} of ${group().images.length} images`];
    if (model()) parts.push(`${order.length - wrong} right, ${wrong} wrong`);
    if (ious.length) {
      parts.push(`mean IoU ${(ious.reduce((sum, one) => sum + one, 0) / ious.length).toFixed(3)}`);
      parts.push(`IoU of 0.5 or more: ${percent(ious.filter(one => one >= HIT).length / ious.length)}`);
    }
    parts.push(`threshold ${state.threshold.toFixed(2)}; own threshold ${variant().threshold.toFixed(2)} (${variant().chosen_by})`);
    find("status").textContent = parts.join(" · ");
    find("status").dataset.job = String(job);
  }

  const sorters = {
    order: i => [group().images[i].truth[0] ?? null],
    iou: i => [measured[i]?.iou ?? null],
    sure: i => [model()?.probability[i][0] ?? null],
    size: i => [group().images[i].share],
  };

  function arrange() {
    const [key, direction] = find("sort").value.split("-"), sign = direction === "down" ? -1 : 1;
    const right = find("right").value, label = find("label").value, size = find("size").value;
    // IoU is needed of all images, also of those that were not visible yet.
    if (key === "iou") cards.forEach((_, i) => { const found = measure(i); measured[i] = found && { iou: found.iou }; });
    order = group().images.map((_, i) => i).filter(i => {
      const image = group().images[i];
      return (right === "all" || isRight(i) === (right === "right")) && (label === "all" || image.truth.includes(Number(label)))
        && (size === "all" || (image.size ?? "none") === size);
    });
    const value = i => sorters[key](i)[0];
    order.sort((a, b) => {
      const one = value(a), other = value(b);
      if (one === null || other === null) return (one === null) - (other === null) || a - b;
      return sign * (one - other) || a - b;
    });
    find("cards").replaceChildren(...order.map(i => cards[i].item));
    update();
  }

  function chooseVariant() {
    const steps = variant().steps, several = steps.length > 1;
    state.peak = steps.flatMap(step => step.peaks.flat()).reduce((most, one) => Math.max(most, one), 0);
    state.step = Math.min(state.step, steps.length - 1);
    if (!several) state.step = 0;
    find("epochs").hidden = !several;
    find("play").hidden = !several;
    find("epoch").max = String(steps.length - 1);
    state.step = several && find("epoch").dataset.group !== String(state.group) ? steps.length - 1 : state.step;
    find("epoch").dataset.group = String(state.group);
    find("epoch").value = String(state.step);
    setThreshold(variant().threshold);
    const modes = model() ? [["predicted", "predicted class"], ["true", "true class"]] : [["explained", "as logged"], ["true", "true class"]];
    const stored = new Set(variant().steps.flatMap(step => step.maps.flat().map(([target]) => target)));
    for (const target of [...stored].sort((a, b) => a - b)) modes.push([String(target), `class ${className(target)}`]);
    state.mode = fill("mode", modes, state.mode);
    showEpoch();
  }

  function showEpoch() {
    const { epoch } = variant().steps[state.step];
    find("epoch-text").textContent = epoch === null ? "" : String(epoch);
  }

  function setThreshold(value) {
    state.threshold = value;
    find("threshold").value = String(value);
    find("large-threshold").value = String(value);
  }

  function chooseGroup() {
    watcher.disconnect();
    if (find("large").open) find("large").close();
    state.variant = 0;
    const several = group().models.length > 1;
    fill("variant", group().variants.map((one, i) => [String(i), several ? `${group().models[one.model].name}: ${one.name}` : one.name]), "0");
    fill("label", [["all", "all"], ...group().classes.map((name, i) => [String(i), name])], "all");
    measured = [];
    cards = group().images.map((_, i) => makeCard(i));
    cards.forEach(card => watcher.observe(card.item));
    chooseVariant();
    arrange();
  }

  function open(i) {
    opened = i;
    ownClass = null;
    if (!find("large").open) find("large").showModal();
    show();
  }

  function show() {
    const i = opened, image = group().images[i], found = measure(i, ownClass), lines = words(i, found);
    find("large-title").textContent = image.name;
    find("large-text").textContent = lines.join("\n");
    find("large-picture").setAttribute("aria-label", `${image.name}; ${lines.join("; ")}`);
    paint(find("large-picture"), i, found, 3);
    const chips = variant().steps[state.step].maps[i].map(([target]) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.textContent = className(target);
      chip.setAttribute("aria-pressed", String(found !== null && found.target === target));
      chip.addEventListener("click", () => { ownClass = target; show(); });
      return chip;
    });
    const focused = [...find("large-classes").children].indexOf(document.activeElement);
    find("large-classes").replaceChildren(...chips);
    if (focused >= 0 && chips[focused]) chips[focused].focus();
    const command = commandOf(image, found);
    find("large-command").hidden = command === null;
    find("command").textContent = command ?? "";
    find("copied").textContent = "";
  }

  function commandOf(image, found) {
    const { command, code } = variant(), target = found ? found.target : null;
    if (!command || target === null) return null;
    if (image.file) return `${command[0]} ${image.file} ${command[1]} --target ${target}`;
    return image.load ? `${image.load}target = ${target}\n${code}` : null;
  }

  function go(by) {
    const at = order.indexOf(opened) + by;
    if (at >= 0 && at < order.length) open(order[at]);
  }

  async function copy() {
    const text = find("command").textContent;
    try {
      await navigator.clipboard.writeText(text);
      find("copied").textContent = "copied";
    } catch {
      // Some browsers refuse pages from disk: the text is selected instead.
      getSelection().selectAllChildren(find("command"));
      find("copied").textContent = "selected; press Ctrl+C";
    }
  }

  function play() {
    clearInterval(player);
    const playing = find("play").getAttribute("aria-pressed") !== "true";
    find("play").setAttribute("aria-pressed", String(playing));
    if (playing) player = setInterval(() => chooseStep((state.step + 1) % variant().steps.length), 700);
  }

  function chooseStep(step) {
    state.step = step;
    find("epoch").value = String(step);
    showEpoch();
    update();
  }

  function wire() {
    const on = (id, event, run) => find(id).addEventListener(event, run);
    on("controls", "submit", event => event.preventDefault());
    on("group", "change", () => { state.group = Number(find("group").value); chooseGroup(); });
    on("variant", "change", () => { state.variant = Number(find("variant").value); chooseVariant(); arrange(); });
    on("mode", "change", () => { state.mode = find("mode").value; arrange(); });
    on("colors", "change", () => { state.colors = find("colors").value; update(); });
    for (const id of ["right", "label", "size", "sort"]) on(id, "change", arrange);
    for (const id of ["threshold", "large-threshold"]) on(id, "input", () => { setThreshold(Number(find(id).value)); update(); });
    // Sorting follows once the slider rests.
    for (const id of ["threshold", "large-threshold"]) on(id, "change", () => { if (find("sort").value.startsWith("iou")) arrange(); });
    on("own", "click", () => { setThreshold(variant().threshold); arrange(); });
    on("opacity", "input", () => { state.opacity = Number(find("opacity").value); update(); });
    on("epoch", "input", () => chooseStep(Number(find("epoch").value)));
    on("play", "click", play);
    for (const id of ["box", "mask", "scale"]) on(id, "change", () => { state[id] = find(id).checked; update(); });
    on("before", "click", () => go(-1));
    on("next", "click", () => go(1));
    on("close", "click", () => find("large").close());
    on("copy", "click", copy);
    on("large", "close", () => {
      const card = cards[opened];
      opened = -1;
      card?.button.focus();
    });
    on("large", "click", event => { if (event.target === find("large")) find("large").close(); });
    on("large", "keydown", event => {
      // Arrows move a slider that has the focus.
      if (event.target instanceof HTMLInputElement) return;
      if (event.key === "ArrowLeft") go(-1);
      if (event.key === "ArrowRight") go(1);
    });
  }

  fill("group", content.groups.map((one, i) => [String(i), one.title]), "0");
  find("group").parentElement.hidden = content.groups.length < 2;
  // Browsers keep the values of controls over a reload.
  find("controls").reset();
  state.opacity = Number(find("opacity").value);
  state.box = find("box").checked;
  state.mask = find("mask").checked;
  state.scale = find("scale").checked;
  wire();
  chooseGroup();
})();
