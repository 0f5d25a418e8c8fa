// A blind study in a browser: consent, talk, questions, result.
"use strict";

const PARTNERS = ["person", "program"];
let start = null; // the answer of api/start: title, consent, number of turns, kinds of flag
let state = null; // the participant's newest view
let stream = null; // the events that bring new views
let drawn = ""; // the questions that the page shows; the study may begin again with others
let agreed = false; // whether the participant agreed since this page was opened; an earlier text may have differed

const paragraphs = (text) =>
  text.split(/\n\s*\n/).filter(Boolean).map((part) => make("p", { dir: "auto", textContent: plain(part) }));
const fact = (text) => make("li", { dir: "auto", textContent: plain(text) });

function show(view) {
  const before = state;
  if (before && view.time < before.time) return; // a newer view came first
  state = view;
  if (before && JSON.stringify({ ...view, time: 0 }) === JSON.stringify({ ...before, time: 0 })) return;
  const inTalk = ["talk", "gone"].includes(view.stage);
  element("start").hidden = view.stage !== "start";
  element("waiting").hidden = view.stage !== "waiting";
  element("result").hidden = view.stage !== "result";
  element("questions").hidden = view.stage !== "questions";
  element("talking").hidden = !inTalk && view.stage !== "questions";
  element("say").hidden = view.stage !== "talk";
  element("gone").hidden = view.stage !== "gone";
  if (view.turns) drawTalk(view, before && before.turns ? before.turns.length : 0);
  if (view.stage === "gone") element("finish").hidden = !view.can_answer;
  const isNew = !before || before.stage !== view.stage;
  if (view.stage === "questions" && JSON.stringify(view.questions) !== drawn) drawQuestions(view);
  if (view.stage !== "questions") drawn = "";
  if (view.stage === "result") drawResult(view);
  element("closing").hidden = !view.closing;
  element("closing").replaceChildren(...paragraphs(view.closing || ""));
  for (const offer of document.querySelectorAll(".more")) offer.hidden = Boolean(view.is_last);
  if (view.unanswered && (!before || !before.yours)) giveBack(view.unanswered);
  document.title = (view.yours ? "Your turn: " : "") + start.title;
  const isFirst = before && before.turns && !before.turns.length && view.turns;
  if (isFirst || (isNew && before)) list().catch((error) => tell(error.message, true));
  if (isNew && before) {
    (view.stage === "talk" ? element("text") : element(`${view.stage === "gone" ? "talk" : view.stage}-title`)).focus();
  }
}

// Give words back to which the partner had no answer.
function giveBack(words) {
  if (!element("text").value) element("text").value = words;
  tell("Your partner had no answer to that. Say it in other words.", true);
}

function drawTalk(view, before) {
  element("persona").replaceChildren(...view.persona.map(fact));
  element("talk").replaceChildren(...view.turns.map(turnItem));
  element("send").disabled = !view.yours;
  element("turn").textContent = turnWords(view);
  if (view.turns.length !== before) showNewest(); // a flag leaves everything where it is
}

function turnWords(view) {
  if (view.stage !== "talk") return "";
  if (!view.yours) return view.turns.length ? "Your partner is writing ..." : "Your partner begins, and is writing ...";
  const said = view.turns.filter((turn) => turn.mine).length;
  return (view.turns.length ? "Your turn" : "You begin") + `: utterance ${said + 1} of ${start.turns}.`;
}

function turnItem(turn, number) {
  const item = make("li", { className: turn.mine ? "human" : "model" });
  item.append(make("span", { className: "who", textContent: turn.mine ? "You" : "Your partner" }), words(turn.text));
  if (!turn.mine && (state.yours || state.stage !== "talk")) {
    const flags = state.flags.filter((flag) => flag.turn === number);
    const save = async (marked) => show(await ask("POST", "study/flag", marked));
    item.append(flagForm(start.flags, number, flags, save));
  }
  return item;
}

function choice(name, value, ...content) {
  const radio = make("input", { type: "radio", name, value, required: true });
  return make("label", { className: "choice" }, radio, ...content);
}

function drawQuestions(view) {
  drawn = JSON.stringify(view.questions);
  element("asked").replaceChildren(...view.questions.map((question) => {
    const legend = make("legend", { dir: "auto", textContent: plain(question.text) });
    const fields = make("div", { className: question.kind === "scale" ? "scale" : "" });
    fields.append(...answers(question, view.choices));
    return make("fieldset", {}, legend, fields);
  }));
}

// Make the fields of a question, by its kind.
function answers({ name, text, kind, answers: words }, personas) {
  if (kind === "open") {
    const field = make("textarea", { name, rows: 3, dir: "auto", maxLength: 2000 });
    field.setAttribute("aria-label", plain(text));
    return [field];
  }
  if (kind === "persona") {
    return personas.map((facts, number) => {
      const lines = facts.map((line) => make("span", { className: "fact", dir: "auto", textContent: plain(line) }));
      return choice(name, number, make("span", {}, ...lines));
    });
  }
  if (kind === "scale") {
    const ends = [` (${plain(words[0])})`, "", "", "", ` (${plain(words[1])})`];
    return ends.map((end, place) => choice(name, place + 1, ` ${place + 1}${end}`));
  }
  return words.map((word, number) => choice(name, kind === "partner" ? PARTNERS[number] : word, plain(word)));
}

