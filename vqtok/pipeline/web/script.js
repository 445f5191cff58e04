// Files → codes → files by the graphs beside this page, in the browser. What is written here as
// .npy is what `vqtok encode` writes, and is read by `vqtok decode`.

const RUNTIME = "./ort/ort.wasm.bundle.min.mjs";
const MOST_PIXELS = 1e6; // natively, image-f8 took 3.1 GB for 2 million; WebAssembly has 4 GB
const MOST_SECONDS = 300;
const FORMATS = { "image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP" };

const main = document.querySelector("main");
const input = document.querySelector("#file");
const choice = document.querySelector("#label");
const result = document.querySelector("#result");
const model = {}; // spec, ort, encoder, decoder
let shown = null; // what is on the page: name, codes, original
let links = []; // of blobs on the page

/** What is wrong with a file or a browser, in one sentence for people. */
class Trouble extends Error {}

function say(text, wrong = false) {
  const status = document.querySelector("#status");
  status.textContent = text;
  status.classList.toggle("wrong", wrong);
}

/** Do one thing after the other: meanwhile nothing can be chosen, and all errors end here. */
async function busily(work) {
  const controls = [input, choice].filter(Boolean);
  if (result.ariaBusy === "true") return;
  result.ariaBusy = "true";
  for (const each of controls) each.disabled = true;
  try {
    await work();
    for (const each of controls) each.disabled = false;
  } catch (error) {
    say(error instanceof Trouble ? error.message : `This failed: ${error.message ?? error}`, true);
    for (const each of controls) each.disabled = !model.decoder;
    if (!(error instanceof Trouble)) console.error(error);
  }
  result.ariaBusy = "false";
}

// Loading

async function fetched(name) {
  const answer = await fetch(name).catch(() => ({ ok: false, status: "no answer" }));
  if (!answer.ok) throw new Trouble(`${name} is not beside this page (${answer.status}).`);
  return answer;
}

async function start() {
  if (location.protocol === "file:")
    throw new Trouble("Browsers run this from a web server only: give `python3 -m http.server` in"
      + " this folder and open http://localhost:8000/.");
  if (typeof WebAssembly !== "object")
    throw new Trouble("This browser lacks WebAssembly, without which the model does not run.");
  const begun = performance.now();
  const spec = await (await fetched("spec.json")).json();
  const ort = await import(RUNTIME).catch(() => {
    throw new Trouble("onnxruntime-web is not in ort/ beside this page: README.md says how it"
      + " gets there.");
  });
  ort.env.wasm.numThreads = 1; // more need headers that plain servers do not send
  ort.env.wasm.proxy = true; // the page answers while the model works
  ort.env.logLevel = "error";
  const sessions = {};
  for (const name of ["encoder", "decoder"]) {
    const answer = await fetched(`${name}.onnx`);
    const size = Number(answer.headers.get("content-length"));
    say(`Loading ${name}.onnx${size ? ` (${(size / 1e6).toFixed(1)} MB)` : ""} …`);
    const graph = new Uint8Array(await answer.arrayBuffer());
    sessions[name] = await ort.InferenceSession.create(graph).catch((error) => {
      throw new Trouble(`onnxruntime-web cannot start ${name}.onnx: ${firstLine(error)}`);
    });
  }
  Object.assign(model, { spec, ort, ...sessions });
  say(`Ready, after ${seconds(begun)}.`);
}

async function run(session, feeds) {
  return session.run(feeds).catch((error) => {
    throw new Trouble("The model failed, as it does where memory is short: reload the page and"
      + ` try something smaller (${firstLine(error)}).`);
  });
}

const firstLine = (error) => String(error.message ?? error).split("\n")[0];
const seconds = (begun) => `${((performance.now() - begun) / 1000).toFixed(1)}\u00a0s`;
const count = (number) => number.toLocaleString("en");
const product = (numbers) => numbers.reduce((a, b) => a * b, 1);

