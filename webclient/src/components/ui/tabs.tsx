import { Tabs as Primitive } from "radix-ui";
import { type ReactNode, useState } from "react";

type TabsProps = { label: string; tabs: readonly { name: string; title: string; content: ReactNode }[] };

/** Pages of one page, the first unless another one was chosen; arrow keys go from one to the next. */
export function Tabs({ label, tabs }: TabsProps) {
  const [chosen, setChosen] = useState<string>();
  const shown = tabs.find(({ name }) => name === chosen) ?? tabs[0];
  return (
    <Primitive.Root value={shown?.name ?? ""} onValueChange={setChosen} className="space-y-6">
      <Primitive.List aria-label={label} className="flex gap-1 overflow-x-auto border-b border-line">
        {tabs.map(({ name, title }) => (
          <Primitive.Trigger
            key={name}
            value={name}
            // The primitive says nothing when the tab that is shown is clicked; it is chosen then all the same.
            onClick={() => setChosen(name)}
            className="-mb-px shrink-0 border-b-2 border-transparent px-3 py-2.5 font-medium text-ink-soft -outline-offset-2 hover:text-ink data-[state=active]:border-accent data-[state=active]:text-ink"
          >
            {title}
          </Primitive.Trigger>
        ))}
      </Primitive.List>
      {tabs.map(({ name, content }) => (
        <Primitive.Content key={name} value={name} className="outline-offset-8">
          {content}
        </Primitive.Content>
      ))}
    </Primitive.Root>
  );
}
