(() => {
  const main = document.getElementById("main"), live = document.getElementById("live"), said = document.getElementById("said");
  const verdict = () => (document.querySelector("[data-verdict]") || {}).textContent || "";
  const tell = (text, state) => { live.textContent = text; live.className = state; };
  let failures = 0, known = verdict();
  // What a reader is in the middle of stays: a selection, a focused link, opened details.
  const busy = () => { const s = getSelection(); return s && !s.isCollapsed && main.contains(s.anchorNode); };
  async function refresh() {
    if (document.hidden || busy()) return;
    try {
      const answer = await fetch(location.href, {headers: {"accept": "text/html"}, cache: "no-store", signal: AbortSignal.timeout(10000)});
      if (!answer.ok && answer.status !== 404) throw new Error(answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html"), next = page.getElementById("main");
      if (!next) throw new Error("no page");
      const focused = main.contains(document.activeElement) && document.activeElement !== main ? document.activeElement.getAttribute("href") : null;
      if (next.innerHTML !== main.innerHTML) {
        const open = new Set([...main.querySelectorAll("details[open][id]")].map((d) => d.id));
        main.replaceChildren(...next.childNodes);
        for (const d of main.querySelectorAll("details[id]")) d.open = open.has(d.id);
        if (focused) { const link = [...main.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused); if (link) link.focus({preventScroll: true}); }
      }
      document.title = page.title;
      document.getElementById("as-of").replaceWith(page.getElementById("as-of"));
      if (failures) said.textContent = "The connection is back.";
      failures = 0;
      const now = verdict();
      if (now !== known) { known = now; said.textContent = now; }
      tell("Live, every " + seconds + " seconds", "on");
    } catch (error) {
      failures += 1;
      if (failures === 2) said.textContent = "The service does not answer. What you see may be old.";
      tell("No answer from the service; trying again", "off");
    }
  }
  const seconds = Number(document.body.dataset.every) || 5;
  tell("Live, every " + seconds + " seconds", "on");
  setInterval(refresh, seconds * 1000);
  document.addEventListener("visibilitychange", refresh);
})();