/** Cut an array to another height and width, its last two axes, at the right and at the bottom. */
function cut(data, shape, wanted) {
  const [high, wide] = [1, ...shape].slice(-2);
  const [height, width] = [1, ...wanted].slice(-2);
  const count = product(shape) / (high * wide);
  const out = new data.constructor(count * height * width);
  for (let row = 0; row < count * height; row++) {
    const start = (Math.floor(row / height) * high + (row % height)) * wide;
    out.set(data.subarray(start, start + width), row * width);
  }
  return out;
}

const spatial = (axis) => ["t", "h", "w"].includes(axis);

// Signals: { planes: Float32Array[], extent, note, source }

async function picture(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" }).catch(() => {
    throw new Trouble(`${file.name} is no picture that this browser reads.`);
  });
  const { width, height } = bitmap;
  checkPixels(file.name, [height, width]);
  const context = canvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // shows through transparent pixels
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const scale = Float32Array.from({ length: 256 }, (_, i) => Math.fround(i / 255) * 2 - 1);
  const planes = [0, 1, 2].map((c) => {
    return Float32Array.from({ length: width * height }, (_, i) => scale[data[4 * i + c]]);
  });
  const grey = planes[0].every((x, i) => x === planes[1][i] && x === planes[2][i]);
  const source = { format: FORMATS[file.type], mode: grey ? "L" : "RGB" };
  return { planes, extent: [height, width], bytes: file.size, source };
}

function checkPixels(name, [height, width]) {
  if (height * width > MOST_PIXELS)
    throw new Trouble(`${name} is too large for a browser: ${width}×${height} pixels, at most`
      + ` ${MOST_PIXELS / 1e6} million; vqtok encode takes any size.`);
}

async function recording(file) {
  const rate = model.spec.signal.rate_hz;
  const context = new OfflineAudioContext(1, 1, rate);
  const sound = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
    throw new Trouble(`${file.name} is no recording that this browser reads.`);
  });
  checkLength(file.name, sound.length);
  const channels = Array.from({ length: sound.numberOfChannels }, (_, c) => {
    return rescaled(sound.getChannelData(c));
  });
  const mixed = channels[0].slice();
  for (const channel of channels.slice(1)) channel.forEach((x, i) => { mixed[i] += x; });
  if (channels.length > 1) mixed.forEach((x, i) => { mixed[i] = x / channels.length; });
  const note = channels.length > 1 ? `${channels.length} channels, mixed to one` : "";
  return { planes: [mixed], extent: [sound.length], bytes: file.size, note, source: {} };
}

/** Divide samples of 16 bits by 32768: of positive ones some browsers make the 32767th part. */
function rescaled(plane) {
  const whole = (x) => Math.round(x * 32767);
  const are16 = plane.every((x) => x <= 0 || Math.abs(x * 32767 - whole(x)) < 0.004);
  return are16 ? plane.map((x) => (x > 0 ? whole(x) / 32768 : x)) : plane;
}

function checkLength(name, length) {
  const found = length / model.spec.signal.rate_hz;
  if (found > MOST_SECONDS)
    throw new Trouble(`${name} is too long for a browser: ${Math.round(found)} s, at most`
      + ` ${MOST_SECONDS} s; vqtok encode takes any length.`);
}

const isSound = () => model.spec.modality === "audio";

/** Lengthen a plane, (H, W) or (L,), as spec.json says. */
function padded(plane, extent, sizes) {
  const { fill } = model.spec.signal;
  const [height, width] = [1, ...extent].slice(-2);
  const [high, wide] = [1, ...sizes].slice(-2);
  const out = new Float32Array(high * wide);
  for (let y = 0; y < high; y++) {
    if (y >= height && fill === "zeros") break;
    const row = Math.min(y, height - 1) * width;
    out.set(plane.subarray(row, row + width), y * wide);
    if (fill === "edge") out.fill(plane[row + width - 1], y * wide + width, (y + 1) * wide);
  }
  return out;
}

// Codes: { levels: [{ data, shape }], extent, channels }

