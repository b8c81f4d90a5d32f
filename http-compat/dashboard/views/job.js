// One job: what it is, why it stands there, how it came there, what it writes, and what can be done with it.

import { ask, events } from "../api.js";
import { ago, facts, h, hostLink, patch, state, took } from "../dom.js";
import { untilSeen, world, yieldWhenHidden } from "../world.js";

// Characters of each output that are shown, its latest: a page that stays open must not grow.
const SHOWN = 200_000;
const AGAIN_MS = 2000;
const SHOW_MS = 100;

/** What a job writes, as it comes: two regions, and a note where something is to be said of it. */
function live(path) {
  const at = { attempt: 0, stdout: 0, stderr: 0 };
  const region = (title) => h("pre", { tabindex: "0", role: "region", "aria-label": title });
  const texts = { stdout: region("Output"), stderr: region("Errors") };
  const fresh = { stdout: "", stderr: "" };
  const errors = h("section", { hidden: true }, h("h3", {}, "Errors"), texts.stderr);
  const note = h("p", { class: "soft" });
  let over = false;
  let left = false;
  let failed = false;
  let stop = null;
  let timer = 0;

  // Shown a few times a second, however many pieces came.
  function show() {
    timer = 0;
    for (const [stream, pre] of Object.entries(texts)) {
      if (fresh[stream] === "") continue;
      // Whoever has scrolled up reads on there.
      const below = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 40;
      const all = pre.textContent + fresh[stream];
      fresh[stream] = "";
      pre.textContent = all.length > SHOWN ? `[the beginning is not shown]\n${all.slice(-SHOWN)}` : all;
      if (stream === "stderr") errors.hidden = false;
      if (below) pre.scrollTop = pre.scrollHeight;
    }
    if (over && note.textContent === "" && texts.stdout.textContent === "" && errors.hidden) note.textContent = "It wrote nothing.";
  }

  function heard(name, piece) {
    // What was said of the connection holds no longer.
    if (failed) [failed, note.textContent] = [false, ""];
    if (name === "note") note.textContent = piece.message;
    else if (name === "attempt" && piece.attempt !== at.attempt) {
      Object.assign(at, { attempt: piece.attempt, stdout: 0, stderr: 0 });
      Object.assign(fresh, { stdout: "", stderr: "" });
      for (const pre of Object.values(texts)) pre.textContent = "";
      [note.textContent, errors.hidden] = ["", true];
    } else if (name === "message") {
      at[piece.stream] = piece.offset + bytes(piece.text);
      note.textContent = "";
      // More than is shown need not be kept.
      fresh[piece.stream] = (fresh[piece.stream] + piece.text).slice(-SHOWN - 1);
    } else if (name === "end") over = true;
    timer ||= setTimeout(show, SHOW_MS);
  }

  async function read() {
    while (!over && !left) {
      await untilSeen();
      if (left) return;
      stop = new AbortController();
      const ignore = yieldWhenHidden(stop);
      try {
        await events(`${path}/logs?follow=1&attempt=${at.attempt}&stdout=${at.stdout}&stderr=${at.stderr}`, stop.signal, heard);
      } catch (error) {
        if (error.name !== "AbortError") [failed, note.textContent] = [true, error.message];
        if (error.status === 404 || error.wantsToken) return;
      } finally {
        ignore();
      }
      if (!over && !left) await new Promise((then) => setTimeout(then, AGAIN_MS));
    }
  }
  read();
  return {
    element: h("div", {}, h("section", {}, h("h3", {}, "Output"), texts.stdout, note), errors),
    stop() {
      left = true;
      clearTimeout(timer);
      stop?.abort();
    },
  };
}

const bytes = (text) => new TextEncoder().encode(text).length;

