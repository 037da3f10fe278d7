import { DropdownMenu as Primitive } from "radix-ui";
import type { ReactNode } from "react";
import { cx } from "./cx";

const ITEM =
  "flex h-10 cursor-pointer items-center gap-2.5 rounded-lg px-2.5 text-[0.9375rem] outline-none select-none data-highlighted:bg-sunken sm:h-9 sm:text-sm";

/** A menu that opens from any button; it stays inside the landmark of its button. */
export function Menu({ trigger, children }: { trigger: ReactNode; children: ReactNode }) {
  return (
    <Primitive.Root modal={false}>
      <Primitive.Trigger asChild>{trigger}</Primitive.Trigger>
        <Primitive.Content
          align="start"
          sideOffset={6}
          collisionPadding={8}
          className="animate-fade z-50 min-w-48 rounded-xl border border-line bg-surface p-1 text-ink shadow-lift"
        >
          {children}
        </Primitive.Content>
    </Primitive.Root>
  );
}

type MenuItemProps = { onSelect: () => void; danger?: boolean; children: ReactNode };

export function MenuItem({ onSelect, danger = false, children }: MenuItemProps) {
  return (
    <Primitive.Item onSelect={onSelect} className={cx(ITEM, danger && "text-danger")}>
      {children}
    </Primitive.Item>
  );
}

export function MenuLabel({ children }: { children: ReactNode }) {
  return (
    <Primitive.Label className="px-2.5 pt-2 pb-1 text-xs font-medium text-ink-faint">
      {children}
    </Primitive.Label>
  );
}

export function MenuSeparator() {
  return <Primitive.Separator className="my-1 h-px bg-line" />;
}

type MenuChoiceProps<Value extends string> = {
  value: Value;
  options: readonly { value: Value; label: string; icon: ReactNode }[];
  onChange: (value: Value) => void;
};

/** One choice of several, kept open until something else is pressed. */
export function MenuChoice<Value extends string>({ value, options, onChange }: MenuChoiceProps<Value>) {
  return (
    <Primitive.RadioGroup value={value}>
      {options.map((option) => (
        <Primitive.RadioItem
          key={option.value}
          value={option.value}
          onSelect={(event) => {
            event.preventDefault();
            onChange(option.value);
          }}
          className={cx(ITEM, "data-[state=checked]:font-medium data-[state=checked]:text-accent")}
        >
          {option.icon}
          <span className="flex-1">{option.label}</span>
          <Primitive.ItemIndicator aria-hidden>•</Primitive.ItemIndicator>
        </Primitive.RadioItem>
      ))}
    </Primitive.RadioGroup>
  );
}
