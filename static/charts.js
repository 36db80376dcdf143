/* Draws the budget page's charts from the numbers in it, in the palette's colours and in both themes. */
(() => {
  "use strict";
  const doc = document;
  const root = doc.documentElement;
  const source = doc.getElementById("drawn");
  if (!source || !window.Chart) return;
  const drawn = JSON.parse(source.textContent);

  /* ---- words ---- */
  const exact = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });
  const money = (usd) => (usd > 0 && usd < 0.01 ? "<$0.01" : exact.format(usd));
  const tick = (usd) => (usd && usd < 10 ? money(usd) : `$${Math.round(usd).toLocaleString("en-US")}`);

  /* ---- colours: a custom property is not resolved until something is painted with it ---- */
  const probe = doc.createElement("span");
  probe.hidden = true;
  doc.body.append(probe);
  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const faint = (name, part) => colour(name).replace("rgb(", "rgba(").replace(")", `, ${part})`);

  /* ---- what Chart.js has no option for: lines with a word at them, and weekends ---- */
  const face = (bold) => `${bold ? 550 : 450} 11px ${Chart.defaults.font.family}`;
  const word = (chart, text, x, y, { align = "left", bold = true } = {}) => {
    const { ctx } = chart;
    ctx.save();
    ctx.font = face(bold);
    ctx.fillStyle = colour(bold ? "ink-2" : "ink-3");
    ctx.textAlign = align;
    ctx.fillText(text, x, y);
    ctx.restore();
  };
  const dashed = (chart, x1, y1, x2, y2, name = "ink-3") => {
    const { ctx } = chart;
    ctx.save();
    ctx.strokeStyle = colour(name);
    ctx.setLineDash([3, 3]);
    ctx.beginPath();
    ctx.moveTo(x1, y1);
    ctx.lineTo(x2, y2);
    ctx.stroke();
    ctx.restore();
  };
  const level = (chart, value) => {
    const { chartArea: area, scales } = chart;
    const y = scales.y.getPixelForValue(value);
    dashed(chart, area.left, y, area.right, y);
    return y;
  };

  const cumulative = {
    id: "cumulative",
    afterDatasetsDraw(chart) {
      const { cap, capLabel, nowLabel, values } = drawn.cumulative;
      const { chartArea: area, scales } = chart;
      if (cap) {
        word(chart, capLabel, area.left + 6, level(chart, cap) - 6);
        /* an even pace, from nothing on the first morning to the cap on the last evening */
        dashed(chart, area.left, scales.y.getPixelForValue(0), area.right, scales.y.getPixelForValue(cap), "line-strong");
        const part = 0.55;
        const x = area.left + part * (area.right - area.left);
        word(chart, "Even pace", x - 6, scales.y.getPixelForValue(cap * part) - 6, { align: "right", bold: false });
      }
      if (drawn.ahead?.cumulative.length) {
        /* each end beside its point, as far from the others as a line is high */
        const [low, likely, high] = drawn.ahead.cumulative.at(-1).map((usd) => scales.y.getPixelForValue(usd));
        const [lowSaid, likelySaid, highSaid] = drawn.ahead.labels;
        word(chart, likelySaid, area.right + 8, likely + 4);
        word(chart, highSaid, area.right + 8, Math.min(high + 4, likely - 9), { bold: false });
        word(chart, lowSaid, area.right + 8, Math.max(low + 4, likely + 17), { bold: false });
      }
      if (!nowLabel) return;
      const last = values.length - 1;
      const x = scales.x.getPixelForValue(last);
      const isLate = x > area.right - 90;
      word(chart, nowLabel, isLate ? x - 8 : x + 8, scales.y.getPixelForValue(values[last]) + (isLate ? -8 : 15), {
        align: isLate ? "right" : "left",
      });
    },
  };
  const weekends = {
    id: "weekends",
    beforeDatasetsDraw(chart) {
      const { ctx, chartArea: area, scales } = chart;
      const width = (area.right - area.left) / drawn.days.length;
      ctx.save();
      ctx.fillStyle = colour("hover");
      for (const day of drawn.weekends) {
        ctx.fillRect(scales.x.getPixelForValue(day) - width / 2, area.top, width, area.bottom - area.top);
      }
      ctx.restore();
    },
    afterDatasetsDraw(chart) {
      if (drawn.daily.even) level(chart, drawn.daily.even);
    },
  };
  const marks = {
    id: "marks",
    afterDatasetsDraw(chart) {
      const { ctx, chartArea: area, scales } = chart;
      const { medianAt, median, tailAt, tail } = drawn.costs;
      ctx.save();
      ctx.font = face(true);
      /* each stands after its line, or before it at the end of the chart */
      const [first, second] = [[median, medianAt], [tail, tailAt]].map(([text, at]) => {
        const line = scales.x.getPixelForValue(at);
        const width = ctx.measureText(text).width;
        const from = Math.max(0, line + 5 + width > area.right ? line - 5 - width : line + 5);
        return { text, line, from, to: from + width };
      });
      ctx.restore();
      /* where they would meet, or a line would run through one, the second stands above the first and no line between */
      const isIn = (x, at) => x > at.from - 4 && x < at.to + 4;
      const isTight = [first, second].some((at, _, both) => both.some((one) => isIn(one.line, at) || (one !== at && isIn(one.from, at))));
      const top = area.top - (isTight ? 0 : 16);
      for (const x of new Set([first.line, second.line])) dashed(chart, x, top, x, area.bottom, "ink-2");
      word(chart, first.text, first.from, area.top - 6);
      word(chart, second.text, second.from, area.top - (isTight ? 22 : 6));
    },
  };

  /* ---- the charts ---- */
  const axis = () => ({
    border: { display: false },
    grid: { display: false },
    ticks: { color: colour("ink-3"), maxRotation: 0, autoSkipPadding: 24 },
  });
  const weekly = new Set([0, 7, 14, 21, drawn.days.length - 1]);
  const days = () => ({
    ...axis(),
    ticks: {
      color: colour("ink-3"),
      maxRotation: 0,
      autoSkip: false,
      callback: (at) => (weekly.has(at) ? drawn.days[at] : ""),
    },
  });
  const dollars = (top) => ({
    ...axis(),
    beginAtZero: true,
    suggestedMax: top || 1,
    grid: { color: colour("line"), drawTicks: false },
    ticks: { color: colour("ink-3"), padding: 8, maxTicksLimit: 6, callback: tick },
  });
  const tooltip = (label, title) => ({
    backgroundColor: colour("raised"),
    borderColor: colour("line-strong"),
    borderWidth: 1,
    titleColor: colour("ink"),
    bodyColor: colour("ink-2"),
    footerColor: colour("ink"),
    padding: 10,
    boxWidth: 8,
    boxHeight: 8,
    callbacks: { label, ...(title && { title }) },
  });
  const options = (given) => ({
    animation: false,
    maintainAspectRatio: false,
    interaction: { mode: "index", intersect: false },
    ...given,
    plugins: { legend: { display: false }, ...given.plugins },
  });
  /* the days gone have none of what is to come, but for today, where it begins */
  const ahead = (at) => {
    const { values } = drawn.cumulative;
    const before = Array(values.length - 1).fill(null);
    return [...before, values.at(-1), ...drawn.ahead.cumulative.map((day) => day[at])];
  };
  const band = () => {
    if (!drawn.ahead?.cumulative.length) return [];
    const line = { pointRadius: 0, borderWidth: 0, backgroundColor: faint("c1", 0.16) };
    return [
      { ...line, data: ahead(0), label: "Low" },
      { ...line, data: ahead(2), label: "High", fill: "-1" },
      { ...line, data: ahead(1), label: "Likely", borderWidth: 2, borderDash: [2, 3], borderColor: colour("c1") },
    ];
  };
  /* a bar from low to high with the likely cost across it */
  const likely = {
    id: "likely",
    afterDatasetsDraw(chart) {
      const at = chart.data.datasets.findIndex((one) => one.label === "Forecast");
      if (at < 0) return;
      const { ctx, scales } = chart;
      ctx.save();
      ctx.fillStyle = colour("c1");
      chart.getDatasetMeta(at).data.forEach((bar, day) => {
        const known = drawn.ahead.daily[day - drawn.cumulative.values.length];
        if (known) ctx.fillRect(bar.x - bar.width / 2, scales.y.getPixelForValue(known[1]) - 0.75, bar.width, 1.5);
      });
      ctx.restore();
    },
  };
  const forecast = () => {
    if (!drawn.ahead?.daily.length) return [];
    const data = [...drawn.cumulative.values.map(() => null), ...drawn.ahead.daily.map(([low, , high]) => [low, high])];
    const look = { borderRadius: 1.5, categoryPercentage: 0.78, barPercentage: 0.9 };
    return [{ label: "Forecast", data, backgroundColor: faint("c1", 0.16), ...look }];
  };
  const spend = (item) =>
    Array.isArray(item.raw) ? ` Forecast  ${money(item.raw[0])} to ${money(item.raw[1])}` : ` ${item.dataset.label}  ${money(item.parsed.y)}`;
  const builders = {
    cumulative: () => ({
      type: "line",
      data: {
        labels: drawn.days,
        datasets: [
          {
            data: drawn.cumulative.values,
            borderColor: colour("c1"),
            backgroundColor: faint("c1", 0.07),
            fill: true,
            borderWidth: 2,
            pointRadius: drawn.cumulative.values.map((_, at, all) =>
              drawn.cumulative.nowLabel && at === all.length - 1 ? 4.5 : 0,
            ),
            pointBackgroundColor: colour("c1"),
            pointBorderColor: colour("surface"),
            pointBorderWidth: 2,
          },
          ...band(),
        ],
      },
      options: options({
        layout: { padding: { top: 16, right: drawn.ahead?.cumulative.length ? 78 : 0 } },
        scales: { x: days(), y: dollars(drawn.cumulative.cap) },
        plugins: { tooltip: tooltip((item) => ` ${item.dataset.label ? `${item.dataset.label}  ` : ""}${money(item.parsed.y)}`) },
      }),
      plugins: [cumulative],
    }),
    daily: () => ({
      type: "bar",
      data: {
        labels: drawn.days,
        datasets: [
          ...drawn.daily.series.map((one) => ({
            label: one.name,
            data: one.values,
            backgroundColor: colour(`c${one.swatch}`),
            borderColor: colour("surface"),
            borderWidth: { top: 1 },
            borderRadius: 1.5,
            categoryPercentage: 0.78,
            barPercentage: 0.9,
          })),
          ...forecast(),
        ],
      },
      options: options({
        scales: { x: { ...days(), stacked: true }, y: { ...dollars(drawn.daily.even), stacked: true } },
        plugins: {
          tooltip: {
            ...tooltip(spend),
            filter: (item) => item.parsed.y > 0,
          },
        },
      }),
      plugins: [weekends, likely],
    }),
    models: () => ({
      type: "doughnut",
      data: {
        labels: drawn.models.map((one) => one.name),
        datasets: [
          {
            data: drawn.models.map((one) => one.value),
            backgroundColor: drawn.models.map((one) => colour(`m${one.depth}`)),
            borderColor: colour("surface"),
            borderWidth: 2,
          },
        ],
      },
      options: options({
        cutout: "70%",
        interaction: { mode: "nearest", intersect: true },
        plugins: { tooltip: tooltip((item) => ` ${money(item.parsed)}`) },
      }),
    }),
    costs: () => ({
      type: "bar",
      data: {
        labels: drawn.costs.from,
        datasets: [
          {
            data: drawn.costs.jobs,
            backgroundColor: drawn.costs.jobs.map((_, at) => colour(at > drawn.costs.tailAt ? "m2" : "m3")),
            borderRadius: 2,
            categoryPercentage: 1,
            barPercentage: 0.94,
          },
        ],
      },
      options: options({
        layout: { padding: { top: 34 } },
        scales: {
          x: axis(),
          y: {
            ...dollars(),
            ticks: { color: colour("ink-3"), padding: 8, precision: 0, maxTicksLimit: 5 },
          },
        },
        plugins: {
          tooltip: tooltip(
            (item) => ` ${item.parsed.y.toLocaleString("en-US")} job${item.parsed.y === 1 ? "" : "s"}`,
            (items) => drawn.costs.spans[items[0].dataIndex],
          ),
        },
      }),
      plugins: [marks],
    }),
  };
  const charts = new Map();
  Chart.defaults.font.family = getComputedStyle(doc.body).fontFamily;
  Chart.defaults.font.size = 11;
  const draw = () => {
    for (const [id, build] of Object.entries(builders)) {
      const canvas = doc.getElementById(id);
      if (!canvas) continue;
      const { data, options: wanted, ...rest } = build();
      const chart = charts.get(id);
      if (chart) Object.assign(chart, { data, options: wanted }).update("none");
      else charts.set(id, new Chart(canvas, { data, options: wanted, ...rest }));
    }
  };
  draw();
  new MutationObserver(draw).observe(root, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  /* ---- paper: light, and as wide as a sheet, before the browser lays it out ---- */
  const onPaper = (isOn) => {
    root.classList.toggle("paper", isOn);
    draw();
    for (const chart of charts.values()) chart.resize();
  };
  addEventListener("beforeprint", () => onPaper(true));
  addEventListener("afterprint", () => onPaper(false));

  /* ---- buttons that need a script are hidden without one, and the other way round ---- */
  for (const button of doc.querySelectorAll("[data-print], [data-png]")) button.hidden = false;
  for (const button of doc.querySelectorAll("[data-instead]")) button.hidden = true;
  doc.addEventListener("change", (event) => {
    if (event.target.matches("[data-at-once]")) event.target.form.requestSubmit();
  });
  doc.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if ("print" in button.dataset) window.print();
    if (button.dataset.png) save(doc.getElementById(button.dataset.png));
  });
  const save = (canvas) => {
    const sheet = doc.createElement("canvas");
    Object.assign(sheet, { width: canvas.width, height: canvas.height });
    const ctx = sheet.getContext("2d");
    ctx.fillStyle = colour("surface");
    ctx.fillRect(0, 0, sheet.width, sheet.height);
    ctx.drawImage(canvas, 0, 0);
    sheet.toBlob((blob) => {
      const link = doc.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${canvas.id}.png`;
      link.click();
      URL.revokeObjectURL(link.href);
    });
  };
})();
