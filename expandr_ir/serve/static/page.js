"use strict";
// One page, one state: the form, the texts, two rankings. Foreign text reaches the page as text, never as markup.

const byId = (id) => document.getElementById(id);
const form = byId("form");
const fields = ["index", "query", "expander", "generator", "samples", "retriever", "aggregation", "repeats", "hits"];
const EDIT_PAUSE_MS = 300;
let names = null; // what the server allows
let running = null; // the AbortController of the work under way
let counted = ""; // the repeats that an expander counted for its texts
let edited = false; // whether a text is another one than the LLM's
let shown = null; // the rankings on the page, and the request that gave them

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// ---- the server

async function ask(path, body, signal) {
  const headers = { ...(body && { "Content-Type": "application/json" }) };
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  const options = { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) };
  const response = await fetch(path, options);
  if (response.ok) return response;
  const fault = await response.json().catch(() => ({ error: `the server answers ${response.status}` }));
  if (response.status === 401) {
    await askForToken();
    return ask(path, body, signal);
  }
  if (fault.progress && response.headers.has("Retry-After")) {
    const { work = "", done = 0, total } = fault.progress;
    say(`${fault.error}${work && `: ${work} ${done}`}${total ? ` of ${total}` : ""} …`);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    signal?.throwIfAborted();
    return ask(path, body, signal);
  }
  throw new Error([fault.error, fault.expected && `expected: ${fault.expected}`].filter(Boolean).join("; "));
}

const json = async (...request) => (await ask(...request)).json();

function askForToken() {
  const dialog = byId("token");
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      sessionStorage.setItem("token", byId("secret").value);
      byId("secret").value = "";
      resolve();
    }, { once: true });
  });
}

async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

// ---- the form

const value = (name) => byId(name).value.trim();
const chosenExpander = () => names.expanders.find((expander) => expander.name === value("expander"));

function fill(select, options, first) {
  const before = select.value;
  select.replaceChildren(...(first ? [new Option(first, "")] : []), ...options.map((name) => new Option(name, name)));
  if (options.includes(before)) select.value = before;
}

function adaptForm() {
  const retriever = value("retriever");
  const expander = chosenExpander();
  fill(byId("aggregation"), retriever === "hybrid" ? [] : names.aggregations[retriever].filter((name) => name !== "none"), "as the expander");
  const aggregation = value("aggregation") || expander?.aggregation[retriever] || "repeat";
  byId("repeats").disabled = retriever === "dense" || aggregation !== "repeat";
  byId("repeats").placeholder = expander?.repeats ?? "5";
  byId("samples").placeholder = expander?.samples ?? "";
  for (const name of ["generator", "samples"]) byId(name).disabled = !expander;
}

/** What the form asks for, empty fields left out; names of Python's JSON. */
function request() {
  const numbers = ["samples", "repeats", "hits"];
  const given = fields.filter((name) => value(name) && !byId(name).disabled);
  return Object.fromEntries(given.map((name) => [name, numbers.includes(name) ? Number(value(name)) : value(name)]));
}

const texts = () => [...document.querySelectorAll("#texts textarea")].map((area) => area.value).filter((text) => text.trim());

// ---- texts

function textArea(text = "", readOnly = false) {
  const area = element("textarea", { value: text, readOnly, maxLength: 20000, spellcheck: false });
  area.setAttribute("aria-label", `Text ${byId("texts").children.length + 1}`);
  const remove = element("button", { type: "button", textContent: "Remove" });
  const row = element("div", { className: "text" }, area, remove);
  remove.addEventListener("click", () => { row.remove(); onEdit(); });
  area.addEventListener("input", onEdit);
  byId("texts").append(row);
  return area;
}

let pause = 0;
function onEdit() {
  edited = true;
  clearTimeout(pause);
  pause = setTimeout(() => work((signal) => rank(signal)), EDIT_PAUSE_MS);
}

function showTexts(list) {
  byId("texts").replaceChildren();
  list.forEach((text) => textArea(text));
  byId("expansions").hidden = false;
}

async function write(signal) {
  const { index, query, expander, generator, samples } = request();
  if (value("repeats") === String(counted)) byId("repeats").value = counted = "";
  const areas = new Map();
  byId("texts").replaceChildren();
  byId("expansions").hidden = false;
  say(`${generator ?? "the LLM"} writes …`);
  for await (const event of lines(await ask("v1/expand", { index, query, expander, generator, samples }, signal))) {
    if (event.error) throw new Error(event.error);
    if (event.expansions) {
      showTexts(event.expansions.map(({ text }) => text));
      if (event.repeats && !value("repeats")) byId("repeats").value = counted = event.repeats;
      edited = false;
      return;
    }
    const place = `${event.call} ${event.sample}`;
    if (!areas.has(place)) areas.set(place, textArea("", true));
    const area = areas.get(place);
    area.classList.add("writing");
    area.value = event.text;
  }
  throw new Error("the stream of texts was broken off");
}

