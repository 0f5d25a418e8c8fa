// Talk in a browser.
"use strict";

let start = null; // the answer of api/start: kinds of flag, goals, limits
let talk = null; // the visible talk; null before the first utterance
let busy = false; // whether the reply is pending
let stream = null; // the events of a pending reply

const facts = () => element("persona").value.split("\n").map((line) => line.trim()).filter((line) => line);

function show(received) {
  const before = talk ? talk.turns.length : 0;
  talk = received && received.turns.length ? received : null;
  history.replaceState(null, "", talk ? "#" + talk.id : location.pathname);
  if (received) element("persona").value = received.persona.map(plain).join("\n");
  draw();
  if (talk && talk.turns.length !== before) showNewest(); // a flag leaves everything where it is
}

function draw() {
  const list = element("talk");
  list.replaceChildren(...(talk ? talk.turns.map(turnItem) : []));
  element("log").setAttribute("aria-busy", String(busy));
  const last = talk && talk.turns.at(-1);
  const answered = Boolean(last && last.speaker === "model");
  element("send").disabled = busy || Boolean(last && !answered);
  element("retry").disabled = busy || !talk;
  element("retry").textContent = last && !answered ? "Ask for the reply" : "Another reply";
  element("correct").disabled = busy || !answered;
  element("undo").disabled = busy || !talk;
  if (busy || !answered) element("correction").hidden = true;
}

function turnItem(turn, number) {
  const name = turn.speaker === "human" ? "You" : turn.corrected ? "Corrected by you" : "Model";
  const item = make("li", { className: turn.speaker });
  item.append(make("span", { className: "who", textContent: name }), words(turn.text));
  if (turn.corrected) {
    const replaced = make("p", { className: "replaced", dir: "auto" });
    replaced.append("The model said: ", make("s", { textContent: plain(turn.replaced) }));
    item.append(replaced);
  }
  if (turn.speaker === "model" && !busy) {
    const flags = talk.flags.filter((flag) => flag.turn === number);
    const save = async (marked) => show(await ask("POST", `talks/${talk.id}/flag`, marked));
    item.append(flagForm(start.flags, number, flags, save));
  }
  return item;
}

// Show a pending reply as it grows. The server makes and records it even if this page is closed.
function follow(received, said) {
  busy = true;
  show(received);
  tell("The model is writing ...");
  const text = words("");
  element("talk").append(make("li", { className: "model" }, make("span", { className: "who", textContent: "Model" }), text));
  showNewest();
  stream = new EventSource(`api/talks/${received.id}/reply`);
  stream.addEventListener("text", (event) => {
    text.textContent = plain(JSON.parse(event.data).text);
    showNewest();
  });
  stream.addEventListener("end", (event) => {
    const { talk: now, problem } = JSON.parse(event.data);
    leave();
    show(now);
    tell(problem, true);
    if (problem && said && !element("text").value) element("text").value = said;
    if (document.activeElement === document.body) element("text").focus();
    list();
  });
  stream.addEventListener("error", () => {
    if (stream && stream.readyState === EventSource.CLOSED) act(() => open(received.id));
    else tell("The connection is lost; trying again ...", true);
  });
}

function leave() {
  if (stream) stream.close();
  stream = null;
  busy = false;
}

async function open(id) {
  leave();
  const received = await ask("GET", "talks/" + id);
  if (received.replying) follow(received);
  else show(received);
}

async function list() {
  const { talks } = await ask("GET", "talks");
  const items = talks.map(({ id, started, turns, persona }) => {
    const title = `${started.slice(0, 16).replace("T", " ")}, ${turns} utterances: ${persona[0]}`;
    const opener = make("button", { type: "button", className: "open", textContent: plain(title) });
    opener.addEventListener("click", () => act(() => open(id)));
    const remover = make("button", { type: "button", textContent: "Delete" });
    remover.setAttribute("aria-label", "Delete the talk of " + plain(title));
    remover.addEventListener("click", () => {
      if (!confirm("Delete this talk forever?")) return;
      act(async () => {
        const { note } = await ask("DELETE", "talks/" + id);
        if (talk && talk.id === id) fresh();
        await list();
        tell(`The talk is deleted. ${note}`);
        element("mine-title").focus();
      });
    });
    return make("li", {}, opener, remover);
  });
  element("mine").replaceChildren(...items);
  element("delete-all").disabled = !talks.length;
  element("download").hidden = !talks.length;
}

function fresh() {
  leave();
  talk = null;
  history.replaceState(null, "", location.pathname);
  draw();
}

async function random() {
  element("persona").value = (await ask("GET", "persona")).persona.map(plain).join("\n");
  fresh();
}

function listen() {
  element("persona-form").addEventListener("submit", (event) => {
    event.preventDefault();
    fresh();
    tell("A new talk: say something.");
    element("text").focus();
  });
  element("draw").addEventListener("click", () => act(random));
  element("say").addEventListener("submit", (event) => {
    event.preventDefault();
    if (element("send").disabled) return;
    const text = element("text").value;
    act(async () => {
      element("send").disabled = true;
      try {
        const content = { text, goal: element("goal").value, persona: facts() };
        const received = await ask("POST", talk ? `talks/${talk.id}/say` : "talks", content);
        element("text").value = "";
        follow(received, text);
      } finally {
        if (!busy) draw();
      }
    });
  });
  element("retry").addEventListener("click", () =>
    act(async () => follow(await ask("POST", `talks/${talk.id}/retry`, { goal: element("goal").value }))));
  element("undo").addEventListener("click", () =>
    act(async () => {
      show(await ask("POST", `talks/${talk.id}/undo`, {}));
      tell("Taken back.");
      element("text").focus();
      await list();
    }));
  element("correct").addEventListener("click", () => {
    element("correction").hidden = false;
    element("correction-text").value = talk.turns.at(-1).text;
    element("correction-text").focus();
  });
  element("no-correction").addEventListener("click", () => {
    element("correction").hidden = true;
    element("correct").focus();
  });
  element("correction").addEventListener("submit", (event) => {
    event.preventDefault();
    act(async () => {
      show(await ask("POST", `talks/${talk.id}/correct`, { text: element("correction-text").value }));
      element("correction").hidden = true;
      tell("Corrected. The talk continues from your words.");
      element("text").focus();
    });
  });
  element("delete-all").addEventListener("click", () => {
    if (!confirm("Delete all your talks forever?")) return;
    act(async () => {
      const { deleted, note } = await ask("DELETE", "talks");
      fresh();
      await list();
      tell(`Deleted ${deleted} ${deleted === 1 ? "talk" : "talks"}. ${note}`);
    });
  });
}

act(async () => {
  start = await ask("GET", "start");
  element("model").textContent = start.model && ` (${start.model})`;
  element("participant").textContent = start.participant;
  for (const id of ["text", "correction-text"]) element(id).maxLength = start.limits.letters;
  for (const goal of start.goals) element("goal").append(make("option", { value: goal, textContent: goal }));
  element("goal-field").hidden = !start.goals.length;
  element("draw").hidden = !start.has_personas;
  element("mine-title").tabIndex = -1;
  listen();
  draw();
  await list();
  const id = location.hash.slice(1);
  if (/^[0-9a-f]{32}$/.test(id)) await open(id);
  else if (start.has_personas) await random();
});
