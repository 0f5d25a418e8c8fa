// A blind study in a browser: consent, talk, questions, result.
"use strict";

const SCALES = {
  fluency: ["How well was your partner's English written?", "badly", "very well"],
  consistency: ["Did what your partner said fit together, from the first to the last words?", "not at all", "entirely"],
  engagement: ["Would you have liked to go on talking?", "not at all", "very much"],
};
let start = null; // what the study is: title, consent, number of turns, kinds of flag
let state = null; // where the participant is
let stream = null; // the events that tell of it
let agreed = false; // whether the consent was given since the page was opened: its text may have changed before

const fact = (text) => make("li", { dir: "auto", textContent: plain(text) });

function show(found) {
  const before = state;
  if (before && found.time < before.time) return; // it was overtaken by a newer one
  state = found;
  if (before && JSON.stringify({ ...found, time: 0 }) === JSON.stringify({ ...before, time: 0 })) return;
  const inTalk = ["talk", "gone"].includes(found.stage);
  element("start").hidden = found.stage !== "start";
  element("waiting").hidden = found.stage !== "waiting";
  element("result").hidden = found.stage !== "result";
  element("questions").hidden = found.stage !== "questions";
  element("talking").hidden = !inTalk && found.stage !== "questions";
  element("say").hidden = found.stage !== "talk";
  element("gone").hidden = found.stage !== "gone";
  if (found.turns) drawTalk(found);
  if (found.stage === "gone") element("finish").hidden = !found.can_answer;
  const isNew = !before || before.stage !== found.stage;
  if (isNew && found.stage === "questions") drawQuestions(found);
  if (found.stage === "result") drawResult(found);
  if (found.unanswered && (!before || !before.yours)) giveBack(found.unanswered);
  document.title = (found.yours ? "Your turn: " : "") + start.title;
  const isFirst = before && before.turns && !before.turns.length && found.turns;
  if (isFirst || (isNew && before)) list().catch((error) => tell(error.message, true));
  if (isNew && before) {
    (found.stage === "talk" ? element("text") : element(`${found.stage === "gone" ? "talk" : found.stage}-title`)).focus();
  }
}

// The partner had no answer to these words, and they were taken back.
function giveBack(words) {
  if (!element("text").value) element("text").value = words;
  tell("Your partner had no answer to that. Say it in other words.", true);
}

function drawTalk(found) {
  element("persona").replaceChildren(...found.persona.map(fact));
  element("talk").replaceChildren(...found.turns.map(turnItem));
  element("send").disabled = !found.yours;
  element("turn").textContent = turnWords(found);
  element("log").scrollTop = element("log").scrollHeight;
}

function turnWords(found) {
  if (found.stage !== "talk") return "";
  if (!found.yours) return found.turns.length ? "Your partner is writing ..." : "Your partner begins, and is writing ...";
  const said = found.turns.filter((turn) => turn.mine).length;
  return (found.turns.length ? "It is your turn" : "You begin") + `: utterance ${said + 1} of ${start.turns}.`;
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

function drawQuestions(found) {
  element("scales").replaceChildren(...Object.entries(SCALES).map(([name, [question, least, most]]) => {
    const numbers = [1, 2, 3, 4, 5].map((number) => {
      const end = number === 1 ? ` (${least})` : number === 5 ? ` (${most})` : "";
      return choice(name, number, ` ${number}${end}`);
    });
    return make("fieldset", {}, make("legend", { textContent: question }), make("div", { className: "scale" }, ...numbers));
  }));
  element("choices").replaceChildren(...found.choices.map((facts, number) => {
    const lines = facts.map((one) => make("span", { className: "fact", dir: "auto", textContent: plain(one) }));
    return choice("persona", number, make("span", {}, ...lines));
  }));
  element("rate").reset();
}

function drawResult(found) {
  element("truth").textContent = `a ${found.partner}`;
  element("guess").textContent = found.guess === found.partner ? "You were right." : `You thought it was a ${found.guess}.`;
  const right = found.persona_guessed ? "You found your partner's persona:" : "Your partner had the other persona:";
  element("persona-guess").textContent = right;
  element("true-persona").replaceChildren(...found.persona.map(fact));
}

async function list() {
  const { talks } = await ask("GET", "talks");
  element("mine").replaceChildren(...talks.map(mineItem));
  element("delete-all").disabled = !talks.length;
  element("download").hidden = talks.every((one) => one.running);
}

function mineItem(one) {
  const title = one.running ? "still running" : `${one.started.slice(0, 16).replace("T", " ")}, ${one.turns} utterances`;
  const away = make("button", { type: "button", textContent: "Delete" });
  away.setAttribute("aria-label", "Delete the talk of " + title);
  away.addEventListener("click", () => {
    if (!confirm("Delete this talk for ever? What you said is deleted from your partner's talk, too.")) return;
    act(async () => {
      await ask("DELETE", "talks/" + one.id);
      await list();
      tell("The talk is deleted.");
      element("mine-title").focus();
    });
  });
  return make("li", {}, one.running ? make("span", { textContent: title }) : seen(one, title), away);
}

// A talk that is over, shown when it is opened.
function seen(one, title) {
  const shown = make("ol", { className: "seen" });
  const details = make("details", {}, make("summary", { textContent: title }), shown);
  details.addEventListener("toggle", () => act(async () => {
    if (!details.open || shown.childElementCount) return;
    const { turns, partner } = await ask("GET", "talks/" + one.id);
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
    if (state) state.time = 0; // the machine may have been started anew, and with it its clock
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
        const found = await ask("POST", "study/say", { text });
        element("text").value = "";
        show(found);
      } finally {
        element("send").disabled = !state.yours;
      }
    });
  });
  element("rate").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(element("rate")));
    for (const name of [...Object.keys(SCALES), "persona"]) given[name] = Number(given[name]);
    go("rate", given);
  });
  element("delete-all").addEventListener("click", () => {
    if (!confirm("Delete all your talks for ever? What you said is deleted from your partners' talks, too.")) return;
    act(async () => {
      const { deleted } = await ask("DELETE", "talks");
      await list();
      tell(`Deleted ${deleted} talks.`);
    });
  });
}

act(async () => {
  start = await ask("GET", "start");
  element("title").textContent = start.title;
  element("participant").textContent = start.participant;
  element("text").maxLength = start.letters;
  element("how").textContent = "Talk as if these facts were yours, and get to know your partner, who plays somebody, too. "
    + `Each of you says ${start.turns} utterances, one after the other. Your words may appear with other capitals and `
    + "spaces than you typed: so nobody is known by them.";
  const paragraphs = start.consent.split(/\n\s*\n/);
  element("consent").replaceChildren(...paragraphs.map((text) => make("p", { dir: "auto", textContent: plain(text) })));
  listen();
  await list();
  follow();
});