function drawResult(view) {
  element("truth").textContent = `a ${view.partner}`;
  const guess = view.guess === view.partner ? "You were right." : `You thought it was a ${view.guess}.`;
  element("guess").textContent = view.guess ? guess : "";
  const right = view.persona_guessed ? "You recognized your partner's persona:" : "Your partner had the other persona:";
  element("persona-guess").textContent = view.persona_guessed === null ? "Your partner's persona:" : right;
  element("true-persona").replaceChildren(...view.persona.map(fact));
}

async function list() {
  const { talks } = await ask("GET", "talks");
  element("mine").replaceChildren(...talks.map(mineItem));
  element("delete-all").disabled = !talks.length;
  element("download").hidden = talks.every((talk) => talk.running);
}

function mineItem(talk) {
  const title = talk.running ? "still running" : `${talk.started.slice(0, 16).replace("T", " ")}, ${talk.turns} utterances`;
  const remover = make("button", { type: "button", textContent: "Delete" });
  remover.setAttribute("aria-label", "Delete the talk of " + title);
  remover.addEventListener("click", () => {
    if (!confirm("Delete this talk forever? Your words are deleted from your partner's talk, too.")) return;
    act(async () => {
      const { note } = await ask("DELETE", "talks/" + talk.id);
      await list();
      tell(`The talk is deleted. ${note}`);
      element("mine-title").focus();
    });
  });
  return make("li", {}, talk.running ? make("span", { textContent: title }) : finishedTalk(talk, title), remover);
}

// Make the entry of a finished talk, which loads its turns when it is opened.
function finishedTalk(talk, title) {
  const shown = make("ol", { className: "seen" });
  const details = make("details", {}, make("summary", { textContent: title }), shown);
  details.addEventListener("toggle", () => act(async () => {
    if (!details.open || shown.childElementCount) return;
    const { turns, partner } = await ask("GET", "talks/" + talk.id);
    shown.append(...turns.map((turn) => {
      const who = make("span", { className: "who", textContent: turn.mine ? "You" : `Your partner, a ${partner}` });
      return make("li", {}, who, words(turn.text));
    }));
  }));
  return details;
}

function follow() {
  stream = new EventSource("api/study");
  stream.addEventListener("state", (event) => show(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    tell("The connection is lost; trying again ...", true);
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, 3000);
  });
  stream.addEventListener("open", () => {
    if (state) state.time = 0; // the server's machine, and with it the clock, may have restarted
    if (element("status").textContent.startsWith("The connection is lost")) tell("");
  });
}

const go = (action, content = {}) => act(async () => show(await ask("POST", "study/" + action, content)));

function listen() {
  const begin = () => {
    if (agreed) return go("begin", { agreed: start.wording });
    element("start").hidden = false;
    element("start-title").focus();
  };
  element("begin").addEventListener("submit", (event) => {
    event.preventDefault();
    agreed = true;
    begin();
  });
  element("again").addEventListener("click", begin);
  element("new").addEventListener("click", begin);
  element("finish").addEventListener("click", () => go("finish"));
  for (const button of document.querySelectorAll(".leave")) {
    button.addEventListener("click", () => {
      if (state.stage === "waiting" || confirm("Leave this talk? It cannot be taken up again.")) go("leave");
    });
  }
  element("say").addEventListener("submit", (event) => {
    event.preventDefault();
    if (element("send").disabled) return;
    const text = element("text").value;
    element("send").disabled = true;
    act(async () => {
      try {
        const view = await ask("POST", "study/say", { text });
        element("text").value = "";
        show(view);
      } finally {
        element("send").disabled = !state.yours;
      }
    });
  });
  element("rate").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(element("rate")));
    for (const { name, kind } of state.questions) {
      if (["scale", "persona"].includes(kind)) given[name] = Number(given[name]);
    }
    go("rate", given);
  });
  element("delete-all").addEventListener("click", () => {
    if (!confirm("Delete all your talks forever? Your words are deleted from your partners' talks, too.")) return;
    act(async () => {
      const { deleted, note } = await ask("DELETE", "talks");
      await list();
      tell(`Deleted ${deleted} ${deleted === 1 ? "talk" : "talks"}. ${note}`);
    });
  });
}

act(async () => {
  start = await ask("GET", "start");
  element("title").textContent = start.title;
  element("participant").textContent = start.participant;
  element("text").maxLength = start.letters;
  element("how").textContent = "Talk as if these facts were yours, and get to know your partner, who plays a person, too. "
    + `Each of you says ${start.turns} utterances, in turn. Your words may appear with other capitals and spaces than `
    + "you typed, so that nobody can be recognized by them.";
  element("consent").replaceChildren(...paragraphs(start.consent));
  for (const id of ["title", "consent", "asked", "closing"]) element(id).lang = start.language;
  listen();
  await list();
  follow();
});