// ---- searches

function say(text, isFault = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("fault", isFault);
}

/** Runs one piece of work; what was under way before ends. */
async function work(act) {
  running?.abort();
  const mine = (running = new AbortController());
  byId("stop").hidden = false;
  try {
    await act(mine.signal);
  } catch (fault) {
    if (!mine.signal.aborted) say(fault.message, true);
  } finally {
    if (running === mine) {
      byId("stop").hidden = true;
      document.querySelectorAll("#texts textarea").forEach((area) => {
        area.readOnly = false;
        area.classList.remove("writing");
      });
    }
  }
}

/** The ranking of the query alone, and the one with the texts. */
async function rank(signal) {
  const asked = request();
  const { index, query, hits, retriever } = asked;
  const path = `v1/${encodeURIComponent(index)}/search`;
  const { index: _, generator: __, samples: ___, aggregation, repeats, ...rest } = asked;
  const expansions = texts();
  say("searching …");
  const search = expansions.length ? { ...rest, aggregation, repeats, expansions } : { query, hits, retriever };
  const [before, after] = await Promise.all([
    json(path, { query, hits, retriever }, signal),
    json(path, search, signal),
  ]);
  shown = { index, search, before, after, expansions };
  show();
  say("");
  history.replaceState(null, "", link());
}

async function start(signal) {
  if (value("expander")) await write(signal);
  else if (!edited) {
    byId("texts").replaceChildren();
    byId("expansions").hidden = false;
  }
  await rank(signal);
}

// ---- rankings

function show() {
  const { before, after, expansions } = shown;
  const ranks = (found) => new Map(found.candidates.map(({ docid, rank }) => [docid, rank]));
  byId("before-run").textContent = before.run;
  byId("after-run").textContent = expansions.length ? after.run : "no text yet: as before";
  const judged = before.query.topic_id !== null;
  const explained = value("retriever") !== "dense";
  byId("before").replaceChildren(...before.candidates.map((hit) => row(hit, null, judged, explained && [], !ranks(after).has(hit.docid))));
  byId("after").replaceChildren(...after.candidates.map((hit) => row(hit, ranks(before), judged, explained && expansions)));
  const relevant = (found) => found.candidates.filter(({ grade }) => grade > 0).length;
  const first = `of the first ${Math.max(before.candidates.length, after.candidates.length)} documents`;
  const entered = after.candidates.filter(({ docid }) => !ranks(before).has(docid)).length;
  byId("summary").textContent = before.candidates.length + after.candidates.length === 0 ? "Nothing was found."
    : judged ? `Relevant ${first}: ${relevant(before)} before, ${relevant(after)} after; new among them: ${entered}.`
    : `New ${first}: ${entered}; this query has no judgements.`;
  byId("result").hidden = false;
}

function row(hit, ranks, judged, expansions, leaves = false) {
  const title = element("span", { className: "title" }, hit.doc.title || hit.docid);
  if (ranks) title.append(moved(hit, ranks));
  if (leaves) title.append(element("span", { className: "move down", title: "not among the documents after" }, "↓ gone"));
  if (hit.grade !== null) {
    const is = hit.grade > 0;
    title.append(element("span", { className: is ? "grade relevant" : "grade" }, is ? `✓ relevant (${hit.grade})` : "✗ judged not relevant"));
  } else if (judged) title.append(element("span", { className: "grade" }, "not judged"));
  const summary = element("summary", {},
    element("span", { className: "rank" }, String(hit.rank)), title,
    element("span", { className: "score" }, hit.score.toFixed(3)),
    element("span", { className: "snippet" }, hit.doc.text.slice(0, 300)));
  const body = element("div", { className: "body" });
  const details = element("details", {}, summary, body);
  details.addEventListener("toggle", () => {
    if (!details.open || body.hasChildNodes()) return;
    body.append(element("pre", { className: "document" }, hit.doc.text));
    if (expansions) explain(hit, expansions, body);
  });
  const item = element("li", {}, details);
  item.dataset.docid = hit.docid;
  for (const [event, on] of [["mouseenter", true], ["focusin", true], ["mouseleave", false], ["focusout", false]]) {
    item.addEventListener(event, () => mark(hit.docid, on));
  }
  return item;
}

