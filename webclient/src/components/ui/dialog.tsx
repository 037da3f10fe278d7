import { X } from "lucide-react";
import { Dialog as Primitive } from "radix-ui";
import type { ReactNode } from "react";
import { IconButton } from "./button";
import { cx } from "./cx";

const WIDTHS = { sm: "sm:max-w-md", md: "sm:max-w-xl", lg: "sm:max-w-4xl" } as const;

type DialogProps = {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  description: string;
  width?: keyof typeof WIDTHS;
  children: ReactNode;
};

/** A modal sheet: at the bottom of a phone, in the middle of a desktop. */
export function Dialog({ open, onOpenChange, title, description, width = "sm", children }: DialogProps) {
  return (
    <Primitive.Root open={open} onOpenChange={onOpenChange}>
      <Primitive.Portal>
        <Primitive.Overlay className="animate-fade fixed inset-0 z-40 bg-[rgb(10_18_14/0.5)]" />
        <Primitive.Content
          className={cx(
            "animate-rise fixed inset-x-0 bottom-0 z-50 mx-auto flex max-h-[88dvh] w-full flex-col rounded-t-2xl border border-line bg-surface shadow-lift sm:inset-y-0 sm:my-auto sm:h-fit sm:rounded-2xl",
            WIDTHS[width],
          )}
        >
          <header className="flex items-start gap-4 px-5 pt-5 pb-3 sm:px-6">
            <div className="min-w-0 flex-1">
              <Primitive.Title className="text-xl font-semibold">{title}</Primitive.Title>
              <Primitive.Description className="mt-1 text-sm text-ink-soft">
                {description}
              </Primitive.Description>
            </div>
            <Primitive.Close asChild>
              <IconButton label="Close" size="iconSm" className="-mt-1 -mr-1">
                <X aria-hidden className="size-4.5" />
              </IconButton>
            </Primitive.Close>
          </header>
          {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- WCAG 2.1.1: a scrolling region must be reachable by keyboard */}
          <div tabIndex={0} className="min-h-0 overflow-y-auto rounded-b-2xl px-5 pb-6 -outline-offset-2 sm:px-6">
            {children}
          </div>
        </Primitive.Content>
      </Primitive.Portal>
    </Primitive.Root>
  );
}