async function encode(signal) {
  const { spec, ort, encoder } = model;
  const sizes = signal.extent.map((n) => Math.ceil(n / spec.signal.multiple) * spec.signal.multiple);
  const values = new Float32Array(signal.planes.length * product(sizes));
  signal.planes.forEach((plane, c) => {
    values.set(padded(plane, signal.extent, sizes), c * product(sizes));
  });
  const shape = [1, signal.planes.length, ...sizes];
  const made = await run(encoder, { [spec.signal.name]: new ort.Tensor("float32", values, shape) });
  const levels = spec.levels.map((level) => {
    const { data, dims } = made[level.name];
    const wanted = shapeOf(level, signal.extent); // without what only padding made
    return { data: Array.from(cut(data, dims.slice(1), wanted), Number), shape: wanted };
  });
  return { levels, extent: signal.extent, channels: 1 };
}

/** Give the planes of a picture, or the channels of a recording, at their original size. */
async function decode(codes) {
  const { spec, ort, decoder } = model;
  const feeds = {};
  spec.levels.forEach(({ name }, i) => {
    const { data, shape } = codes.levels[i];
    const whole = codes.channels > 1 ? shape : [1, ...shape];
    feeds[name] = new ort.Tensor("int64", BigInt64Array.from(data, BigInt), whole);
  });
  if (choice) feeds.label = new ort.Tensor("int64", [BigInt(choice.value)], [1]);
  const { data, dims } = (await run(decoder, feeds))[spec.signal.name];
  const whole = cut(data, dims, [...dims.slice(0, 2), ...codes.extent]);
  const size = product(codes.extent);
  return Array.from({ length: dims[0] * dims[1] }, (_, c) => whole.subarray(c * size, (c + 1) * size));
}

function shapeOf(level, extent) {
  let axis = 0;
  return level.axes.map((name) => {
    if (!spatial(name)) return level.depth;
    const steps = Math.ceil(extent[axis] / level.stride[axis]) * (level.steps ?? 1);
    axis += 1;
    return steps;
  });
}

// .npy: record 0 is the array of codes, record 1 the JSON that says what they are

function header(name, codes, source) {
  const { modality, levels, rate, fingerprint, model: maker } = model.spec;
  // As vqtok writes it: keys sorted, ASCII, a sampling rate with its point.
  const clean = (text) => text.replace(/(?! )[\p{C}\p{Z}]/gu, "\uFFFD");
  const text = json({
    format: Number(main.dataset.format), modality, levels, rate, fingerprint,
    extent: codes.extent, model: maker, channels: codes.channels,
    source: { name: clean(name), ...source }, vqtok: main.dataset.vqtok,
  });
  return text.replace(/"rate":(\d+),"source"/, '"rate":$1.0,"source"');
}

function json(value) {
  if (Array.isArray(value)) return `[${value.map(json)}]`;
  if (typeof value === "object" && value !== null) {
    const keys = Object.keys(value).filter((key) => value[key] !== undefined).sort();
    return `{${keys.map((key) => `${json(key)}:${json(value[key])}`)}}`;
  }
  const escape = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, escape);
}

function npy(codes, text) {
  const sizes = model.spec.levels.map((level) => level.codebook_size);
  const arrays = sizes.map((k) => (k <= 1 << 8 ? Uint8Array : k <= 1 << 16 ? Uint16Array : Uint32Array));
  const widest = arrays.sort((a, b) => b.BYTES_PER_ELEMENT - a.BYTES_PER_ELEMENT)[0];
  const all = widest.from(codes.levels.flatMap((level) => level.data));
  const shape = codes.levels.length > 1 ? [all.length] : codes.levels[0].shape;
  const bytes = new TextEncoder().encode(text);
  return new Blob([...record(all, shape), ...record(bytes, [bytes.length])]);
}

