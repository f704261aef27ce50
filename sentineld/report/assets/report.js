"use strict";
// Everything that agents supplied becomes text nodes; nothing here makes markup of a string.
(() => {
  const account = JSON.parse(document.getElementById("account").textContent);
  const LABELS = { 1: "normal", 2: "suspicious", 3: "anomalous" };
  const ROWS = 100;
  const DAY_S = 86400;
  const NOW_S = Date.parse(account.generated_at) / 1000;
  const main = document.getElementById("main");

  // Building.

  function el(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (typeof value === "function") node.addEventListener(name, value);
      else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== ""));
    return node;
  }
  const name = (text) => el("bdi", {}, text || "(none)");
  const tier = (number, label) =>
    el("span", { class: `tier tier${number}` }, label || [`${number} `, el("span", { class: "label" }, LABELS[number])]);
  const step = (one) => [tier(one.from, String(one.from)), "\u2192", tier(one.to, String(one.to))];
  const figure = (text) => el("span", { class: "figure" }, text);
  const count = (number) => number.toLocaleString("en");
  const percent = (share) => `${+(100 * share).toPrecision(3)} %`;
  const time = (at) =>
    el("time", { class: "time", datetime: at }, el("span", {}, at.slice(0, 10)), " ", el("span", {}, at.slice(11, 19)));
  const clock = (seconds) => new Date(1000 * seconds).toISOString().slice(0, 16).replace("T", " ");

  function ago(at) {
    const seconds = Math.max(0, NOW_S - Date.parse(at) / 1000);
    for (const [unit, size] of [["d", DAY_S], ["h", 3600], ["min", 60]])
      if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}`;
    return `${Math.floor(seconds)} s`;
  }

  function meter(value, mark) {
    const bar = el("i");
    bar.style.width = `${100 * value}%`;
    const limit = el("b");
    limit.style.left = `${100 * mark}%`;
    return el("span", { class: "meter", "aria-hidden": "true" }, bar, limit);
  }

  function table(caption, heads, rows) {
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      el("table", {},
        el("caption", {}, caption),
        el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
        el("tbody", {}, rows)));
  }

  function spark(agent) {
    const timeline = agent.timeline;
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    for (const [key, value] of Object.entries({ class: "spark", width: 120, height: 22, "aria-hidden": "true" }))
      svg.setAttribute(key, value);
    const ground = document.createElementNS(space, "line");
    for (const [key, value] of Object.entries({ x1: 0, x2: 120, y1: 21.5, y2: 21.5 })) ground.setAttribute(key, value);
    svg.append(ground);
    if (timeline === null) return svg;
    const span = spanOf(timeline);
    for (const [at, score] of timeline.points) {
      const bar = document.createElementNS(space, "rect");
      const height = Math.max(1, 20 * score);
      const x = Math.max(0, Math.min(117, 117 * (1 - (NOW_S - at) / span)));
      for (const [key, value] of Object.entries({ x, y: 21 - height, width: 3, height })) bar.setAttribute(key, value);
      svg.append(bar);
    }
    return svg;
  }

  // The overview.

  const COLUMNS = [
    { title: "Agent", key: (agent) => agent.name, kind: "" },
    { title: "Tier", key: (agent) => agent.would + agent.score / 2, kind: "" },
    { title: "Score", key: (agent) => agent.score, kind: "number" },
    { title: "Scores over time", key: null, kind: "wide" },
    { title: "Events", key: (agent) => agent.events, kind: "number wide" },
    { title: "Understood", key: (agent) => (agent.coverage === null ? -1 : agent.coverage), kind: "number wide" },
    { title: "Last activity", key: (agent) => agent.last_activity, kind: "time" },
  ];
  const view = { column: 1, down: true, text: "", tier: "", rows: ROWS };

  function overview() {
    document.title = "sentineld report";
    return [tiles(), ...notes(), agents(), decisions(), calibration(), incidents()];
  }

  function tiles() {
    const tiers = [1, 2, 3].map((number) => account.agents.filter((agent) => agent.would === number).length);
    const incidentCount = Object.values(account.incident_counts).reduce((sum, number) => sum + number, 0);
    return el("ul", { class: "tiles", "aria-label": "Totals" },
      tiers.map((number, index) =>
        el("li", { class: number && index ? `tier${index + 1}` : null },
          el("strong", {}, count(number)), `tier ${index + 1}, ${LABELS[index + 1]}`)),
      el("li", {}, el("strong", {}, count(account.totals.events)), "events"),
      el("li", {}, el("strong", {}, count(account.totals.decisions)), "decisions"),
      el("li", {}, el("strong", {}, count(incidentCount)), "incidents"));
  }

  function notes() {
    const state = account.state;
    const said = [];
    if (!state.fresh) said.push(`The state file is not fresh: ${state.reason}. Routers use tier 3 for every agent.`);
    if (account.observed) said.push("The daemon observes: tiers here are what would be; nobody is restricted.");
    if (state.faults.length) said.push(`What does not work: ${state.faults.join(", ")}.`);
    said.push(...state.warnings.map((text) => `Warning: ${text}`));
    if (account.agents_left_out) said.push(`${count(account.agents_left_out)} more agents are left out.`);
    if (account.timelines_left_out)
      said.push(`${count(account.timelines_left_out)} of ${count(account.agents.length + account.agents_left_out)} agents have no timeline here (sentineld report --timelines).`);
    return said.map((text) => el("p", { class: "warning" }, text));
  }

  function agents() {
    const body = el("tbody");
    const status = el("p", { class: "quiet", "aria-live": "polite", id: "shown" });
    const more = el("button", { type: "button", click: () => { view.rows += ROWS; fill(); } });
    const heads = COLUMNS.map((column, index) =>
      el("th", { scope: "col", class: column.kind },
        column.key === null ? column.title : el("button", { type: "button", click: () => sort(index) }, column.title)));

    function sort(index) {
      view.down = view.column === index ? !view.down : index !== 0;
      view.column = index;
      fill();
    }

    function fill() {
      heads.forEach((head, index) => {
        if (index === view.column) head.setAttribute("aria-sort", view.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      const wanted = view.text.toLowerCase();
      const found = account.agents
        .map((agent, number) => ({ agent, number }))
        .filter(({ agent }) => (!wanted || agent.name.toLowerCase().includes(wanted)) &&
          (!view.tier || agent.would === +view.tier));
      const { key } = COLUMNS[view.column];
      found.sort((one, other) => {
        const [a, b] = [key(one.agent), key(other.agent)];
        const order = typeof a === "string" ? (a < b ? -1 : a > b ? 1 : 0) : a - b;
        return (view.down ? -order : order) || one.number - other.number;
      });
      body.replaceChildren(...found.slice(0, view.rows).map(row));
      status.textContent = `${count(Math.min(view.rows, found.length))} of ${count(found.length)} agents shown`;
      more.hidden = found.length <= view.rows;
      more.textContent = `Show ${Math.min(ROWS, found.length - view.rows)} more`;
    }

    function row({ agent, number }) {
      const cells = [
        el("th", { scope: "row" }, el("a", { href: `#agent-${number}` }, name(agent.name))),
        el("td", {}, tier(agent.would), agent.held ? el("div", { class: "quiet" }, `in force: ${agent.tier}`) : "",
          agent.pinned ? el("div", { class: "quiet" }, "pinned") : ""),
        el("td", {}, figure(agent.score.toFixed(2)), meter(agent.score, account.thresholds[2])),
        el("td", {}, spark(agent)),
        el("td", {}, count(agent.events)),
        el("td", {}, agent.coverage === null ? "" : percent(agent.coverage)),
        el("td", {}, el("time", { datetime: agent.last_activity, title: agent.last_activity }, ago(agent.last_activity))),
      ];
      cells.forEach((cell, index) => { if (COLUMNS[index].kind) cell.className = COLUMNS[index].kind; });
      return el("tr", {}, cells);
    }

    const result = el("section", { "aria-labelledby": "agents" },
      el("h2", { id: "agents" }, "Agents"),
      el("div", { class: "tools" },
        el("label", {}, "Name contains ",
          el("input", { type: "search", id: "filter", value: view.text, autocomplete: "off", spellcheck: "false",
            input: (event) => { view.text = event.target.value; view.rows = ROWS; fill(); } })),
        el("label", {}, "Tier ",
          el("select", { id: "tier", change: (event) => { view.tier = event.target.value; view.rows = ROWS; fill(); } },
            ["", "1", "2", "3"].map((value) =>
              el("option", { value, selected: view.tier === value }, value ? `${value} ${LABELS[value]}` : "all"))))),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of agents" },
        el("table", { id: "fleet" },
          el("caption", {}, "Last activity: how long before this report. The mark on a score is the threshold of tier 2."),
          el("thead", {}, el("tr", {}, heads)), body)),
      status, more);
    fill();
    return result;
  }

  function decisions() {
    const list = account.decisions.filter((one) => one.from !== one.to);
    const body = list.slice(0, ROWS).map((one) =>
      el("tr", {},
        el("td", {}, time(one.at)),
        el("td", {}, one.number === null ? name(one.agent) : el("a", { href: `#agent-${one.number}` }, name(one.agent))),
        el("td", { class: "step" }, step(one)),
        el("td", {}, one.cause)));
    return el("section", { "aria-labelledby": "decisions" },
      el("h2", { id: "decisions" }, "Latest changes of tier"),
      list.length
        ? table("Changes, newest first", ["When", "Agent", "Tier", "Cause"], body)
        : el("p", {}, "No agent's tier has ever changed."));
  }

  function calibration() {
    const parts = [el("h2", { id: "calibration" }, "Calibration and false alarms")];
    if (account.detection !== "learned")
      parts.push(el("p", {}, "The activity score decides: thresholds on it have no stated false-alarm rate."));
    else if (!account.roles.length)
      parts.push(el("p", {}, "No role has learned from a session yet, so no bound on false alarms is attainable yet."));
    else {
      parts.push(table(
        "False alarms: the share of honest sessions that reach tier 2, as stated and as realised",
        ["Role", "Sessions", "Stated", "Realised", "What is missing"],
        account.roles.map((role) => {
          const alarms = role.false_alarms;
          return el("tr", {},
            el("th", { scope: "row" }, role.role ? name(role.role) : "(no name)",
              el("div", { class: "quiet" }, `uid ${role.owner}${role.frozen ? ", frozen" : ""}`)),
            el("td", {}, `${count(role.sessions)}`, el("div", { class: "quiet" }, `${count(role.ranks)} to rank by`)),
            el("td", {}, percent(alarms.nominal)),
            el("td", {}, alarms.realised === null ? "none judged yet" : percent(alarms.realised),
              alarms.realised === null ? "" : el("div", { class: "quiet" }, `${count(alarms.alarms)} of ${count(alarms.sessions)} sessions`)),
            el("td", {}, role.learning || "nothing: the bounds hold"));
        })));
      parts.push(el("p", { class: "quiet small" },
        "Realised: how many of the kept sessions reached tier 2, of those that ended when there were enough to rank by. ",
        "A session that you confirmed as an attack (sentineld pardon --attack) is not among them. ",
        "With few sessions the share says little."));
    }
    return el("section", { "aria-labelledby": "calibration" }, parts);
  }

  function incidents() {
    const rows = account.incidents.map((one) =>
      el("tr", {},
        el("td", {}, time(one.at)),
        el("td", {}, el("strong", {}, one.kind), one.count > 1 ? ` (${count(one.count)} times)` : "",
          el("div", {}, one.sentence), one.detail ? el("div", { class: "quiet" }, name(one.detail)) : ""),
        el("td", {}, el("span", { class: "path" }, name(one.path),
          one.from || one.to ? `, bytes ${count(one.from)} to ${count(one.to)}` : "")),
        el("td", { class: "number" }, String(one.owner))));
    return el("section", { "aria-labelledby": "incidents" },
      el("h2", { id: "incidents" }, "Incidents: what was done to telemetry itself"),
      rows.length ? table(account.incidents_left_out ? `The newest ${rows.length} incidents` : "Incidents, newest first",
        ["When", "What", "Where", "uid"], rows) : el("p", {}, "None."));
  }

  // One agent.

  function agentView(number) {
    const agent = account.agents[number];
    document.title = `${agent.name} - sentineld report`;
    const timeline = agent.timeline;
    const head = el("section", { "aria-labelledby": "agent" },
      el("p", {}, el("a", { href: "#" }, "\u2190 All agents")),
      el("div", { class: "head" }, el("h2", { id: "agent", tabindex: "-1" }, name(agent.name)), tier(agent.would),
        el("span", { class: "quiet" }, "since ", time(agent.since), agent.pinned ? ", pinned" : "")),
      agent.held ? el("p", { class: "warning" }, `In force is tier ${agent.tier}: ${agent.held}.`) : "",
      agent.note ? el("p", { class: "warning" }, `${agent.note}.`) : "",
      el("dl", {}, facts(agent).map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value)))),
      timeline ? standing(timeline) : "");
    if (timeline === null)
      return [head, el("section", {},
        el("p", {}, "This file holds no timeline of this agent, to stay small. Ask for it: ",
          el("code", {}, "sentineld why AGENT"), ", or make a report with more ", el("code", {}, "--timelines"), "."))];
    return [head, ...history(agent, timeline)];
  }

  function facts(agent) {
    const found = [
      ["Score now", [figure(agent.score.toFixed(2)), meter(agent.score, account.thresholds[2])]],
      ["Highest ever", agent.max_score.toFixed(2)],
      ["Events", count(agent.events)],
      ["Last activity", time(agent.last_activity)],
      ["File and network operations, last 5 min", `${count(agent.file_ops)} and ${count(agent.network_ops)}`],
      ["Records understood", agent.coverage === null ? "no record of its own" : percent(agent.coverage)],
      ["Written by", `uid ${agent.owner}`],
    ];
    if (agent.timeline && agent.timeline.learned) {
      const learned = agent.timeline.learned;
      found.push(["Finished sessions", `${count(learned.sessions)}; its role has ${count(learned.role_sessions)} to rank by`]);
    }
    return found;
  }

  function standing(timeline) {
    const learned = timeline.learned;
    const said = [];
    if (learned) {
      said.push(learned.session ? el("p", {}, "Its session ", name(learned.session), ` is ${learned.said}.`) : el("p", {}, "No session is open."));
      if (learned.learning) said.push(el("p", {}, `Its role is learning: ${learned.learning}.`));
      if (learned.starter) said.push(el("p", {}, `${learned.starter}.`));
    } else {
      const parts = Object.entries(timeline.contributions).map(([part, value]) => `${part} ${value.toFixed(2)}`);
      if (parts.length) said.push(el("p", {}, `The score is ${parts.join(" + ")}.`));
    }
    if (timeline.lifted_by.length)
      said.push(el("h3", {}, "What lifts it"),
        el("ul", { class: "plain" }, timeline.lifted_by.map((way) => el("li", {}, way.startsWith("sentineld ") ? el("code", {}, way) : way))));
    return said;
  }

  function history(agent, timeline) {
    const holder = el("div", { class: "chart", role: "img", "aria-label": summary(timeline) });
    const readout = el("p", { class: "readout", "aria-hidden": "true" }, "Point at the chart to read it; click a change of tier for its evidence; drag to zoom, double-click to see all.");
    const items = timeline.decisions.map((one, index) => decision(one, index === 0));
    const section = el("section", { "aria-labelledby": "timeline" },
      el("h2", { id: "timeline" }, "Timeline"),
      holder, readout, ...unanswered(timeline),
      el("ul", { class: "keys" },
        el("li", {}, el("i", { class: "bar" }), timeline.slot_s === 60 ? "highest score of a minute" : "highest score of an hour"),
        el("li", {}, el("i", { class: "dash" }), `thresholds: tier 2 at ${account.thresholds[2].toFixed(2)}, tier 3 at ${account.thresholds[3].toFixed(2)}`),
        el("li", {}, el("i", { class: "band2" }), "tier 2"), el("li", {}, el("i", { class: "band3" }), "tier 3")),
      el("details", {}, el("summary", {}, "The scores as a table"),
        table("Highest score in each slot of time, newest first", ["Until", "Score"],
          [...timeline.points].reverse().map(([at, score]) =>
            el("tr", {}, el("td", { class: "time" }, clock(at)), el("td", {}, score.toFixed(2)))))));
    const list = el("section", { "aria-labelledby": "evidence" },
      el("h2", { id: "evidence" }, "Decisions and their evidence"),
      items.length ? items : el("p", {}, "It was never demoted."),
      timeline.incidents ? el("p", {}, `Incidents of uid ${agent.owner}: see `, el("a", { href: "#incidents-of-all" }, "the overview"), ".") : "");
    drawLater(holder, timeline, readout, (index) => {
      items[index].open = true;
      const heading = items[index].querySelector("summary");
      heading.scrollIntoView({ block: "center" });
      heading.focus();
    });
    return [section, list];
  }

  function unanswered(timeline) {
    const limit = account.thresholds[2];
    const strict = bands(timeline, -Infinity, Infinity);
    const answered = (at) => strict.some(([start, end]) => start <= at && end >= at - timeline.slot_s);
    const times = timeline.points.filter(([at, score]) => score >= limit && !answered(at)).map(([at]) => clock(at));
    if (account.detection !== "learned" || !times.length) return [];
    const which = times.length === 1 ? `The bar of ${times[0]} is` : `${times.length} bars are`;
    return [el("p", { class: "quiet small", id: "unanswered" },
      `${which} above today's threshold of tier 2 and changed no tier. That is so for sessions that were there at the `,
      "first start, which are learned from and demote nobody, within the grace after a pardon, and where the threshold was higher then.")];
  }

  function summary(timeline) {
    const demotions = timeline.decisions.filter((one) => one.to > one.from).length;
    const scores = timeline.points.map(([, score]) => score);
    if (!scores.length) return `No scores are kept; demotions: ${demotions}.`;
    const [at] = timeline.points[scores.indexOf(Math.max(...scores))];
    return `${scores.length} scores from ${clock(timeline.points[0][0])} to ${clock(timeline.points[scores.length - 1][0])} UTC, the highest ${Math.max(...scores).toFixed(2)} at ${clock(at)}; demotions: ${demotions}.`;
  }

  function decision(one, isOpen) {
    const said = [];
    if (one.actor) said.push(el("p", {}, "By ", name(one.actor), ": ", name(one.note), one.attack ? " (confirmed as an attack)" : ""));
    else if (one.note) said.push(el("p", {}, name(one.note)));
    if (one.said) said.push(el("p", {}, `Its session was ${one.said}.`));
    if (one.evidence.length)
      said.push(el("h3", {}, one.heading),
        el("ol", { class: "evidence" }, one.evidence.map((item) =>
          el("li", {}, name(item.summary), item.path ? el("span", { class: "path" }, name(item.path), `, byte ${item.offset}`) : ""))));
    if (one.reasons.length) said.push(el("h3", {}, "What it rests on"), one.said ? bits(one.reasons) : limits(one));
    if (one.bound) said.push(el("p", {}, `False alarms: ${one.bound}.`));
    said.push(el("p", { class: "quiet" }, `${one.id}, score ${one.score.toFixed(2)}, judged by `, el("span", { class: "path" }, one.prior)));
    return el("details", { class: "decision", open: isOpen },
      el("summary", {}, time(one.at), " ", step(one), ` ${one.cause}`),
      el("div", {}, said));
  }

  function bits(reasons) {
    const most = Math.max(1, ...reasons.map((reason) => reason.bits));
    return table("Surprise in bits; a rule needs none", ["Channel", "Feature", "Bits"], reasons.map((reason) =>
      el("tr", {}, el("td", {}, reason.detector), el("td", {}, reason.label),
        el("td", {}, figure(reason.bits ? reason.bits.toFixed(1) : reason.detector === "rule" ? "rule" : "0"),
          reason.bits ? meter(reason.bits / most, 2) : ""))));
  }

  function limits(one) {
    const show = (value) => (value === null ? "made no difference" : String(+value.toFixed(3)));
    return table("Seen, and the most that would have changed nothing", ["What", "Seen", `Tier ${one.from} up to`],
      one.reasons.map((reason) => el("tr", {}, el("td", {}, reason.label), el("td", {}, show(reason.observed)), el("td", {}, show(reason.expected)))));
  }

  // The chart.

  let chart = null;
  let redraw = null;

  function spanOf(timeline) {
    return timeline.slot_s === 60 ? 1800 : 28 * DAY_S;
  }

  function color(variable) {
    const probe = el("span");
    probe.style.color = `var(--${variable})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  function bands(timeline, from, until) {
    const changes = [...timeline.decisions].reverse();
    const found = [];
    let [start, level] = [from, changes.length ? changes[0].from : 1];
    for (const one of changes) {
      if (one.time > start) found.push([start, one.time, level]);
      start = Math.max(start, one.time);
      level = one.to;
    }
    found.push([start, until, level]);
    return found.filter(([, , number]) => number > 1);
  }

  function drawLater(holder, timeline, readout, open) {
    redraw = () => {
      if (chart) chart.destroy();
      chart = draw(holder, timeline, readout, open);
    };
    requestAnimationFrame(redraw);
  }

  function draw(holder, timeline, readout, open) {
    const far = NOW_S - 12 * spanOf(timeline);
    const near = timeline.slot_s === 60 ? far : NOW_S - spanOf(timeline);
    const times = [...timeline.points.map(([at]) => at - timeline.slot_s), ...timeline.decisions.map((one) => one.time)];
    const recent = times.filter((at) => at >= near);
    const from = Math.min(...(recent.length ? recent : times.length ? [Math.max(...times)] : []), NOW_S - 600) - 60;
    const points = timeline.points.filter(([at]) => at > from);
    const until = Math.max(NOW_S, ...points.map(([at]) => at));
    const pad = (until - from) / 60;
    const range = [from - pad, until + pad];
    const shades = { 2: color("tier2-band"), 3: color("tier3-band") };
    const inks = { 1: color("tier1"), 2: color("tier2"), 3: color("tier3") };
    const [line, quiet, accent] = [color("line"), color("quiet"), color("accent")];
    const marks = timeline.decisions.map((one, index) => ({ ...one, index })).filter((one) => one.from !== one.to);
    const axis = { stroke: quiet, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px system-ui, sans-serif" };

    function background(u) {
      const { ctx, bbox } = u;
      ctx.save();
      for (const [start, end, level] of bands(timeline, range[0], range[1])) {
        const left = Math.max(bbox.left, u.valToPos(start, "x", true));
        const right = Math.min(bbox.left + bbox.width, u.valToPos(end, "x", true));
        if (right <= left) continue;
        ctx.fillStyle = shades[level];
        ctx.fillRect(left, bbox.top, right - left, bbox.height);
      }
      ctx.restore();
    }

    function foreground(u) {
      const { ctx, bbox } = u;
      const ratio = uPlot.pxRatio;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, 0, bbox.width, bbox.top + bbox.height);
      ctx.clip();
      ctx.font = `600 ${11 * ratio}px system-ui, sans-serif`;
      ctx.textAlign = "left";
      ctx.textBaseline = "alphabetic";
      ctx.lineWidth = ratio;
      for (const level of [2, 3]) {
        const y = u.valToPos(account.thresholds[level], "y", true);
        ctx.strokeStyle = inks[level];
        ctx.setLineDash([6 * ratio, 4 * ratio]);
        stroke(ctx, bbox.left, y, bbox.left + bbox.width, y);
        ctx.fillStyle = inks[level];
        ctx.fillText(`tier ${level}`, bbox.left + 4 * ratio, level === 2 ? y + 12 * ratio : y - 4 * ratio);
      }
      // The latest first: where there is no room for all labels, it is told what came of it.
      let free = Infinity;
      for (const one of marks) {
        const x = u.valToPos(one.time, "x", true);
        if (x < bbox.left || x > bbox.left + bbox.width) continue;
        ctx.strokeStyle = ctx.fillStyle = inks[one.to];
        ctx.setLineDash([]);
        stroke(ctx, x, bbox.top - 2 * ratio, x, bbox.top + bbox.height);
        const text = `${one.from}\u2192${one.to}`;
        const width = ctx.measureText(text).width;
        const at = Math.max(bbox.left, Math.min(x - width / 2, bbox.left + bbox.width - width));
        if (at + width < free) {
          ctx.fillText(text, at, bbox.top - 5 * ratio);
          free = at - 4 * ratio;
        }
      }
      ctx.restore();
    }

    function stroke(ctx, x1, y1, x2, y2) {
      ctx.beginPath();
      ctx.moveTo(x1, y1);
      ctx.lineTo(x2, y2);
      ctx.stroke();
    }

    function nearest(u, left) {
      let best = null;
      for (const one of marks) {
        const distance = Math.abs(u.valToPos(one.time, "x") - left);
        if (distance < 14 && (best === null || distance < best.distance)) best = { distance, one };
      }
      return best && best.one;
    }

    function point(u) {
      const { left, idx } = u.cursor;
      if (left < 0) return;
      const mark = nearest(u, left);
      const isNear = idx !== null && Math.abs(u.valToPos(u.data[0][idx], "x") - left) < 14;
      const score = isNear ? u.data[1][idx] : null;
      const parts = [`${clock(u.posToVal(left, "x"))} UTC`];
      if (score !== null && score !== undefined) parts.push(`score ${score.toFixed(2)} in the slot until ${clock(u.data[0][idx])}`);
      if (mark) parts.push(`tier ${mark.from} \u2192 ${mark.to}, ${mark.cause} (click for the evidence)`);
      readout.textContent = parts.join("; ");
    }

    const plot = new uPlot({
      width: Math.max(200, holder.clientWidth),
      height: 264,
      padding: [20, 10, 0, 0],
      tzDate: (seconds) => uPlot.tzDate(new Date(1000 * seconds), "Etc/UTC"),
      legend: { show: false },
      cursor: { y: false, drag: { x: true, y: false } },
      scales: { x: { time: true, range: (u, low, high) => [low, high] }, y: { range: [0, 1] } },
      axes: [
        { ...axis, space: 64, values: (u, splits, index, space, step) => splits.map((at) => {
          const text = clock(at);
          return step >= DAY_S ? text.slice(5, 10) : at % DAY_S === 0 ? text.slice(5, 10) : text.slice(11, 16);
        }) },
        { ...axis, size: 44, values: (u, splits) => splits.map((value) => value.toFixed(1)) },
      ],
      series: [{}, { stroke: accent, fill: accent, width: 0, points: { show: true, size: 6, fill: accent },
        paths: uPlot.paths.bars({ size: [0.8, 12, 3] }) }],
      hooks: {
        drawClear: [background],
        draw: [foreground],
        setCursor: [point],
        ready: [(u) => {
          u.over.addEventListener("click", () => {
            const one = nearest(u, u.cursor.left);
            if (one) open(one.index);
          });
        }],
      },
    }, [[range[0], ...points.map(([at]) => at), range[1]], [null, ...points.map(([, score]) => score), null]], holder);
    return plot;
  }

  // Where we are, and how it looks.

  function show() {
    if (chart) chart.destroy();
    chart = redraw = null;
    const found = /^#agent-(\d+)$/.exec(location.hash);
    const isAgent = found !== null && +found[1] < account.agents.length;
    main.replaceChildren(...(isAgent ? agentView(+found[1]) : overview()));
    window.scrollTo(0, 0);
    if (isAgent) document.getElementById("agent").focus();
    else if (location.hash === "#incidents-of-all") document.getElementById("incidents").scrollIntoView();
  }

  function setTheme(value) {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
    if (redraw) redraw();
  }

  const theme = document.getElementById("theme");
  theme.addEventListener("change", () => setTheme(theme.value));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(theme.value));
  new ResizeObserver(() => {
    if (chart) chart.setSize({ width: Math.max(200, chart.root.parentNode.clientWidth), height: 264 });
  }).observe(main);
  document.getElementById("when").textContent = `report of ${clock(NOW_S)} UTC, ${
    account.state.fresh ? `${account.state.status}, mode ${account.state.mode}` : "state not fresh"}`;
  document.getElementById("version").textContent = `sentineld ${account.version}`;
  window.addEventListener("hashchange", show);
  show();
})();
