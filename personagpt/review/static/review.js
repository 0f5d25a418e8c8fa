// The review of recorded talks: label replies with the keyboard, and at the end see where reviewers disagree.
"use strict";

let kinds = {}; // the kinds of failure and their meanings
let state = null; // the talk that is read, and how far the reviewer is
let judged = []; // the numbers of the turns that are labelled
let place = 0; // the index in `judged` of the reply that is labelled now
let done = []; // for each step in this talk, {turn, kinds, note}: the labels and the note before it
let busy = Promise.resolve(); // actions one after another, however fast the keys are

const title = (names) => (names.length ? names.join(", ") : "fine");
const given = (turn) => state.talk.labels[turn] || [];
const noted = (turn) => state.talk.notes[turn] || "";

function show(next) {
  const before = state?.talk;
  const isNew = before?.id !== next.talk?.id || before?.turns.length !== next.talk?.turns.length;
  state = next;
  element("progress").max = Math.max(state.total, 1);
  element("progress").value = state.done;
  element("count").textContent = `${state.done} of ${state.total} talks`;
  element("reading").hidden = !state.talk;
  element("done").hidden = Boolean(state.talk) || state.closed;
  if (!state.talk) {
    element("reopen").hidden = !state.can_reopen;
    element("thanks").hidden = element("look").hidden = !state.done;
    element("done-title").textContent = state.done ? "You have read all talks" : "There is no talk left for you to read";
    return state.closed ? look() : element("done-title").focus();
  }
  if (isNew) {
    done = kept(state.talk.id);
    judged = state.talk.turns.map((turn, number) => (turn.judged ? number : -1)).filter((number) => number >= 0);
    place = 0;
    const facts = state.talk.persona.map((text) => make("li", { dir: "auto", textContent: plain(text) }));
    element("persona").replaceChildren(...facts);
    element("persona").parentElement.hidden = !facts.length;
  }
  draw();
}

function draw() {
  const now = judged[place];
  element("talk").replaceChildren(...state.talk.turns.map((turn, number) => turnItem(turn, number, now)));
  const labels = given(now);
  const focused = [...element("kinds").children].indexOf(document.activeElement);
  element("kinds").replaceChildren(...Object.entries(kinds).map(([kind, meaning], number) => {
    const button = make("button", { type: "button", title: meaning }, make("kbd", { textContent: number + 1 }), ` ${kind}`);
    button.append(make("span", { className: "meaning", textContent: ` (${meaning})` }));
    button.setAttribute("aria-pressed", String(labels.includes(kind)));
    button.addEventListener("click", () => toggle(kind));
    return button;
  }));
  if (focused >= 0) element("kinds").children[focused].focus();
  if (document.activeElement !== element("note")) element("note").value = noted(now);
  element("place").textContent = `Reply ${place + 1} of ${judged.length}: ${labels.join(", ") || "no label"}`;
  const isLast = place === judged.length - 1;
  element("next").textContent = isLast ? "Finish this talk (Enter)" : "Next reply (Enter)";
  element("back").disabled = place === 0;
  element("undo").disabled = !done.length && !state.can_reopen;
  const current = element("talk").querySelector("[aria-current]");
  element("log").scrollTop = current.offsetTop - element("log").offsetTop - 100;
}

function turnItem(turn, number, now) {
  const item = make("li", { className: turn.judged ? "model" : "human" });
  item.append(make("span", { className: "who", textContent: turn.judged ? "The speaker" : "The other" }), words(turn.text));
  if (number === now) item.setAttribute("aria-current", "true");
  if (turn.judged && given(number).length) {
    const note = noted(number) ? `: ${plain(noted(number))}` : "";
    item.append(make("p", { className: "labels", textContent: title(given(number)) + note }));
  }
  return item;
}

// The steps of a talk outlast a reload of the page.
function kept(talk) {
  try {
    const { id, steps } = JSON.parse(sessionStorage.getItem("done"));
    return id === talk ? steps : [];
  } catch {
    return []; // nothing is kept
  }
}

function keep() {
  sessionStorage.setItem("done", JSON.stringify({ id: state.talk.id, steps: done }));
}

// Do actions one after another: a key that comes while the server still answers waits.
function queue(action) {
  busy = busy.then(() => act(async () => {
    try {
      await action();
    } catch (error) {
      if (![404, 409].includes(error.status)) throw error;
      // Somebody deleted the talk or went on with it, or the reviewer went on in another window.
      show(await ask("GET", "review"));
      throw new Error(`${error.message}: your review goes on here`);
    }
  }));
  return busy;
}

