// What a chart draws besides its line, and how uPlot is set up.

import uPlot from "uplot";
import { clock, measure } from "./format";
import { settings } from "./settings.svelte";
import type { Level } from "./states";
import type { Series } from "./readings";

export interface Threshold {
  value: number;
  label: string;
  /** Where an alert ends, not where it begins. */
  clear?: boolean;
}

/** A span of time, in milliseconds, such as that of an alert. */
export interface Band {
  from: number;
  to: number;
  level: Level;
  label: string;
}

export interface Layers {
  series: Series;
  thresholds: readonly Threshold[];
  bands: readonly Band[];
}

/** The colour of a token, as the canvas takes it. */
function colour(element: Element, token: string): string {
  const probe = document.createElement("i");
  probe.style.color = `var(${token})`;
  element.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

export interface Palette {
  line: string;
  band: string;
  grid: string;
  text: string;
  warn: string;
  bad: string;
  card: string;
}

export const palette = (element: Element): Palette => ({
  line: colour(element, "--c1"),
  band: colour(element, "--c1"),
  grid: colour(element, "--line"),
  text: colour(element, "--mut"),
  warn: colour(element, "--warn"),
  bad: colour(element, "--bad"),
  card: colour(element, "--card"),
});

const faded = (value: string, share: number) => `color-mix(in oklab, ${value} ${share}%, transparent)`;

/** The range of values: of the line and of the thresholds that are not far from it. */
export function extent({ series, thresholds }: Layers, from: number, to: number): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const [at, x] of series.x.entries()) {
    if (x < from || x > to) continue;
    low = Math.min(low, series.min?.[at] ?? series.avg[at] ?? Infinity);
    high = Math.max(high, series.max?.[at] ?? series.avg[at] ?? -Infinity);
  }
  if (low > high) [low, high] = [0, 1];
  const span = Math.max(high - low, Math.abs(high) * 0.01, 0.1);
  const [floor, ceiling] = [low - span * 3, high + span * 3];
  for (const { value } of thresholds) {
    if (value < floor || value > ceiling) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const room = Math.max(high - low, span) * 0.08;
  return [low - room, high + room];
}

function drawBands(u: uPlot, layers: Layers, colours: Palette) {
  const { ctx, bbox } = u;
  for (const band of layers.bands) {
    const left = Math.max(u.valToPos(band.from / 1000, "x", true), bbox.left);
    const right = Math.min(u.valToPos(band.to / 1000, "x", true), bbox.left + bbox.width);
    if (right < bbox.left || left > bbox.left + bbox.width) continue;
    const hue = band.level === "bad" ? colours.bad : colours.warn;
    const width = Math.max(right - left, 2);
    ctx.fillStyle = faded(hue, 13);
    ctx.fillRect(left, bbox.top, width, bbox.height);
    ctx.fillStyle = hue;
    ctx.fillRect(left, bbox.top, width, 3 * devicePixelRatio);
  }
}

