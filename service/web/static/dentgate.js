// Small helpers for pages that also work without them: local dates, refresh without flicker, tooth highlighting, upload.
"use strict";

const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const NOTATION = "dentgate-notation";

function dress(root) {
  for (const time of root.querySelectorAll("time[data-date]")) time.textContent = dates.format(new Date(time.dateTime));
  for (const time of root.querySelectorAll("time[data-moment]")) time.textContent = moments.format(new Date(time.dateTime));
  const select = document.getElementById("notation");
  if (!select) return;
  for (const holder of root.querySelectorAll("[data-fdi]")) {
    const name = holder.matches(".name") ? holder : holder.querySelector(".name");
    name.textContent = holder.dataset[select.value];
  }
}

// --- refresh: ask the API whether anything changed; only then fetch the page and exchange the parts that differ
function keepFresh(live) {
  const served = new Map();
  for (const part of live.querySelectorAll("[data-part]")) served.set(part.id, part.innerHTML);
  const offline = live.querySelector(".offline");
  let known = null;

  async function exchange() {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const added = [...page.querySelectorAll("[data-part]")].some((part) => !document.getElementById(part.id));
    const tools = !page.querySelector(".tools") !== !document.querySelector(".tools");
    if (added || tools) { location.reload(); return; }
    for (const fresh of page.querySelectorAll("[data-part]")) {
      if (served.get(fresh.id) === fresh.innerHTML) continue;
      served.set(fresh.id, fresh.innerHTML);
      const part = document.getElementById(fresh.id);
      const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      part.replaceChildren(...document.importNode(fresh, true).childNodes);
      dress(part);
      if (focused) part.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    }
  }

  async function look() {
    let pause = 2000;
    try {
      if (!document.hidden) {
        const answer = await fetch(live.dataset.live);
        if (!answer.ok) throw new Error(answer.status);
        const text = await answer.text();
        if (known !== null && known !== text) await exchange();
        if (known === null) await exchange();
        known = text;
        offline.hidden = true;
      }
    } catch {
      offline.hidden = false;
      pause = 5000;
    }
    setTimeout(look, pause);
  }
  setTimeout(look, 1000);
}

// --- teeth: hover, focus and arrow keys; image and chart point at each other
function sayTooth(tooth) {
  const figure = tooth.closest(".figure");
  const readout = figure.querySelector(".readout");
  const name = tooth.querySelector(".name").textContent;
  const doubt = tooth.classList.contains("uncertain") ? " - the number is uncertain" : "";
  const more = tooth.dataset.conditions ? `; ${tooth.dataset.conditions}` : "";
  readout.textContent = `Tooth ${name}: ${tooth.dataset.meaning}, ${tooth.dataset.certainty}${doubt}${more}`;
  readout.classList.add("live");
  for (const near of figure.querySelectorAll(".near")) near.classList.remove("near");
  figure.querySelector(`[data-cell="${tooth.dataset.tooth}"]`)?.classList.add("near");
}

function watchTeeth() {
  for (const kind of ["mouseover", "focusin"]) {
    document.addEventListener(kind, (event) => {
      const tooth = event.target.closest?.(".tooth");
      if (tooth) { sayTooth(tooth); return; }
      const cell = event.target.closest?.("[data-cell]");
      const match = cell?.closest(".figure").querySelector(`.tooth[data-tooth="${cell.dataset.cell}"]`);
      if (match) { sayTooth(match); match.classList.add("near"); }
    });
  }
  document.addEventListener("keydown", (event) => {
    const tooth = event.target.closest?.(".tooth");
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!tooth || !step) return;
    event.preventDefault();
    const teeth = [...tooth.parentNode.querySelectorAll(".tooth")];
    const next = teeth[(teeth.indexOf(tooth) + step + teeth.length) % teeth.length];
    tooth.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

// --- heat maps: one at a time for each image
function watchHeat() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-show-heat]");
    if (!button) return;
    const figure = button.closest(".figure");
    const show = button.getAttribute("aria-pressed") !== "true";
    for (const other of figure.querySelectorAll("[data-show-heat]")) other.setAttribute("aria-pressed", "false");
    for (const heat of figure.querySelectorAll(".heat")) heat.classList.toggle("shown", show && heat.dataset.heat === button.dataset.showHeat);
    button.setAttribute("aria-pressed", String(show));
  });
}

