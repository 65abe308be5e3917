"use strict";
// Everything shown is set as text, never as HTML: no text of a topic or document can become markup.

const THEMES = ["auto", "light", "dark"];

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const button = document.getElementById("theme");
  if (button) button.textContent = `Theme: ${theme}`;
}

function storedTheme() {
  // A page opened from a file may be refused storage: the choice then lasts as long as the page.
  try { return localStorage.getItem("expandr-theme") || "auto"; } catch (refused) { return "auto"; }
}

function keepTheme(theme) {
  try { localStorage.setItem("expandr-theme", theme); } catch (refused) { say("The browser does not keep this choice."); }
}

let theme = storedTheme();
setTheme(theme);

function element(name, options = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  for (const child of children.flat()) if (child !== null) made.append(child);
  return made;
}

let saying = 0;
function say(text) {
  const box = document.getElementById("said");
  box.textContent = text;
  clearTimeout(saying);
  saying = setTimeout(() => { box.textContent = ""; }, 2500);
}

// Copying ------------------------------------------------------------------------------------------------------------

async function copy(button) {
  const code = button.closest(".command").querySelector("code");
  const range = document.createRange();
  range.selectNodeContents(code);
  let copied = false;
  if (navigator.clipboard) copied = await navigator.clipboard.writeText(code.textContent).then(() => true, () => false);
  if (!copied) {
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    copied = document.execCommand("copy");
  }
  button.textContent = copied ? "Copied" : "Selected";
  say(copied ? "Command copied" : "The browser refuses to copy: the command is selected, press Ctrl+C");
  setTimeout(() => { button.textContent = "Copy"; }, 2500);
}

// Sorting ------------------------------------------------------------------------------------------------------------

function sortBy(header) {
  const table = header.closest("table");
  const body = table.tBodies[0];
  const original = table.originalRows ||= [...body.rows];
  const headers = [...table.tHead.querySelectorAll("th:has(.sort)")];
  const column = headers.indexOf(header) + original[0].cells.length - headers.length;
  const next = { descending: "ascending", ascending: null }[header.getAttribute("aria-sort")];
  const order = next === undefined ? "descending" : next;
  for (const one of headers) one.removeAttribute("aria-sort");
  if (order) header.setAttribute("aria-sort", order);
  const key = (row) => row.cells[column].textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [parseFloat(key(a)), parseFloat(key(b))];
    if (Number.isNaN(x) && Number.isNaN(y)) return key(a).localeCompare(key(b)) * (order === "descending" ? 1 : -1);
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return order === "descending" ? y - x : x - y;
  };
  body.append(...(order ? [...original].sort(compare) : original));
}

// Topics in full -----------------------------------------------------------------------------------------------------

const collections = new Map();

function readTopics() {
  for (const script of document.querySelectorAll("script.topics")) {
    const data = JSON.parse(script.textContent);
    data.byName = new Map(data.conditions.map((one) => [one.name, one]));
    collections.set(data.collection, data);
  }
}

function address(data, topicId, condition) {
  return "#topic/" + [data.collection, topicId, condition].map(encodeURIComponent).join("/");
}

function signed(value) {
  const text = (Math.abs(value) < 5e-5 ? 0 : value).toFixed(4);
  return value >= 0 || text === "0.0000" ? `+${text.replace("-", "")}` : text;
}

function change(value) {
  return element("span", { class: `change ${value > 0 ? "gain" : value < 0 ? "loss" : "none"}` }, signed(value));
}

function grade(topic, docId) {
  const value = topic.grades[docId];
  if (value === undefined) return element("span", { class: "grade no" }, "not judged");
  if (value > 0) return element("span", { class: "grade yes" }, `✓ relevant (${value})`);
  return element("span", { class: "grade no" }, `judged not relevant (${value})`);
}

function moved(docId, rank, before) {
  if (!before) return null;
  const was = before.indexOf(docId) + 1;
  const text = was === 0 ? "new" : was === rank ? "=" : was > rank ? `↑ ${was - rank}` : `↓ ${rank - was}`;
  const words = was === 0 ? `not among the first ${before.length} before` : `rank ${was} before`;
  return element("td", { class: "move", title: words }, text);
}

function ranking(data, topic, condition, heading, before) {
  const docs = topic.tops[condition] || [];
  const rows = docs.map((docId, at) => {
    const [title, text] = data.documents[docId] || ["", ""];
    const what = element("td", {},
      element("div", {}, grade(topic, docId), " ", element("span", { class: "doc-id" }, docId)),
      title ? element("div", { class: "doc-title", dir: "auto" }, title) : null,
      element("div", { class: "doc-text", dir: "auto" }, text));
    const relevant = topic.grades[docId] > 0 ? { class: "relevant" } : {};
    return element("tr", relevant, element("th", { scope: "row" }, String(at + 1)), moved(docId, at + 1, before), what);
  });
  const names = before ? [["rank", ""], ["moved", "move"], ["document", "wide"]] : [["rank", ""], ["document", "wide"]];
  const head = element("thead", {}, element("tr", {},
    names.map(([name, kind]) => element("th", { scope: "col", class: kind }, name))));
  const value = topic.values[condition];
  return element("div", {},
    element("h3", {}, `${heading}: `, element("bdi", {}, condition), ` ${value.toFixed(4)}`),
    docs.length ? element("table", { class: "ranking" }, head, element("tbody", {}, rows)) : element("p", {}, "No document."));
}

