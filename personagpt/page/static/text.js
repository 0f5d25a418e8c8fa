// What both pages use. Text goes into them as text only (textContent, value): never as markup.
"use strict";

const element = (id) => document.getElementById(id);

// Letters that turn the direction of what follows them are shown as a mark.
const plain = (text) => text.replace(/[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]/g, "\ufffd");

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function words(text) {
  return make("p", { className: "words", dir: "auto", textContent: plain(text) });
}

function tell(text, isProblem = false) {
  element("status").textContent = plain(text);
  element("status").className = isProblem ? "problem" : "";
}

async function ask(method, path, content) {
  let answer;
  try {
    answer = await fetch("api/" + path, {
      method,
      headers: { "content-type": "application/json" },
      body: method === "POST" ? JSON.stringify(content) : undefined,
    });
  } catch {
    throw new Error("the page's program does not answer: is it still running?");
  }
  const text = await answer.text();
  let found = { problem: text };
  try {
    found = JSON.parse(text);
  } catch {
    // a line of text, from before the page
  }
  if (!answer.ok) throw new Error(found.problem);
  return found;
}

// What a button does: problems are told, and nothing is done twice.
async function act(action) {
  try {
    tell("");
    await action();
  } catch (error) {
    tell(error.message, true);
  }
}

// The form with which a reply is flagged; `save` is given what is marked: the kinds, and a note.
function flagForm(kinds, number, flags, save) {
  const given = flags.map((flag) => flag.kind);
  const summary = make("summary", { textContent: given.length ? "Flagged: " + given.join(", ") : "Flag it" });
  const field = make("fieldset", {}, make("legend", { textContent: "What is wrong with this reply?" }));
  for (const [kind, meaning] of Object.entries(kinds)) {
    const box = make("input", { type: "checkbox", value: kind, checked: given.includes(kind) });
    field.append(make("label", { className: "choice" }, box, `${kind} (${meaning})`));
  }
  const note = make("input", { type: "text", autocomplete: "off", dir: "auto", value: flags.length ? flags[0].note : "" });
  const button = make("button", { type: "submit", textContent: "Save the flags" });
  const form = make("form", {}, field, make("label", {}, "Note", note), button);
  const details = make("details", {}, summary, form);
  details.id = "flags-" + number;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act(async () => {
      const kinds = [...field.querySelectorAll(":checked")].map((box) => box.value);
      await save({ turn: number, kinds, note: note.value });
      tell(kinds.length ? "Flagged: " + kinds.join(", ") : "No flag on this reply any more");
      element("flags-" + number).firstElementChild.focus();
    });
  });
  return details;
}
