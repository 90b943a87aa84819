// Progressive: every page works without this. It follows what happens, locks an idle screen, and hides covered fields.
"use strict";
(() => {
  const body = document.body;
  let stream = null;
  const reloadOn = (body.dataset.reloadOn || "").split(" ").filter(Boolean);
  const typing = () => [...document.querySelectorAll("input[type=password], input:not([type])")].some((one) => one.value);

  let leaving = false; // a person is on the way elsewhere: a reload would call them back
  addEventListener("beforeunload", () => { leaving = true; if (stream) { stream.close(); stream = null; } });

  function again() {
    if (!leaving && !(body.classList.contains("resident") && typing())) location.reload();
  }

  function progress(event) {
    const bar = document.getElementById("progress");
    if (!bar || event.operation !== body.dataset.operation) return;
    if (event.steps.length) { bar.max = event.steps.length; bar.value = event.position; }
    document.getElementById("progress-commands").textContent = event.commands;
    document.getElementById("progress-exchanges").textContent = event.exchanges;
  }

  function laid(card) { // a card on the reader opens its resident where one is waited for; elsewhere its lamp changes
    const opens = body.dataset.laid;
    if (opens !== undefined && card && !typing()) location.assign("/card/" + card + opens);
    else if (reloadOn.includes("laid") && !document.querySelector("input[type=checkbox]:checked")) again();
  }

  function heard(message) {
    const event = JSON.parse(message.data);
    if (event.kind === "progress") { progress(event); return; }
    if (event.kind === "notice" && !typing()) { again(); return; }
    if (event.kind === "laid") { laid(event.card); return; }
    if (event.kind === "missed") { if (reloadOn.length) again(); return; }
    if (!reloadOn.includes(event.kind)) return;
    if (event.kind === "work" && body.dataset.operation && event.operation !== body.dataset.operation) return;
    again();
  }

  function follow() {
    if (!body.dataset.events || stream || document.hidden) return;
    stream = new EventSource(body.dataset.events);
    stream.onmessage = heard;
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && stream) { stream.close(); stream = null; } else { follow(); }
  });
  follow();

  if (body.dataset.againMs) setTimeout(() => location.reload(), Number(body.dataset.againMs));

  if (body.dataset.idleMs) {
    let timer = 0;
    const wait = () => { clearTimeout(timer); timer = setTimeout(() => location.assign("/unlock"), Number(body.dataset.idleMs)); };
    for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, wait, { passive: true });
    wait();
  }

  for (const form of document.querySelectorAll("form[data-submit-after-ms]")) {
    const button = form.querySelector("button");
    if (!button.disabled) setTimeout(() => form.requestSubmit(button), Number(form.dataset.submitAfterMs));
  }

  const same = document.querySelector("[data-same]");
  if (same) {
    const others = [...document.querySelectorAll(".pin.digits")].slice(1);
    const show = () => {
      document.body.classList.toggle("same-set", same.checked);
      for (const one of others) one.classList.add("covered");
    };
    same.addEventListener("change", show);
  }
})();