async function set(turn, labels, note) {
  const saved = await ask("POST", "review/label", { talk: state.talk.id, turn, kinds: labels, note });
  state.talk.labels[turn] = labels;
  state.talk.notes[turn] = labels.length ? saved.note : "";
  draw();
}

// Change the labels or the note of a reply, so that it can be undone.
async function change(turn, labels, note) {
  const before = { turn, kinds: given(turn), note: noted(turn) };
  await set(turn, labels, note);
  done.push(before);
  keep();
  element("undo").disabled = false;
}

function toggle(kind) {
  queue(async () => {
    if (!state.talk) return;
    const turn = judged[place];
    const before = given(turn);
    const labels = before.includes(kind) ? before.filter((other) => other !== kind) : [...before, kind];
    await change(turn, labels, noted(turn));
  });
}

// Record the note that was typed about this reply. A note without a label is about another kind of failure.
function writeNote() {
  const { talk } = state;
  const turn = judged[place];
  const note = element("note").value;
  queue(async () => {
    if (state.talk !== talk || note === noted(turn)) return;
    await change(turn, given(turn).length ? given(turn) : ["other"], note);
  });
}

function next() {
  queue(async () => {
    if (!state.talk) return;
    if (place < judged.length - 1) {
      place += 1;
      return draw();
    }
    show(await ask("POST", "review/finish", { talk: state.talk.id, turns: state.talk.turns.length }));
  });
}

function back() {
  queue(async () => {
    if (!state.talk || place === 0) return;
    place -= 1;
    draw();
  });
}

function toNote() {
  element("note").focus();
}

// Take back the last label; where there is none in this talk, go back to the end of the talk before.
function undo() {
  queue(async () => {
    if (state.talk && done.length) {
      const { turn, kinds: before, note } = done[done.length - 1];
      place = judged.indexOf(turn);
      await set(turn, before, note);
      done.pop();
      keep();
      return draw();
    }
    if (!state.can_reopen) return;
    show(await ask("POST", "review/reopen", {}));
    place = judged.length - 1;
    draw();
  });
}

async function look() {
  const found = await ask("POST", "review/result", {});
  element("done").hidden = true;
  element("result").hidden = false;
  const number = (value) => (value === undefined ? "-" : value.toFixed(2));
  element("agreement").tBodies[0].replaceChildren(...Object.entries(found.agreement).map(([kind, figure]) => {
    const interval = figure.low === undefined ? "-" : `${number(figure.low)} to ${number(figure.high)}`;
    const cells = [figure.labelled, figure.disagreed, number(figure.alpha), interval];
    const name = make("th", { scope: "row", textContent: kind });
    return make("tr", {}, name, ...cells.map((cell) => make("td", { textContent: cell })));
  }));
  element("agreement").hidden = !found.talks;
  element("summary").textContent = found.talks
    ? `Of the talks that you read, ${found.talks} have been read by another reviewer, too. Replies with different labels: `
      + `${found.disagreements.length}.`
    : "No other reviewer has finished one of your talks yet. Open this page again later.";
  element("disagreements").replaceChildren(...found.disagreements.map((reply) => {
    const theirs = reply.theirs.map((labels) => title(labels)).join("; ");
    const item = make("li", {});
    if (reply.before) item.append(make("span", { className: "who", textContent: "The other" }), words(reply.before));
    item.append(make("span", { className: "who", textContent: "The speaker" }), words(reply.text));
    item.append(make("p", { className: "labels", textContent: `You: ${title(reply.yours)}. Others: ${theirs}.` }));
    return item;
  }));
  element("result-title").focus();
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target === element("note") && event.key !== "Enter") {
    if (event.key === "Escape") element("note").blur();
    return;
  }
  const onButton = event.target instanceof HTMLButtonElement && !element("kinds").contains(event.target);
  const kind = Object.keys(kinds)[Number(event.key) - 1];
  const keys = { ArrowRight: next, ArrowLeft: back, u: undo, U: undo, n: toNote, N: toNote };
  if (!onButton) keys.Enter = next; // Enter presses such a button; a label's button has the space bar
  const action = kind ? () => toggle(kind) : keys[event.key];
  if (!action || !element("result").hidden) return;
  event.preventDefault();
  element("note").blur(); // a typed note is recorded first
  action();
}

act(async () => {
  kinds = (await ask("GET", "start")).kinds;
  element("next").addEventListener("click", next);
  element("back").addEventListener("click", back);
  element("undo").addEventListener("click", undo);
  element("note").addEventListener("change", writeNote);
  element("reopen").addEventListener("click", undo);
  element("look").addEventListener("click", () => queue(look));
  document.addEventListener("keydown", pressed);
  show(await ask("GET", "review"));
});
