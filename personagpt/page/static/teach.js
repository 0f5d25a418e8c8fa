// The teaching page: the model's replies in a talk, to accept, to choose from, to better, or to flag.
"use strict";

let kinds = {}; // the kinds of flag and their meanings
let asked = []; // the questions so far, each with its answer
let waits = ""; // why the last question has no successor yet: "drawing", "none", or empty if it waits for an answer
let place = 0; // the index in `asked` of the question that is shown; asked.length shows that there is none yet
let timer = 0; // of the next look for a question
let busy = false; // an answer is on its way, and keys and buttons wait

const last = () => asked.length - (waits ? 0 : 1);
const shown = () => asked[place];

function take(received) {
  asked.splice(received.from, asked.length, ...received.asked);
  waits = received.waits;
  element("shares").textContent = received.shares;
  const marks = asked.filter((one) => one.answer === "accepted" || one.answer === "replaced");
  element("marks").replaceChildren(...marks.map((one) => {
    return make("span", { className: one.answer, textContent: one.answer === "accepted" ? "+" : "−" });
  }));
  look();
}

// While the model draws replies, look for a question every second. The question that is shown stays as it is.
function look() {
  clearTimeout(timer);
  if (waits !== "drawing") return;
  timer = setTimeout(async () => {
    const isWaiting = !shown();
    try {
      take(await ask("GET", "teach"));
      if (isWaiting && (shown() || waits === "none")) draw();
    } catch (error) {
      tell(error.message, true);
      look();
    }
  }, 1000);
}

// Show question `number`. The address has it, so that a reload and the browser's back button find it.
function go(number) {
  history.pushState(null, "", `#${number + 1}`);
  draw();
}

function draw() {
  place = Math.min(Math.max(Number(location.hash.slice(1)) || last() + 1, 1) - 1, last());
  const question = shown();
  element("asking").hidden = !question;
  element("waiting").hidden = Boolean(question);
  if (!question) {
    element("waiting-title").textContent = waits === "drawing"
      ? "The model draws replies ..."
      : "No question is left. Thank you. Who runs this page can start it again for other questions.";
    element("last").hidden = !asked.length;
    return element("waiting-title").focus();
  }
  element("persona").replaceChildren(...question.persona.map((text) => make("li", { dir: "auto", textContent: plain(text) })));
  element("persona").parentElement.hidden = !question.persona.length;
  element("talk").replaceChildren(...question.turns.map((turn) => {
    const who = turn.speaker === "model" ? "The model" : "The other";
    return make("li", { className: turn.speaker }, make("span", { className: "who", textContent: who }), words(turn.text));
  }));
  const isFlagged = question.flags.length > 0;
  element("replies").replaceChildren(...question.replies.map((text, number) => {
    const button = make("button", { type: "button" }, make("kbd", { textContent: number + 1 }));
    button.append(make("span", { className: "words", dir: "auto", textContent: plain(text) }));
    button.setAttribute("aria-pressed", String(text === question.text && !isFlagged));
    button.addEventListener("click", () => answer({ reply: number }));
    return button;
  }));
  const typed = question.replies.includes(question.text) ? "" : question.text;
  element("better").value = sessionStorage.getItem(question.id) ?? typed;
  const form = flagForm(kinds, place, question.flags, send);
  if (!isFlagged) form.firstElementChild.textContent = "No reply is right: flag reply 1";
  element("flagging").replaceChildren(form);
  element("skip").textContent = question.answer ? "Take the answer back (S)" : "Skip (S)";
  element("back").disabled = place === 0;
  element("next").hidden = place === last();
  element("log").scrollTop = element("log").scrollHeight;
  element("asking-title").focus();
}

// Send the answer to the question that is shown, and show the next question.
async function send(content) {
  if (busy) return;
  busy = true;
  try {
    const { id } = shown();
    take(await ask("POST", "teach/answer", { id, ...content }));
    sessionStorage.removeItem(id);
    go(place + 1);
  } finally {
    busy = false;
  }
}

const answer = (content) => act(() => send(content));
const skip = () => answer({ skip: true });
const back = () => place > 0 && go(place - 1);
const next = () => place < last() && go(place + 1);

// An empty line begins as reply 1, so that a person changes the wrong words only. What is typed replaces all of it.
function begin() {
  const line = element("better");
  if (line.value) return;
  line.value = shown().replies[0]; // not plain(), whose marks would become part of a correction
  line.select();
}

// A line that is still reply 1 accepts it.
function better() {
  const text = element("better").value;
  answer(text === shown().replies[0] ? { reply: 0 } : { text });
}

function openFlags() {
  const form = element("flagging").firstElementChild;
  form.open = true;
  form.querySelector("input").focus();
}

// Enter accepts the model's reply. If the question has an answer already, the answer stays, and Enter goes on.
const enter = () => (shown().answer ? next() : answer({ reply: 0 }));

function pressed(event) {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || busy) return;
  if (target instanceof HTMLInputElement) {
    if (key === "Escape") element("asking-title").focus();
    return;
  }
  const keys = { ArrowLeft: back, ArrowRight: next };
  if (shown()) {
    Object.assign(keys, { t: () => element("better").focus(), f: openFlags, s: skip });
    shown().replies.forEach((text, number) => { keys[number + 1] = () => answer({ reply: number }); });
    if (!target.closest("button, summary")) keys.Enter = enter; // Enter presses a button
  }
  const action = keys[key] || keys[key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
}

act(async () => {
  const start = await ask("GET", "start");
  kinds = start.flags;
  element("participant").textContent = start.participant;
  element("goal").hidden = !start.goal;
  element("goal").textContent = plain(`The goal of the reply: ${start.goal}`);
  for (const [id, action] of Object.entries({ back, last: back, next, skip })) element(id).addEventListener("click", action);
  element("say").addEventListener("submit", (event) => {
    event.preventDefault();
    better();
  });
  element("better").addEventListener("focus", begin);
  element("better").addEventListener("input", () => sessionStorage.setItem(shown().id, element("better").value));
  document.addEventListener("keydown", pressed);
  window.addEventListener("popstate", draw);
  take(await ask("GET", "teach"));
  if (!location.hash) history.replaceState(null, "", `#${last() + 1}`);
  draw();
});
