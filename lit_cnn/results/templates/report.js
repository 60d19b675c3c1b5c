"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colours = () => dark.matches ? ["#79b8ff", "#ffb37a", "#a5d6a7", "#e0aaff"] : ["#1f77b4", "#d95f02", "#2e7d32", "#7b1fa2"];
  const drawn = new Map();

  // ---- curves
  function draw(box) {
    const number = Number(box.dataset.chart), chart = data.charts[number];
    const log = document.querySelector(`input.log[data-chart="${number}"]`);
    drawn.get(box)?.destroy();
    const axis = { stroke: style("--dim"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line") } };
    const tick = (value) => value !== 0 && Math.abs(value) < 0.01 ? value.toExponential(1) : String(+value.toPrecision(6));
    const shown = (u, value) => value == null ? "-" : Number(value).toPrecision(4);
    drawn.set(box, new uPlot({
      width: box.clientWidth, height: 260,
      scales: { x: { time: false }, y: { distr: log?.checked ? 3 : 1 } },
      axes: [
        { ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] },
        { ...axis, size: 66, values: (u, ticks) => ticks.map((value) => value == null ? "" : tick(value)) },
      ],
      series: [
        { label: "epoch", value: (u, value) => value == null ? "-" : Number(value).toFixed(1) },
        ...chart.names.map((name, i) => ({ label: name, stroke: colours()[i % 4], width: 2, spanGaps: true, value: shown, points: { show: chart.x.length <= 30 } })),
      ],
    }, [chart.x, ...chart.lines], box));
  }
  const boxes = [...document.querySelectorAll(".chart")];
  const redraw = () => boxes.forEach(draw);
  redraw();
  dark.addEventListener("change", redraw);
  document.querySelectorAll("input.log").forEach((input) => input.addEventListener("change", redraw));
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });

  // ---- input and output of image to image
  document.querySelectorAll(".compare input").forEach((slider) => {
    slider.addEventListener("input", () => slider.parentElement.style.setProperty("--cut", `${slider.value}%`));
  });

  // ---- tables that sort
  const key = (row, column) => {
    const cell = row.cells[column], value = cell.dataset.value;
    return value === undefined ? cell.textContent : Number(value);
  };
  document.querySelectorAll("table.sortable").forEach((table) => {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        [...head.parentNode.cells].forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].sort((a, b) => {
          const x = key(a, column), y = key(b, column);
          const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
          return down ? -order : order;
        });
        body.append(...rows);
      });
    });
  });

  // ---- images behind a cell of the confusion matrix
  const dialog = document.getElementById("cell");
  if (dialog === null) return;
  const place = document.getElementById("cell-images"), title = document.getElementById("cell-title");
  document.querySelectorAll("button[data-cell]").forEach((button) => button.addEventListener("click", () => {
    const cell = button.dataset.cell, [t, p] = cell.split(",").map(Number), rows = data.cells[cell] ?? [];
    const total = Number(button.textContent.replaceAll(",", ""));
    title.textContent = `${data.names[t]} predicted as ${data.names[p]}: ${total.toLocaleString("en")} image${total === 1 ? "" : "s"}`;
    place.replaceChildren(...rows.map((row) => {
      const figure = document.createElement("figure"), caption = document.createElement("figcaption");
      const name = document.createElement("span");
      name.className = "file";
      name.textContent = data.files[row];
      caption.append(`${(100 * data.probability[row]).toFixed(1)}% `, name);
      if (data.pictures[row] !== undefined) {
        const image = document.createElement("img");
        image.alt = data.files[row];
        image.src = `data:image/jpeg;base64,${data.pictures[row]}`;
        figure.append(image);
      }
      figure.append(caption);
      return figure;
    }));
    if (total > rows.length) {
      const more = document.createElement("p");
      more.textContent = `and ${(total - rows.length).toLocaleString("en")} more, see predictions.csv`;
      place.append(more);
    }
    dialog.showModal();
    dialog.scrollTop = 0;
  }));
})();