function record(array, shape) {
  const bytes = array.BYTES_PER_ELEMENT;
  const sides = shape.length === 1 ? `${shape},` : shape.join(", ");
  let text = `{'descr': '${bytes > 1 ? "<" : "|"}u${bytes}', 'fortran_order': False, `
    + `'shape': (${sides}), }`;
  text += " ".repeat(21 - String(shape[0]).length); // numpy's room for a first axis that grows
  text = `${text.padEnd(text.length + 64 - ((text.length + 11) % 64))}\n`;
  const head = Uint8Array.from(`\x93NUMPY\x01\x00..${text}`, (letter) => letter.charCodeAt(0));
  new DataView(head.buffer).setUint16(8, text.length, true);
  return [head, array];
}

async function read(file) {
  const buffer = await file.arrayBuffer();
  const wrong = new Trouble(`${file.name} does not hold codes as \`vqtok encode -o FILE.npy\``
    + " writes them.");
  const parse = (start) => {
    const view = new DataView(buffer, start);
    const letters = (from, to) => String.fromCharCode(...new Uint8Array(buffer.slice(from, to)));
    if (letters(start, start + 6) !== "\x93NUMPY" || view.getUint8(6) !== 1) throw wrong;
    const begin = start + 10 + view.getUint16(8, true);
    const text = letters(start + 10, begin);
    const kind = /'descr': '[<|]([iu])([1248])'/.exec(text);
    const shape = /'shape': \(([\d, ]*)\)/.exec(text)?.[1].match(/\d+/g)?.map(Number);
    if (!kind || !shape || !text.includes("'fortran_order': False")) throw wrong;
    const types = {
      u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, u8: BigUint64Array,
      i1: Int8Array, i2: Int16Array, i4: Int32Array, i8: BigInt64Array,
    };
    const stop = begin + product(shape) * Number(kind[2]);
    const data = new types[kind[1] + kind[2]](buffer.slice(begin, stop));
    if (data.length !== product(shape)) throw wrong;
    return { data: Array.from(data, Number), shape, stop };
  };
  try {
    const first = parse(0);
    if (first.stop === buffer.byteLength) return { ...assembled(first, null, file.name), source: {} };
    const text = new TextDecoder().decode(Uint8Array.from(parse(first.stop).data));
    const found = JSON.parse(text);
    return { ...assembled(first, found, file.name), source: found.source };
  } catch (error) {
    throw error instanceof Trouble ? error : wrong;
  }
}

/** Cut an array into levels, and check them against the model. */
function assembled({ data, shape }, found, name) {
  const { levels, fingerprint, model: maker } = model.spec;
  if (found && found.fingerprint !== fingerprint)
    throw new Trouble(`${name} holds codes of another model (${found.model || "unknown"}), and this`
      + ` page decodes those of ${maker}.`);
  const channels = found?.channels ?? 1;
  const grid = shape.slice(channels > 1 ? 1 : 0);
  const sides = grid.filter((_, i) => spatial(levels[0].axes[i]));
  const extent = found?.extent ?? sides.map((n, i) => n * levels[0].stride[i]);
  if (isSound()) checkLength(name, extent[0]);
  else checkPixels(name, extent);
  const shapes = levels.map((level) => shapeOf(level, extent));
  const expected = levels.length > 1 ? [shapes.map(product).reduce((a, b) => a + b)] : shapes[0];
  if ((levels.length > 1 && channels > 1) || String(grid) !== String(expected))
    throw new Trouble(`${name} holds an array of ${shape.join("×")} codes, where ${maker} has`
      + ` ${expected.join("×")}.`);
  let start = 0;
  const cut = levels.map((level, i) => {
    const whole = channels > 1 ? shape : shapes[i];
    const part = data.slice(start, start + product(whole));
    start += part.length;
    if (part.some((code) => code < 0 || code >= level.codebook_size))
      throw new Trouble(`${name} holds codes beyond the ${count(level.codebook_size)} of ${maker}.`);
    return { data: part, shape: whole };
  });
  return { levels: cut, extent, channels };
}

// The page

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function canvas(width, height, attributes = {}) {
  return element("canvas", { width, height, ...attributes });
}

