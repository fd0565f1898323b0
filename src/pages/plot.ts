import { h } from './dom.ts';

/** Plots of numbers over time, as SVG. */

const svg = 'http://www.w3.org/2000/svg';
const [width, height] = [320, 96];

function shape(tag: string, attributes: Readonly<Record<string, string | number>>): SVGElement {
  const element = document.createElementNS(svg, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

/** Returns a figure with its maximum, its time range, and a sentence for screen readers. */
export function plot(
  title: string,
  unit: string,
  series: readonly { readonly name: string; readonly values: readonly (number | null)[] }[],
  times: readonly string[],
): HTMLElement {
  const numbers = series.flatMap(({ values }) => values.filter((value) => value !== null));
  const most = Math.max(1, ...numbers);
  const text = (value: number) =>
    `${value >= 10 ? Math.round(value) : Math.round(value * 100) / 100} ${unit}`.trim();
  const said = series.map(({ name, values }) => {
    const known = values.filter((value) => value !== null);
    return known.length === 0 ? `${name}: nothing` : `${name}: at most ${text(Math.max(...known))}`;
  });
  const picture = shape('svg', {
    viewBox: `0 0 ${width} ${height}`,
    role: 'img',
    'aria-label': `${title}. ${said.join('. ')}.`,
  });
  series.forEach(({ values }, index) => {
    const step = width / Math.max(1, values.length - 1);
    let path = '';
    let isDrawing = false;
    values.forEach((value, at) => {
      // A point without neighbours is a dot.
      if (value !== null)
        path += `${isDrawing ? 'L' : 'M'}${point(at * step, value / most)}${isDrawing ? '' : 'h0'}`;
      isDrawing = value !== null;
    });
    picture.append(shape('path', { d: path, class: `series-${index}` }));
  });
  return h(
    'figure',
    {},
    h('figcaption', {}, h('b', {}, title), h('span', {}, `at most ${text(Math.max(0, ...numbers))}`)),
    picture as unknown as Node,
    h('div', { class: 'axis' }, h('span', {}, clock(times[0])), h('span', {}, clock(times.at(-1)))),
    series.length > 1 &&
      h(
        'div',
        { class: 'legend' },
        ...series.map(({ name }, index) => h('span', { class: `series-${index}` }, name)),
      ),
  );
}

function clock(at: string | undefined): string {
  return at === undefined ? '' : new Date(at).toLocaleString([], { dateStyle: 'short', timeStyle: 'short' });
}

function point(x: number, share: number): string {
  return `${x.toFixed(1)} ${(height - 2 - share * (height - 6)).toFixed(1)}`;
}
