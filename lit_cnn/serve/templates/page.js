"use strict";
const element = (id) => document.getElementById(id);
const MOST_CARDS = 20, MOST_CLASSES = 10;
let model = null;
let token = sessionStorage.getItem("token") || "";

// #token=... in the address is taken, and removed from what the browser remembers
if (location.hash.startsWith("#token=")) {
  token = decodeURIComponent(location.hash.slice(7));
  sessionStorage.setItem("token", token);
  history.replaceState(null, "", location.pathname);
}

function make(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

async function ask(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The server does not answer.");
  }
  const found = await response.json().catch(() => ({ error: `The server answered with status ${response.status}.` }));
  if (response.status === 401) askForToken(found.error);
  if (!response.ok) throw new Error(found.error);
  return found;
}

function askForToken(reason) {
  element("token-form").hidden = false;
  element("drop").hidden = true;
  element("token").focus();
  if (token) element("error").textContent = reason;
}

async function open() {
  element("error").textContent = "";
  try {
    model = await ask("/api/model");
  } catch (error) {
    if (element("token-form").hidden) element("error").textContent = error.message;
    return;
  }
  element("token-form").hidden = true;
  element("drop").hidden = false;
  const classes = model.class_names;
  const named = classes.slice(0, 8).join(", ") + (classes.length > 8 ? ", ..." : "");
  element("model").textContent = `${model.name}: ${model.backbone}, ${classes.length} classes (${named})`;
  element("limit").textContent = `up to ${model.max_bytes / 1e6} MB and ${Math.round(model.max_pixels / 1e6)} megapixels`;
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;

function answer(found) {
  if (found.ood) return `None of these? Else ${found.predicted}, ${percent(found.probability)}`;
  if (Array.isArray(found.predicted)) return found.predicted.join(", ") || "none of the classes";
  return `${found.predicted}, ${percent(found.probability)}`;
}

function notes(found) {
  const lines = [];
  if (found.ood) lines.push(make("p", { class: "unlike" }, "The picture is unlike those that the model was validated on."));
  const set = found.prediction_set || [];
  if (set.length > 1 && set.length <= MOST_CLASSES) lines.push(make("p", { class: "dim" }, `Not told apart: ${set.join(", ")}`));
  return lines;
}

function classRow(name, share, pressed, press) {
  const bar = make("span", {});
  bar.style.width = `${100 * share}%`;
  const inside = [make("span", { class: "name" }, name), make("span", { class: "share" }, percent(share)),
    make("span", { class: "bar", "aria-hidden": "true" }, bar)];
  if (!press) return make("li", {}, make("div", { class: "class" }, ...inside));
  const button = make("button", { class: "class", type: "button", "aria-pressed": String(pressed), title: `Heat map of ${name}` }, ...inside);
  button.addEventListener("click", press);
  return make("li", {}, button);
}

function near(found) {
  if (!found.nearest || !found.nearest.length) return [];
  const shown = found.nearest.map((each) => make("figure", {},
    make("img", { src: each.picture, alt: `Training picture ${each.file}`, title: each.file }),
    make("figcaption", {}, `${each.label}, similarity ${each.similarity.toFixed(2)}`)));
  return [make("h3", {}, "Nearest training pictures"), make("div", { class: "near" }, ...shown)];
}

function fill(card, file, found) {
  const explains = !model.why_no_heat_map;
  const picture = make("img", { alt: `Your picture ${file.name}` });
  const caption = make("figcaption", {}, file.name);
  if (found.heat_map || found.picture) {
    picture.src = found.heat_map || found.picture;
    caption.textContent = found.heat_map ? `What speaks for ${found.explained}, in the part of ${file.name} that the model sees`
      : `Nothing in ${file.name} speaks for ${found.explained}`;
  } else {
    const address = URL.createObjectURL(file);
    picture.src = address;
    picture.onload = picture.onerror = () => URL.revokeObjectURL(address);
  }
  const ranked = Object.entries(found.probabilities).sort((a, b) => b[1] - a[1]);
  const rows = ranked.slice(0, MOST_CLASSES).map(([name, share]) =>
    classRow(name, share, name === found.explained, explains ? () => classify(file, card, name) : null));
  const more = ranked.length > MOST_CLASSES ? [make("p", { class: "dim" }, `and ${ranked.length - MOST_CLASSES} less probable classes`)] : [];
  const list = make("ol", { "aria-label": "Classes by probability" }, ...rows);
  card.replaceChildren(make("figure", {}, picture, caption),
    make("div", {}, make("h2", { class: "answer" }, answer(found)), ...notes(found), list, ...more, ...near(found)));
}

async function classify(file, card = null, label = null) {
  element("error").textContent = "";
  if (file.size > model.max_bytes) {
    element("error").textContent = `${file.name} has more than ${model.max_bytes / 1e6} MB.`;
    return;
  }
  element("status").textContent = `Looking at ${file.name} ...`;
  const wanted = new URLSearchParams();
  if (label !== null) wanted.set("label", label);
  else if (!model.why_no_heat_map) wanted.set("explain", "true");
  if (!model.why_none_near) wanted.set("nearest", "true");
  const kind = file.type.startsWith("image/") ? file.type : "application/octet-stream";
  try {
    const found = await ask(`/api/predict?${wanted}`, { method: "POST", body: file, headers: { "Content-Type": kind } });
    const target = card || make("article", { tabindex: "-1" });
    target.setAttribute("aria-label", `Answer for ${file.name}`);
    fill(target, file, found);
    if (card) card.querySelector("[aria-pressed=true]")?.focus();
    else element("results").prepend(target);
    while (element("results").children.length > MOST_CARDS) element("results").lastChild.remove();
    element("status").textContent = `${file.name}: ${answer(found)}`;
  } catch (error) {
    element("status").textContent = "";
    element("error").textContent = `${file.name}: ${error.message}`;
  }
}

async function classifyAll(files) {
  if (model === null) return;
  for (const file of [...files]) await classify(file);
}

for (const id of ["file", "camera"]) {
  element(id).addEventListener("change", async (event) => {
    const files = [...event.target.files];
    event.target.value = ""; // the same file may be chosen again
    await classifyAll(files);
  });
}
const drop = element("drop");
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  classifyAll(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => classifyAll(event.clipboardData.files));
element("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = element("token").value.trim();
  sessionStorage.setItem("token", token);
  open();
});
element("camera-label").hidden = !matchMedia("(pointer: coarse)").matches; // a desktop's browser ignores capture
open();