const figure = (caption, kind, ...children) =>
  element("figure", { class: kind }, element("figcaption", {}, caption), ...children);

function link(blob) {
  links.push(URL.createObjectURL(blob));
  return links.at(-1);
}

/** Bytes of planes in [-1, 1], rounded as vqtok rounds them: half to even. */
const bytesOf = (plane) => Uint8ClampedArray.from(plane, (x) => Math.fround(Math.fround(x + 1) * 127.5));

function psnr(before, after) {
  let sum = 0;
  before.forEach((plane, c) => {
    const [x, y] = [bytesOf(plane), bytesOf(after[c])];
    for (let i = 0; i < x.length; i++) sum += (x[i] - y[i]) ** 2;
  });
  return 10 * Math.log10(255 ** 2 / (sum / (before.length * before[0].length)));
}

function painted(planes, [height, width], name) {
  const smooth = Math.max(width, height) > 128 ? "smooth" : "";
  const made = canvas(width, height, { role: "img", "aria-label": name, class: smooth });
  const image = new ImageData(width, height);
  planes.map(bytesOf).forEach((plane, c) => plane.forEach((x, i) => { image.data[4 * i + c] = x; }));
  for (let i = 3; i < image.data.length; i += 4) image.data[i] = 255;
  made.getContext("2d").putImageData(image, 0, 0);
  return made;
}

/** Make a player of channels in [-1, 1], as a WAV file of 16 bits. */
function player(planes, name) {
  const rate = model.spec.signal.rate_hz;
  const [size, frame] = [planes[0].length * planes.length * 2, planes.length * 2];
  const view = new DataView(new ArrayBuffer(44 + size));
  const put = (at, text) => [...text].forEach((x, i) => view.setUint8(at + i, x.charCodeAt(0)));
  put(0, "RIFF");
  view.setUint32(4, 36 + size, true);
  put(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, planes.length, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * frame, true);
  view.setUint16(32, frame, true);
  view.setUint16(34, 16, true);
  put(36, "data");
  view.setUint32(40, size, true);
  planes.forEach((plane, c) => plane.forEach((x, i) => {
    const value = Math.max(-32768, Math.min(32767, Math.round(x * 32768)));
    view.setInt16(44 + i * frame + 2 * c, value, true);
  }));
  const url = link(new Blob([view.buffer], { type: "audio/wav" }));
  const made = element("audio", { controls: "", src: url, "aria-label": name });
  made.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== made) other.pause();
  });
  return made;
}

/** Each code has one colour, that of `vqtok info --plot`: unlike its neighbours', without a meaning. */
function colour(code) {
  const hue = (code * 0.6180339887498949) % 1;
  const spread = Math.floor((code * 2654435761) / 256);
  const saturation = 0.4 + (0.55 * (spread % 97)) / 96;
  const value = 0.5 + (0.5 * (spread % 89)) / 88;
  return [5, 3, 1].map((sector) => {
    const at = (hue * 6 + sector) % 6;
    const wave = Math.min(Math.max(Math.min(at, 4 - at), 0), 1);
    return Math.round(value * (1 - saturation * wave) * 255);
  });
}

/** Draw the codes of a level: one grid, or one of each stage of a picture. */
function grids({ data, shape }, name) {
  const [height, width] = isSound() ? [data.length / shape.at(-1), shape.at(-1)] : shape.slice(-2);
  return Array.from({ length: data.length / (height * width) }, (_, n) => {
    const label = `${name}: ${height} rows of ${width}`;
    const made = canvas(width, height, { role: "img", "aria-label": label });
    const image = new ImageData(width, height);
    for (let i = 0; i < height * width; i++) image.data.set([...colour(data[n * height * width + i]), 255], 4 * i);
    made.getContext("2d").putImageData(image, 0, 0);
    if (!isSound()) return made;
    made.style.height = `${Math.max(height * 0.9, 2)}rem`;
    made.style.minWidth = `${width}px`;
    return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, made);
  });
}

