// Progressive: every page works without this. It takes the application ID out of a scanned address (#digits, which no
// server sees) and shows the photo as it will be cut.
"use strict";
(() => {
  const field = document.querySelector("[data-from-address]");
  const digits = location.hash.slice(1);
  if (field && /^[0-9]{23}$/.test(digits) && !field.value) {
    field.value = digits;
    history.replaceState(null, "", location.pathname);
  }

  const file = document.getElementById("photo");
  const frame = document.getElementById("frame");
  if (!file || file.type !== "file" || !frame) return;
  const live = document.getElementById("live");
  const share = (id) => Number(document.getElementById(id).value) / 100;

  function cut() {
    const [width, height] = [live.naturalWidth, live.naturalHeight];
    if (!width) return;
    const shape = 700 / 900;
    const tall = Math.min(height, width / shape) * (1 - 0.75 * share("zoom"));
    const scale = frame.clientHeight / tall;
    live.style.width = `${width * scale}px`;
    live.style.left = `${-(width - tall * shape) * share("across") * scale}px`;
    live.style.top = `${-(height - tall) * share("down") * scale}px`;
  }
  file.addEventListener("change", () => {
    if (!file.files.length) return;
    URL.revokeObjectURL(live.src);
    live.src = URL.createObjectURL(file.files[0]);
    frame.hidden = false;
  });
  live.addEventListener("load", cut);
  for (const id of ["zoom", "across", "down"]) document.getElementById(id).addEventListener("input", cut);
})();