function texts(topic, condition) {
  const found = topic.expansions[condition];
  if (!found) return null;
  const items = found.map((text) => text.trim()
    ? element("li", { dir: "auto" }, text)
    : element("li", { class: "none" }, "(written, and empty: the topic was searched without it)"));
  return element("div", { class: "columns" }, element("div", {},
    element("h3", {}, found.length === 1 ? "Expansion" : "Expansions"), element("ul", { class: "texts" }, items)));
}

function values(data, id, topic, now) {
  const items = Object.entries(topic.values).sort((a, b) => b[1] - a[1]).map(([name, value]) =>
    element("li", name === now ? { class: "now" } : {},
      element("a", { href: address(data, id, name), dir: "auto" }, name), element("span", {}, value.toFixed(4))));
  return element("div", { class: "columns" }, element("div", {},
    element("h3", {}, `${data.metric} of this topic under every condition`), element("ul", { class: "all-values" }, items)));
}

function showTopic(data, id, condition) {
  const topic = data.topics[id];
  const baseline = data.byName.get(condition).baseline;
  const ids = Object.keys(data.topics).sort((a, b) => gain(data, b, condition) - gain(data, a, condition));
  const at = ids.indexOf(id);
  const step = (to, label) => to === undefined ? element("span", { class: "kind" }, label)
    : element("a", { href: address(data, to, condition) }, label);
  const choice = element("select", { "aria-label": "Condition" }, data.conditions.map((one) =>
    element("option", one.name === condition ? { value: one.name, selected: "" } : { value: one.name }, one.name)));
  choice.addEventListener("change", () => { location.hash = address(data, id, choice.value); });
  const difference = baseline ? topic.values[condition] - topic.values[baseline] : null;
  const columns = element("div", { class: "columns" },
    baseline ? ranking(data, topic, baseline, "Before", null) : null,
    ranking(data, topic, condition, baseline ? "After" : "Ranking", baseline ? topic.tops[baseline] || [] : null));
  const view = document.getElementById("topic");
  view.replaceChildren(
    element("nav", { "aria-label": "Topics" },
      element("a", { href: "#results", class: "back" }, "← All results"), choice,
      step(ids[at - 1], "Previous topic"), step(ids[at + 1], "Next topic"),
      element("span", { class: "kind" }, `${at + 1} of ${ids.length}, by their change under this condition`)),
    element("h2", { dir: "auto" }, topic.text || id),
    element("p", { class: "facts-line" }, `topic ${id} · ${topic.relevant} relevant document${topic.relevant === 1 ? "" : "s"} · ${data.metric} `,
      element("b", {}, topic.values[condition].toFixed(4)), difference === null ? null : " ",
      difference === null ? null : change(difference), baseline ? ` to ${baseline}` : null),
    texts(topic, condition) || "", columns, values(data, id, topic, condition));
}

function gain(data, id, condition) {
  const baseline = data.byName.get(condition).baseline;
  const values = data.topics[id].values;
  return values[condition] - (baseline ? values[baseline] : 0);
}

function route() {
  const view = document.getElementById("topic");
  const parts = location.hash.startsWith("#topic/") ? location.hash.slice(7).split("/").map(decodeURIComponent) : null;
  const data = parts ? collections.get(parts[0]) : null;
  const known = data && Object.hasOwn(data.topics, parts[1]) && data.byName.has(parts[2]);
  view.hidden = !parts;
  document.getElementById("main").hidden = Boolean(parts);
  if (parts) {
    if (known) showTopic(data, parts[1], parts[2]);
    else view.replaceChildren(element("p", {}, "This topic is not shown in full. ", element("a", { href: "#results" }, "All results")));
    scrollTo(0, 0);
    view.focus({ preventScroll: true });
    return;
  }
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.tagName === "DETAILS") target.open = true;
  target.scrollIntoView();
}

document.addEventListener("DOMContentLoaded", () => {
  setTheme(theme);
  readTopics();
  document.getElementById("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    setTheme(theme);
    keepTheme(theme);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.matches(".copy")) copy(button);
    if (button.matches(".sort")) sortBy(button.closest("th"));
    if (button.matches(".open-all, .close-all")) {
      for (const one of button.closest("section").querySelectorAll("details.condition")) one.open = button.matches(".open-all");
    }
  });
  addEventListener("hashchange", route);
  route();
});