function show({ name, codes, source, original, bytes, note }, decoded, times) {
  links.forEach((each) => URL.revokeObjectURL(each));
  links = [];
  const { spec } = model;
  const bits = spec.levels.reduce(
    (sum, level, i) => sum + codes.levels[i].data.length * Math.log2(level.codebook_size), 0,
  );
  const total = codes.levels.reduce((sum, { data }) => sum + data.length, 0);
  const arrays = spec.levels.map(({ name: level, codebook_size: entries }, i) => {
    const array = `(${codes.levels[i].shape.join(", ")}) of ${count(entries)} entries`;
    return spec.levels.length > 1 ? `${level} ${array}` : array;
  });
  const size = product(codes.extent);
  const length = size / spec.signal.rate_hz;
  const rate = isSound() ? `${(bits / length / 1000).toPrecision(3)}\u00a0kbit/s`
    : `${(bits / size).toPrecision(3)}\u00a0bits per pixel`;
  const facts = [
    ["File", [name, bytes && `${count(bytes)} bytes`, note].filter(Boolean).join(", ")],
    ["Size", isSound() ? `${length.toFixed(2)} s at ${count(spec.signal.rate_hz)} Hz`
      : `${codes.extent[1]}×${codes.extent[0]} pixels`],
    ["Codes", `${count(total)}, ${arrays.join(", ")}`],
    ["Bits", `${count(Math.ceil(bits))} in ${count(Math.ceil(bits / 8))}\u00a0bytes, ${rate}`],
  ];
  const summary = [`${name}: ${count(total)} codes, ${count(Math.ceil(bits))} bits`];
  if (original && !isSound()) {
    const quality = `${psnr(original, decoded).toFixed(2)}\u00a0dB`;
    facts.push(["PSNR", quality]);
    summary.push(`PSNR ${quality}`);
  }
  facts.push(["Time", times.join(", ")]);
  const made = (planes, title) => figure(title, isSound() ? "wide" : "",
    isSound() ? player(planes, title) : painted(planes, codes.extent, title));
  const kept = `${name.replace(/\.[^.]*$/, "")}.npy`;
  const file = link(npy(codes, header(name, codes, source)));
  result.replaceChildren(
    element("dl", {}, ...facts.flatMap(([key, value]) =>
      [element("dt", {}, key), element("dd", {}, value)])),
    element("p", {}, element("a", { href: file, download: kept }, `Download ${kept}`), ", which ",
      element("code", {}, `vqtok decode ${kept}`), " reads"),
    element("div", { class: "row" },
      ...(original ? [made(original, "original")] : []),
      ...codes.levels.map((level, i) => {
        const title = codes.levels.length > 1 ? `codes, ${spec.levels[i].name}` : "codes";
        return figure(title, isSound() ? "wide" : "", ...grids(level, title));
      }),
      made(decoded, "reconstruction")),
  );
  result.hidden = false;
  say(`${summary.join(", ")}.`);
}

async function take(file) {
  if (!file) return;
  if (/\.npy$/i.test(file.name)) {
    const { source, ...codes } = await read(file);
    shown = { name: source.name || file.name, codes, source, original: null };
    await redo([]);
    return;
  }
  say(`Reading ${file.name} …`);
  const { planes, extent, bytes, note, source } = await (isSound() ? recording : picture)(file);
  say(`Encoding ${file.name} …`);
  const begun = performance.now();
  const codes = await encode({ planes, extent });
  const time = `encoded in ${seconds(begun)}`;
  shown = { name: file.name, codes, source, original: planes, bytes, note };
  await redo([time]);
}

async function redo(times) {
  say(`Decoding ${shown.name} …`);
  const begun = performance.now();
  const decoded = await decode(shown.codes);
  show(shown, decoded, [...times, `decoded in ${seconds(begun)}`]);
}

input.addEventListener("change", () => busily(() => take(input.files[0])));
choice?.addEventListener("change", () => shown && busily(() => redo([])));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && model.decoder) busily(() => take(event.dataTransfer.files[0]));
  });
}
busily(start);