export function job(id) {
  const body = h("div", {});
  const asked = h("div", {});
  const said = h("p", { role: "status" });
  const path = `v1/jobs/${encodeURIComponent(id)}`;
  let job = null;
  let why = {};
  let payload = "";
  let asking = false;
  let stale = true;
  let again = 0;
  const written = live(path);

  async function act(work) {
    try {
      said.replaceChildren(await work());
    } catch (error) {
      said.replaceChildren(h("span", { class: "bad" }, error.message));
    }
  }

  const cancel = () => act(async () => {
    const answer = await ask(`${path}/cancel`, { method: "POST" });
    return answer.cancelling ? "It is being cancelled." : "It was cancelled.";
  });

  const replay = () => act(async () => {
    const again = { payload: job.payload, requirement: job.requirement };
    for (const name of ["maxAttempts", "retry", "queueTimeoutMs"]) if (job[name] !== undefined) again[name] = job[name];
    if (job.verify) again.verify = { copies: job.verify.copies, agree: job.verify.agree };
    const made = (await ask("v1/jobs", { method: "POST", body: again })).job;
    return h("span", {}, "Submitted again as ", h("a", { href: `#/jobs/${encodeURIComponent(made.id)}` }, made.id));
  });

  async function look() {
    if (asking) return;
    asking = true;
    while (stale) {
      stale = false;
      try {
        [job, why] = await Promise.all([
          ask(path).then((answer) => answer.job), ask(`${path}/why`).then((answer) => answer.why, () => ({})),
        ]);
        payload = JSON.stringify(job.payload, null, 2);
        render();
      } catch (error) {
        again = performance.now() + AGAIN_MS;
        patch(body, h("p", { class: "bad" }, error.message));
      }
    }
    asking = false;
  }

  function render() {
    const over = job.status === "completed" || job.status === "failed";
    const result = job.result ?? {};
    const known = (host) => hostLink(host, world.hosts.get(host)?.name);
    patch(body,
      facts([["State", state(job.status)], ["Because", why.because], ["Then", why.then],
        ["Made", ago(job.createdAt)], ["Changed", ago(job.updatedAt)], ["Submitted by", job.submittedBy],
        ["Host", job.assignedHostId && known(job.assignedHostId)],
        ["Attempts", String(job.attempts)], ["Needs", job.requirement?.requiredCapabilities?.join(", ")],
        ["Exit code", result.exitCode?.toString()], ["Took", took(result.durationMs)],
        ["Error", job.error && h("span", { class: "bad" }, job.error)]]),
      h("div", { class: "actions", "data-key": "actions" },
        !over && h("button", { type: "button", "data-key": "cancel", onclick: cancel }, "Cancel"),
        job.payload && h("button", { type: "button", class: "plain", "data-key": "replay", onclick: replay }, "Submit again")),
      job.status === "queued" && why.hosts?.length > 0 && section("Hosts", h("ul", {}, why.hosts.map((host) =>
        h("li", { "data-key": host.id }, known(host.id), `: ${host.words}`))),
        why.moreHosts > 0 && h("p", {}, `and ${why.moreHosts} more, which are further from it`)),
      section("Timeline", timeline(job, why.history, known)),
      why.history && section("Kept by", keepers(why.history.keepers)));
    patch(asked, output("Payload", payload));
  }

  look();
  return {
    element: h("div", {}, h("h2", {}, "Job ", h("code", {}, id)), said, body, written.element, asked),
    draw() {
      const told = world.jobs.get(id);
      const moved = told && job && (told.updatedAt !== job.updatedAt || told.status !== job.status);
      if (moved && told.updatedAt >= job.updatedAt) {
        stale = true;
        look();
      } else if (job && !asking) render();
      else if (!job && !asking && performance.now() > again) {
        stale = true;
        look();
      }
    },
    leave: written.stop,
  };
}

function section(title, content) {
  return h("section", { "data-key": title }, h("h3", {}, title), content);
}

function output(title, text) {
  return section(title, h("pre", { tabindex: "0", role: "region", "aria-label": title }, text));
}

function timeline(job, history, known) {
  const steps = [h("li", {}, "Submitted ", ago(job.createdAt), job.submittedBy && ` by ${job.submittedBy}`)];
  const reports = new Map((history?.reports ?? []).map((report) => [report.attempt, report]));
  const first = Math.max(1, job.attempts - 19);
  if (first > 1) steps.push(h("li", {}, `Attempts 1 to ${first - 1} are not shown`));
  for (let attempt = first; attempt <= job.attempts; attempt += 1) {
    const report = reports.get(attempt);
    const name = h("strong", {}, `Attempt ${attempt}`);
    if (report) {
      const how = report.success ? "ended well" : report.error || `ended with exit code ${report.exitCode}`;
      steps.push(h("li", {}, name, " on ", known(report.hostId), `: ${how}`,
        report.durationMs !== undefined && ` after ${took(report.durationMs)}`, ", ", ago(report.at)));
    } else if (attempt === job.attempts && job.status === "leased") {
      steps.push(h("li", {}, name, " runs on ", known(job.assignedHostId), ", since ", ago(history?.changedAt ?? job.updatedAt)));
    } else {
      steps.push(h("li", {}, name, ": no report. Its host was lost, gave it back, or was told to stop"));
    }
  }
  if (history?.lost > 0) steps.push(h("li", {}, `Lost with their hosts so far: ${history.lost}`));
  if (job.status === "queued") steps.push(h("li", {}, "Waits for a host"));
  if (job.status === "completed") steps.push(h("li", {}, "Completed ", ago(job.updatedAt)));
  if (job.status === "failed") steps.push(h("li", {}, "Failed ", ago(job.updatedAt), job.error && `: ${job.error}`));
  return h("ol", {}, steps);
}

function keepers({ home, leader, round, voters, quorum }) {
  const names = new Map((world.network?.peers ?? []).map((peer) => [peer.peerId, peer.label]));
  names.set(world.network?.peerId, world.network?.nodeId);
  const name = (peer) => names.get(peer) || peer;
  return facts([["Leads", name(leader)], ["Taken by", home !== leader && name(home)], ["Round", round > 0 && String(round)],
    ["Votes", voters.map(name).join(", ")], ["Needs", `${quorum} of ${voters.length} votes`]]);
}