function watchTools() {
  for (const box of document.querySelectorAll("[data-toggle]")) {
    const apply = () => document.body.classList.toggle(`no-${box.dataset.toggle}`, !box.checked);
    box.addEventListener("change", apply);
    apply();
  }
  const select = document.getElementById("notation");
  if (!select) return;
  const kept = localStorage.getItem(NOTATION);
  if ([...select.options].some((option) => option.value === kept)) select.value = kept;
  select.addEventListener("change", () => {
    localStorage.setItem(NOTATION, select.value);
    dress(document);
  });
}

// --- upload: what was chosen, progress, one plain sentence when it fails
function looksLikePicture(file) {
  return /^image\/(jpeg|png)$/.test(file.type) || /\.(jpe?g|png)$/i.test(file.name);
}

function sizeInWords(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function watchUpload(form) {
  const files = document.getElementById("files");
  const drop = document.getElementById("drop");
  const patient = document.getElementById("patient_id");
  const problem = document.getElementById("problem");
  const button = form.querySelector("button");

  function fail(sentence) {
    problem.textContent = sentence;
    problem.hidden = !sentence;
  }
  function show() {
    const chosen = [...files.files];
    const pictures = chosen.some(looksLikePicture);
    document.getElementById("chosen").replaceChildren(...chosen.map((file) => {
      const line = document.createElement("li");
      const size = document.createElement("span");
      line.textContent = file.name;
      size.textContent = sizeInWords(file.size);
      line.append(size);
      return line;
    }));
    document.getElementById("picture").disabled = chosen.length > 0 && !pictures;
    patient.required = pictures;
    const total = chosen.reduce((sum, file) => sum + file.size, 0);
    fail(total > form.dataset.limit * 1048576 ? `Together the files are larger than ${form.dataset.limit} MB; send fewer at a time.` : "");
    button.disabled = !problem.hidden;
  }
  files.addEventListener("change", show);
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) {
        files.files = event.dataTransfer.files;
        show();
      }
    });
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const request = new XMLHttpRequest();
    const progress = document.getElementById("progress");
    const doing = document.getElementById("doing");
    const stop = (sentence) => {
      fail(sentence);
      document.getElementById("busy").hidden = true;
      button.disabled = false;
    };
    fail("");
    button.disabled = true;
    document.getElementById("busy").hidden = false;
    doing.textContent = "Sending…";
    request.upload.addEventListener("progress", (step) => {
      if (step.lengthComputable) progress.value = 100 * step.loaded / step.total;
      if (step.loaded === step.total) doing.textContent = "Storing…";
    });
    request.addEventListener("error", () => stop("The upload did not arrive. Is Dentgate running? Try again."));
    request.addEventListener("load", () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* not ours: the sentence below */ }
      if (request.status !== 201) { stop(answer.error || `The upload was refused (${request.status}).`); return; }
      const bad = answer.files.filter((file) => file.error);
      const studies = answer.study_instance_uids;
      const target = studies.length === 1 ? `/studies/${studies[0]}` : "/";
      if (!bad.length) { location.assign(target); return; }
      stop(`${answer.files.length - bad.length} of ${answer.files.length} files arrived. ${bad.map((file) => file.sentence).join("; ")} `);
      const link = document.createElement("a");
      link.href = target;
      link.textContent = "Go to what arrived";
      problem.append(link);
    });
    request.open("POST", "/api/studies");
    request.send(new FormData(form));
  });
}

for (const live of document.querySelectorAll("[data-live]")) keepFresh(live);
watchTeeth();
watchHeat();
watchTools();
dress(document);
const uploadForm = document.getElementById("upload");
if (uploadForm) watchUpload(uploadForm);