function drawThresholds(u: uPlot, layers: Layers, colours: Palette) {
  const { ctx, bbox } = u;
  const scale = devicePixelRatio;
  ctx.font = `${12 * scale}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  for (const { value, label, clear } of layers.thresholds) {
    const y = u.valToPos(value, "y", true);
    const inside = y >= bbox.top && y <= bbox.top + bbox.height;
    ctx.strokeStyle = ctx.fillStyle = clear ? colours.text : colours.bad;
    if (inside) {
      ctx.lineWidth = 1.5 * scale;
      ctx.setLineDash([7 * scale, 5 * scale]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.setLineDash([]);
    }
    const words = inside ? label : `${label} ${y < bbox.top ? "↑" : "↓"} outside of the chart`;
    const at = Math.min(Math.max(y, bbox.top), bbox.top + bbox.height);
    const above = at - bbox.top > 22 * scale;
    const width = ctx.measureText(words).width;
    const left = bbox.left + 8 * scale;
    const base = above ? at - 6 * scale : at + 15 * scale;
    const hue = ctx.fillStyle;
    ctx.fillStyle = faded(colours.card, 82);
    ctx.fillRect(left - 3 * scale, base - 12 * scale, width + 6 * scale, 16 * scale);
    ctx.fillStyle = hue;
    ctx.fillText(words, left, base);
  }
}

/** Late readings as triangles, those of an unset clock as squares. */
function drawMarks(u: uPlot, layers: Layers, colours: Palette) {
  const { ctx, bbox } = u;
  const size = 5 * devicePixelRatio;
  ctx.fillStyle = colours.warn;
  ctx.strokeStyle = colours.card;
  ctx.lineWidth = devicePixelRatio;
  for (const mark of layers.series.marks) {
    const [x, y] = [u.valToPos(mark.x, "x", true), u.valToPos(mark.y, "y", true)];
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    if (mark.kind === "late") {
      ctx.moveTo(x, y - size);
      ctx.lineTo(x + size, y + size);
      ctx.lineTo(x - size, y + size);
      ctx.closePath();
    } else ctx.rect(x - size, y - size, 2 * size, 2 * size);
    ctx.fill();
    ctx.stroke();
  }
}

const zoned = (time: number) => {
  const date = new Date(time * 1000);
  return settings.zone === "utc" ? uPlot.tzDate(date, "Etc/UTC") : date;
};

/** Labels of the time axis, by the distance between two of them. */
const TIMES: uPlot.Axis.Values = [
  [86_400 * 365, "{YYYY}", null, null, null, null, null, null, 1],
  [86_400 * 28, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
  [86_400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
];

const values = ({ series }: Layers): uPlot.AlignedData => [series.x, series.avg, series.min ?? series.avg.map(() => null), series.max ?? series.avg.map(() => null)];

/** Makes the chart; `view`, the visible range in milliseconds, and `layers` are read whenever it is drawn. */
export function makeChart(
  target: HTMLElement, size: { width: number; height: number }, view: () => { from: number; to: number },
  layers: () => Layers, pointed: (index: number | null) => void,
): uPlot {
  const colours = palette(target);
  const few = () => layers().series.width === null && layers().series.x.length < 90;
  const axis = { stroke: colours.text, grid: { stroke: colours.grid, width: 1 }, ticks: { stroke: colours.grid, width: 1, size: 5 }, font: "12px system-ui, sans-serif" };
  return new uPlot(
    {
      ...size,
      padding: [10, 12, 0, 0],
      legend: { show: false },
      tzDate: zoned,
      cursor: { drag: { x: false, y: false }, points: { size: 7 }, y: false },
      scales: {
        x: { time: true, min: view().from / 1000, max: view().to / 1000 },
        y: { range: () => extent(layers(), view().from / 1000, view().to / 1000) },
      },
      series: [
        {},
        { stroke: colours.line, width: 1.75, points: { show: few, size: 5, fill: colours.line, stroke: colours.line } },
        { stroke: "transparent", points: { show: false } },
        { stroke: "transparent", points: { show: false } },
      ],
      bands: [{ series: [3, 2], fill: faded(colours.band, 22) }],
      axes: [
        { ...axis, values: TIMES, space: 74 },
        { ...axis, size: 58, values: (_, splits) => splits.map((value) => measure(value)) },
      ],
      hooks: {
        drawClear: [(u) => drawBands(u, layers(), colours)],
        draw: [(u) => drawThresholds(u, layers(), colours), (u) => drawMarks(u, layers(), colours)],
        setCursor: [(u) => pointed(u.cursor.left !== undefined && u.cursor.left >= 0 ? (u.cursor.idx ?? null) : null)],
      },
    },
    values(layers()),
    target,
  );
}

export const setValues = (chart: uPlot, layers: Layers): void => chart.setData(values(layers), false);

/** The point under the cursor, in words. */
export function reading(layers: Layers, index: number): string {
  const { series } = layers;
  const value = series.avg[index];
  if (value == null) return "No reading here.";
  const at = clock(new Date(series.x[index]! * 1000).toISOString());
  return series.width === null ? `${at}: ${measure(value)}` : `${at}: average ${measure(value)}, from ${measure(series.min?.[index])} to ${measure(series.max?.[index])}`;
}
