"use strict";
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const cases = [...document.querySelectorAll("article")];
  const said = form.querySelector("output");
  const apply = () => {
    const outcome = form.elements.outcome.value;
    const kind = form.elements.kind.value;
    let shown = 0;
    for (const one of cases) {
      const data = one.dataset;
      const fits = outcome === "" || outcome === data.outcome || (outcome === "wrong" && "wrong" in data);
      one.hidden = !(fits && (kind === "" || kind === data.kind));
      shown += one.hidden ? 0 : 1;
    }
    said.textContent = shown === cases.length ? `all ${shown} shown` : `${shown} of ${cases.length} shown`;
  };
  form.hidden = false;
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  // The browser may have kept a choice over a reload.
  apply();
})();
