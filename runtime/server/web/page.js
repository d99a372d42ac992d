// The page at `/`: a frame or a clip is dropped, a bundle is asked, and its block is shown while it fills in.
// The token comes behind the # of the address, which a browser sends to nobody.
"use strict";

const at = (id) => document.getElementById(id);
const token = new URLSearchParams(location.hash.slice(1)).get("token") || "";
const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
const models = new Map();
let shown = null; // an <img>, or a <video> of which the frame that is seen is asked about

function say(text, wrong = false) {
  at("said").textContent = text;
  at("said").classList.toggle("wrong", wrong);
}

async function checked(answer) {
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  throw new Error(told ? told.error.message : `${answer.status} ${answer.statusText}`);
}

async function list() {
  const answer = await checked(await fetch("v1/models", { headers }));
  for (const model of (await answer.json()).data.filter((one) => one.a2d.words)) {
    models.set(model.id, model.a2d);
    at("model").add(new Option(model.id));
  }
  if (!models.size) throw new Error("No bundle of this server answers questions.");
  at("go").disabled = false;
}

function drop(file) {
  if (!file) return;
  if (shown) URL.revokeObjectURL(shown.src);
  const clip = file.type.startsWith("video/");
  shown = document.createElement(clip ? "video" : "img");
  shown.src = URL.createObjectURL(file);
  if (clip) Object.assign(shown, { controls: true, muted: true });
  shown.onclick = (event) => event.preventDefault();
  shown.addEventListener(clip ? "loadeddata" : "load", ask, { once: true });
  shown.onerror = () => say("This file cannot be shown by the browser; save a frame of it as PNG.", true);
  if (!clip) shown.alt = file.name;
  at("drop").classList.add("full");
  at("drop").firstElementChild.replaceWith(shown);
}

function pixels() {
  const canvas = document.createElement("canvas");
  canvas.width = shown.videoWidth || shown.naturalWidth;
  canvas.height = shown.videoHeight || shown.naturalHeight;
  canvas.getContext("2d").drawImage(shown, 0, 0);
  return canvas.toDataURL("image/png");
}

function request() {
  const id = at("model").value, own = models.get(id);
  const prompt = at("prompt").value || own.question || "";
  if (!prompt) throw new Error("Write what to ask: this bundle has no question of its own.");
  if (!own.chat) return { model: id, prompt };
  const image = shown && own.images ? [{ type: "image_url", image_url: { url: pixels() } }] : [];
  return { model: id, messages: [{ role: "user", content: [...image, { type: "text", text: prompt }] }] };
}

function block(index) {
  const id = `block-${index}`;
  if (!at(id)) at("blocks").append(Object.assign(document.createElement("div"), { id, className: "block" }));
  return at(id);
}

function draw(step, final) {
  const row = block(step.block);
  row.dataset.final = final;
  row.replaceChildren(...step.tokens.map((token, i) => {
    const cell = document.createElement("span");
    cell.className = "cell" + (token === null ? "" : " set") + (!final && step.accepted.includes(i) ? " new" : "");
    cell.textContent = token === null ? "·" : step.pieces[i] ? step.pieces[i].replace(/^\s+$/, "␣") : "∎";
    cell.style.setProperty("--p", step.confidence[i] ?? 0);
    cell.title = token === null ? "masked" : `token ${token}, ${Math.round(100 * (step.confidence[i] ?? 0))} %`;
    return cell;
  }));
}

const heard = {
  "answer.begin": (said) => say(`${said.prompt_tokens} prompt tokens`),
  "block.delta": (step) => draw(step, false),
  "block.commit": (step) => { draw(step, true); at("text").textContent += step.text; },
  "answer.end": (end) => {
    at("text").textContent = end.text || "(no text)";
    say(`${end.tokens.length} tokens in ${end.forwards} forwards, ${end.seconds.toFixed(2)} s (${end.stop_reason})`);
  },
  error: (told) => say(told.error.message, true),
};

async function read(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = "", part; !(part = await reader.read()).done;) {
    const events = (text + part.value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const lines = Object.fromEntries(event.split("\n").map((line) => [line.split(":", 1)[0], line.slice(line.indexOf(":") + 2)]));
      if (lines.event) heard[lines.event]?.(JSON.parse(lines.data));
    }
  }
}

let asking = null;

async function ask() {
  asking?.abort();
  const mine = asking = new AbortController();
  at("blocks").replaceChildren();
  at("text").textContent = "";
  say("…");
  try {
    const body = JSON.stringify(request());
    const answer = await fetch("v1/a2d/blocks", { method: "POST", headers, body, signal: mine.signal });
    await read((await checked(answer)).body);
  } catch (error) {
    if (mine === asking && error.name !== "AbortError") say(error.message, true);
  }
}

at("ask").onsubmit = (event) => { event.preventDefault(); ask(); };
at("file").onchange = () => drop(at("file").files[0]);
for (const name of ["dragenter", "dragover"]) addEventListener(name, (event) => { event.preventDefault(); at("drop").classList.add("over"); });
for (const name of ["dragleave", "drop"]) addEventListener(name, () => at("drop").classList.remove("over"));
addEventListener("drop", (event) => { event.preventDefault(); drop(event.dataTransfer.files[0]); });
list().catch((error) => say(error.message, true));
