"use strict";

// What lies side by side without this script becomes a slider with it; nothing is loaded.

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function chooser(text, names, chosen, onChange) {
  const select = element("select", {});
  names.forEach((name, i) => select.append(element("option", { value: i }, name)));
  select.selectedIndex = chosen;
  select.addEventListener("change", onChange);
  return [select, element("label", {}, text + " ", select)];
}

const scales = [1, 2, 3, 4, 8, 16];

function viewer(example) {
  const shown = [...example.querySelectorAll("img[data-name]")];
  const names = shown.map((image) => image.dataset.name);
  const title = example.querySelector("h3").textContent;
  const under = element("img", { alt: "", draggable: "false" });
  const over = element("img", { alt: "", draggable: "false" });
  const edge = element("div", { class: "edge" });
  const stage = element("div", { class: "stage" }, under, over, edge);
  const range = element("input", {
    type: "range", min: 0, max: 100, value: 50, "aria-label": "Where left ends and right begins",
  });

  const draw = () => {
    under.src = shown[left.selectedIndex].src;
    over.src = shown[right.selectedIndex].src;
    const scale = scales[zoom.selectedIndex];
    for (const image of [under, over]) {
      image.width = shown[0].naturalWidth * scale;
      image.height = shown[0].naturalHeight * scale;
    }
    range.style.width = `${under.width}px`;
    over.style.clipPath = `inset(0 0 0 ${range.value}%)`;
    edge.style.left = `${range.value}%`;
    const part = `left ${range.value} %: ${names[left.selectedIndex]}, `
      + `right: ${names[right.selectedIndex]}`;
    range.setAttribute("aria-valuetext", part);
  };
  const [left, leftLabel] = chooser("Left", names, 0, draw);
  const [right, rightLabel] = chooser("Right", names, Math.min(1, names.length - 1), draw);
  // Small pictures begin enlarged: to 256 pixels or a little more, if that can be chosen.
  const side = Math.max(Number(shown[0].getAttribute("width")), Number(shown[0].getAttribute("height")));
  const enough = scales.findIndex((scale) => scale * side >= 256);
  const first = enough < 0 ? scales.length - 1 : enough;
  const [zoom, zoomLabel] = chooser("Pixels", scales.map((scale) => `${scale}x`), first, draw);
  range.addEventListener("input", draw);
  const drag = (event) => {
    if (event.type === "pointerdown") stage.setPointerCapture(event.pointerId);
    else if (!stage.hasPointerCapture(event.pointerId)) return;
    const box = stage.getBoundingClientRect();
    range.value = (100 * (event.clientX - box.left)) / box.width;
    draw();
  };
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("pointermove", drag);
  const controls = element("div", { class: "controls" }, leftLabel, rightLabel, zoomLabel);
  const pane = element("div", { class: "window" }, stage);
  const group = element("div", {
    class: "viewer", role: "group", "aria-label": `Slider: ${title}`,
  }, controls, pane, range);
  example.querySelector(".row").before(group);
  if (shown[0].complete) draw();
  else shown[0].addEventListener("load", draw);
}

function players(example) {
  // One at a time, and from where the last one stopped: A and B at the same moment.
  const all = [...example.querySelectorAll("audio")];
  for (const player of all) {
    player.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) {
        if (other === player || other.paused) continue;
        if (all.includes(other)) player.currentTime = other.currentTime;
        other.pause();
      }
    });
  }
}

document.querySelectorAll('.example[data-kind="image"]').forEach(viewer);
document.querySelectorAll('.example[data-kind="audio"]').forEach(players);
