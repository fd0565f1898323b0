import type { JSX } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { all, call, may, type PageProps, path } from './api.ts';
import { Icon } from './icon.tsx';
import { Choice, Empty, Field, Form, Loaded } from './parts.tsx';
import { useResource } from './resource.ts';
import { keysOf, Ways } from './service.tsx';
import { capital, type Service } from './ways.tsx';

/** Page "Connect": the keys of the machine, all services, and one service by its address. */

/** `#connect`, `#connect/PROVIDER`, or `#connect/PROVIDER/NAME` to connect an account again. */
export function Connect({ args: [name, account] }: PageProps): JSX.Element {
  return name === undefined ? <Services /> : <Ways name={name} account={account} />;
}

function Services(): JSX.Element {
  const services = useResource((signal) =>
    Promise.all([all<Service>('/v2/providers', signal), keysOf(signal)]),
  );
  return (
    <Loaded of={services} skeleton={12}>
      {([every, keys]) => (
        <>
          {keys.length > 0 && (
            <>
              <h2>Keys found where Sidekey runs</h2>
              <div class="gallery" role="group" aria-label="Keys found where Sidekey runs">
                {keys.map(({ provider, title, place, connected }) => (
                  <Tile key={provider} name={provider} title={title} note={connected ? 'Connected' : place} />
                ))}
              </div>
              <h2>All services</h2>
            </>
          )}
          <Gallery services={every} />
          {may('config:write') && (
            <>
              <h2>Another service</h2>
              <Form label="Find its sign-in" submit={define}>
                <Field label="Address of an API or MCP server" name="address" type="url" required />
                <Field label="Name (optional)" name="name" />
              </Form>
            </>
          )}
        </>
      )}
    </Loaded>
  );
}

const generic = (
  <a class="button quiet" href="#connect/api-key">
    Any API with a key
  </a>
);

/** Finds a service by its address, and opens it. */
async function define(asked: object): Promise<void> {
  const { name } = await call<Service>('POST /v2/providers', asked);
  location.hash = path`#connect/${name}`;
}

interface TileProps {
  readonly name: string;
  readonly title: string;
  readonly note: string;
  readonly tabIndex?: number;
  readonly onFocus?: () => void;
}

/** A service of a gallery. */
function Tile({ name, title, note, ...more }: TileProps): JSX.Element {
  return (
    <a {...more} href={path`#connect/${name}`}>
      <Icon provider={name} />
      <span>
        {title}
        <br />
        <small>{note}</small>
      </span>
    </a>
  );
}

/** All services, with a search. Arrow keys move the focus: one link of the grid is in the order of Tab. */
function Gallery({ services }: { readonly services: readonly Service[] }): JSX.Element {
  const [text, setText] = useState('');
  const [category, setCategory] = useState('');
  const [current, setCurrent] = useState(0);
  const grid = useRef<HTMLDivElement>(null);
  const shown = services
    .filter((each) => category === '' || each.category === category)
    .filter(({ name, title }) => `${name} ${title}`.toLowerCase().includes(text.toLowerCase()))
    .toSorted((a, b) => a.title.localeCompare(b.title));
  const categories = [...new Set(services.map((each) => each.category).toSorted())];
  const move = (event: KeyboardEvent) => {
    const links = [...(grid.current?.querySelectorAll('a') ?? [])];
    const columns = links.filter(({ offsetTop }) => offsetTop === links[0]?.offsetTop).length;
    const at = links.indexOf(document.activeElement as HTMLAnchorElement);
    const steps = new Map(Object.entries({ Right: 1, Left: -1, Down: columns, Up: -columns }));
    const step = steps.get(event.key.replace('Arrow', ''));
    // From the field of the search, only Down leads into the grid.
    const next = at >= 0 ? links[at + (step ?? NaN)] : event.key === 'ArrowDown' ? links[0] : undefined;
    if (next === undefined) return;
    event.preventDefault();
    next.focus();
  };
  return (
    <>
      <div class="bar">
        <label onKeyDown={move}>
          <span>Search</span>
          <input type="search" autoFocus onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <Choice
          label="Category"
          name="category"
          options={[['', 'All'], ...categories.map((each) => [each, capital(each)] as const)]}
          onChange={setCategory}
        />
      </div>
      <div class="gallery" role="group" aria-label="Services" ref={grid} onKeyDown={move}>
        {shown.map(({ name, title, category: kind }, index) => (
          <Tile
            key={name}
            name={name}
            title={title}
            note={capital(kind)}
            tabIndex={index === Math.min(current, shown.length - 1) ? 0 : -1}
            onFocus={() => setCurrent(index)}
          />
        ))}
      </div>
      {shown.length === 0 && (
        <Empty title="No service fits" action={generic}>
          Find it by its address below, or use its key.
        </Empty>
      )}
    </>
  );
}
