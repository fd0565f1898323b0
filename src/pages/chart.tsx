import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import Plot from 'uplot';
import { Table } from './parts.tsx';

/** Charts of numbers over time. */

interface ChartProps {
  readonly title: string;
  readonly unit: string;
  readonly series: readonly { readonly name: string; readonly values: readonly (number | null)[] }[];
  /** Start of each bucket. */
  readonly times: readonly string[];
  /** Called with the window that the person selects with the pointer. */
  readonly onWindow: (from: Date, to: Date) => void;
}

/** Colors of up to four series. */
const colors = ['--accent', '--bad', '--good', '--fair'];

/** Returns a color of style.css in the theme of now. A canvas does not read `light-dark()`. */
function color(name: string): string {
  const probe = document.body.appendChild(document.createElement('span'));
  probe.style.color = `var(${name})`;
  const { color: resolved } = getComputedStyle(probe);
  probe.remove();
  return resolved;
}

function textOf(value: number, unit: string): string {
  return `${value >= 10 ? Math.round(value) : Math.round(value * 100) / 100} ${unit}`.trim();
}

/** Returns the indexes of the values between gaps, which no line shows; null: each value has a point. */
const isolated: Plot.Series.Points.Filter = ({ data }, index, isShown) => {
  const values = data[index]!;
  const isGap = (at: number) => values[at] == null;
  return isShown ? null : [...values.keys()].filter((at) => !isGap(at) && isGap(at - 1) && isGap(at + 1));
};

/** Makes the options of a chart that shows these series. */
function optionsOf({ series, unit, onWindow }: ChartProps, width: number): Plot.Options {
  const axis = {
    stroke: () => color('--soft'),
    grid: { stroke: () => color('--line'), width: 1 },
    ticks: { show: false },
  };
  return {
    width,
    height: 160,
    legend: { show: false },
    cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
    scales: { y: { range: (_plot, _least, most) => [0, Math.max(1, most * 1.1)] } },
    axes: [
      { ...axis, size: 44 },
      {
        ...axis,
        // A character is at most 7 pixels wide, on average.
        size: (_plot, labels: readonly string[] | null) =>
          Math.max(48, ...(labels ?? []).map(({ length }) => 13 + 7 * length)),
        values: (_plot, values) => values.map((value) => textOf(value, unit)),
      },
    ],
    series: [
      {},
      ...series.map(({ name }, index) => ({
        label: name,
        stroke: () => color(colors[index]!),
        width: 2,
        points: { filter: isolated },
        ...(index === 1 ? { dash: [5, 4] } : {}),
      })),
    ],
    hooks: {
      setSelect: [
        (plot) => {
          const { left, width: span } = plot.select;
          if (span < 4) return;
          const at = (x: number) => new Date(plot.posToVal(x, 'x') * 1_000);
          onWindow(at(left), at(left + span));
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
    },
  };
}

/** A chart with a sentence for screen readers, and a table of its numbers. Other series need another `key`. */
export function Chart(props: ChartProps): JSX.Element {
  const { title, unit, series, times } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | undefined>(undefined);
  useEffect(() => {
    const element = box.current!;
    const chart = (plot.current = new Plot(optionsOf(props, element.clientWidth), [[]], element));
    const sizes = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height: 160 }));
    sizes.observe(element);
    const theme = matchMedia('(prefers-color-scheme: dark)');
    const redraw = () => chart.redraw();
    theme.addEventListener('change', redraw);
    return () => {
      sizes.disconnect();
      theme.removeEventListener('change', redraw);
      chart.destroy();
    };
  }, []);
  useEffect(() => {
    const seconds = times.map((time) => new Date(time).getTime() / 1_000);
    plot.current!.setData([seconds, ...series.map(({ values }) => values)] as Plot.AlignedData);
  });
  const most = series.map(({ name, values }) => {
    const numbers = values.filter((value) => value !== null);
    return `${name}: ${numbers.length === 0 ? 'nothing' : `at most ${textOf(Math.max(...numbers), unit)}`}`;
  });
  return (
    <figure>
      <figcaption>
        <b>{title}</b>
        <span class="legend">
          {series.length > 1 &&
            series.map(({ name }, index) => (
              <span key={name}>
                <strong style={{ color: `var(${colors[index]})` }}>{index === 1 ? '╌' : '—'}</strong> {name}
              </span>
            ))}
        </span>
      </figcaption>
      <div role="img" aria-label={`${title}. ${most.join('. ')}.`} ref={box} />
      <details>
        <summary>Numbers</summary>
        <Table
          caption={title}
          headings={['Time', ...series.map(({ name }) => name)]}
          rows={times.map((time, index) => [
            new Date(time).toLocaleString(),
            ...series.map(({ values }) => (values[index] == null ? '–' : textOf(values[index], unit))),
          ])}
          none="No request yet."
        />
      </details>
    </figure>
  );
}
