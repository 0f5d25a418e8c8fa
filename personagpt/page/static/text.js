// Functions of all pages. They insert text as text only (textContent, value), never as markup.
"use strict";

const element = (id) => document.getElementById(id);

// Show a mark in place of characters that change the direction of the text after them.
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
    throw new Error("the server does not answer: is it still running?");
  }
  const text = await answer.text();
  let received = { problem: text };
  try {
    received = JSON.parse(text);
  } catch {
    // access control answers with a line of text
  }
  if (!answer.ok) throw Object.assign(new Error(received.problem), { status: answer.status });
  return received;
}

// Do what a button is for, and show a problem.
async function act(action) {
  try {
    tell("");
    await action();
  } catch (error) {
    tell(error.message, true);
  }
}

// Bring the newest utterance into sight, and the line to type in with it. `log` scrolls, and so does the page.
function showNewest() {
  element("log").scrollTop = element("log").scrollHeight;
  element("say").scrollIntoView({ block: "nearest" });
}

// Make the form that flags a reply. `save` gets the turn's number, the kinds and the note.
function flagForm(kinds, number, flags, save) {
  const given = flags.map((flag) => flag.kind);
  const summary = make("summary", { textContent: given.length ? "Flagged: " + given.join(", ") : "Flag this reply" });
  const field = make("fieldset", {}, make("legend", { textContent: "What is wrong with this reply?" }));
  for (const [kind, meaning] of Object.entries(kinds)) {
    const box = make("input", { type: "checkbox", value: kind, checked: given.includes(kind) });
    const explained = make("span", { className: "meaning", textContent: ` (${meaning})` });
    field.append(make("label", { className: "choice", title: meaning }, box, make("span", {}, kind, explained)));
  }
  const note = make("input", { type: "text", autocomplete: "off", dir: "auto", value: flags.length ? flags[0].note : "" });
  const button = make("button", { type: "submit", textContent: "Save" });
  button.setAttribute("aria-label", "Save the flags");
  note.setAttribute("aria-label", "Note");
  note.placeholder = "Note";
  const form = make("form", {}, field, make("div", { className: "row type" }, note, button));
  const details = make("details", {}, summary, form);
  details.id = "flags-" + number;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act(async () => {
      const kinds = [...field.querySelectorAll(":checked")].map((box) => box.value);
      await save({ turn: number, kinds, note: note.value });
      tell(kinds.length ? "Flagged: " + kinds.join(", ") : "This reply has no flags now.");
      element("flags-" + number)?.firstElementChild.focus(); // the teaching page shows another question by now
    });
  });
  return details;
}