function moved(hit, ranks) {
  const before = ranks.get(hit.docid);
  const by = before - hit.rank;
  const [kind, text] = before === undefined ? ["up", "↑ new"] : by > 0 ? ["up", `↑ ${by}`] : by < 0 ? ["down", `↓ ${-by}`] : ["", "="];
  const label = before === undefined ? "not among the documents before" : `rank ${before} before`;
  return element("span", { className: `move ${kind}`, title: label }, text);
}

function mark(docid, on) {
  document.querySelectorAll("ol > li").forEach((item) => item.classList.toggle("same", on && item.dataset.docid === docid));
}

async function explain(hit, expansions, body) {
  const { query, retriever, ...rest } = shown.search;
  const asked = expansions.length ? { ...rest, query, retriever, expansions, docid: hit.docid } : { query, retriever, docid: hit.docid };
  try {
    const { terms } = await json(`v1/${encodeURIComponent(shown.index)}/explain`, asked);
    const most = Math.max(...terms.map(({ score }) => score));
    const rows = terms.map(({ word, term, origin, score }) => {
      const bar = element("span", { className: "bar" });
      bar.style.width = `${(100 * score) / most}%`;
      const name = element("th", { scope: "row", className: origin === "expansion" ? "added" : "", title: `term: ${term}` }, word);
      return element("tr", {}, name, element("td", {}, { query: "query", expansion: "added", both: "query and texts" }[origin]),
        element("td", {}, score.toFixed(3)), element("td", {}, bar));
    });
    body.prepend(element("table", { className: "terms" }, element("caption", {}, "What each word adds to the BM25 score"), element("tbody", {}, ...rows)));
  } catch (fault) {
    body.prepend(element("p", { className: "down" }, fault.message));
  }
}

// ---- links, commands, Python

function link() {
  const state = new URLSearchParams(Object.entries(request()).map(([name, given]) => [name, String(given)]));
  for (const text of texts()) state.append("text", text);
  if (edited) state.set("edited", "1");
  return `${location.pathname}#${state}`;
}

async function copy(event) {
  const kind = event.target.dataset.copy;
  const text = kind === "link" ? new URL(link(), location.href).href
    : (await json(`v1/${encodeURIComponent(shown.index)}/snippets`, shown.search))[kind];
  const area = element("textarea", { value: text, readOnly: true, className: "copied" });
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else { // pages that are neither local nor HTTPS have no clipboard
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(`The ${kind} is copied`);
}

// ---- start

function restore() {
  const state = new URLSearchParams(location.hash.slice(1));
  form.reset();
  for (const name of fields) {
    if (!state.has(name)) continue;
    byId(name).value = state.get(name);
    if (name === "expander" || name === "retriever") adaptForm();
  }
  adaptForm();
  edited = state.has("edited");
  if (!value("query")) return;
  const given = state.getAll("text");
  if (given.length) showTexts(given);
  work((signal) => (given.length ? rank(signal) : start(signal)));
}

async function showTopics() {
  const topics = await json(`v1/${encodeURIComponent(value("index"))}/topics`);
  byId("topics").replaceChildren(...topics.map(({ text }) => new Option(text, text)));
}

function nextTheme() {
  const themes = ["auto", "light", "dark"];
  setTheme(themes[(themes.indexOf(localStorage.getItem("theme") ?? "auto") + 1) % themes.length]);
}

function setTheme(theme) {
  localStorage.setItem("theme", theme);
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = `Theme: ${theme}`;
}

async function main() {
  setTheme(localStorage.getItem("theme") ?? "auto");
  byId("theme").addEventListener("click", nextTheme);
  form.addEventListener("submit", (event) => { event.preventDefault(); edited = false; work(start); });
  byId("stop").addEventListener("click", () => { running?.abort(); byId("stop").hidden = true; say("stopped"); });
  byId("add").addEventListener("click", () => textArea().focus());
  document.querySelectorAll("[data-copy]").forEach((button) => button.addEventListener("click", (event) => {
    copy(event).catch((fault) => say(fault.message, true));
  }));
  form.addEventListener("change", (event) => {
    adaptForm();
    if (["retriever", "aggregation", "repeats", "hits"].includes(event.target.id) && shown) work((signal) => rank(signal));
    if (event.target.id === "index") showTopics();
  });
  let indexes;
  [names, indexes] = await Promise.all([json("v1/expanders"), json("v1/indexes")]);
  fill(byId("index"), indexes);
  byId("index-label").hidden = indexes.length === 1;
  fill(byId("expander"), names.generators.length ? names.expanders.map(({ name }) => name) : [], "none: the query alone");
  fill(byId("generator"), names.generators);
  fill(byId("retriever"), names.retrievers);
  adaptForm();
  restore();
  await showTopics();
}

addEventListener("hashchange", restore);
main().catch((fault) => say(fault.message, true));
