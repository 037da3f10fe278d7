import { Dialog as Primitive } from "radix-ui";
import type { ReactNode } from "react";

type DrawerProps = { open: boolean; onOpenChange: (open: boolean) => void; children: ReactNode };

/** The sidebar of a phone: slides in over the page, gives the focus back when it closes. */
export function Drawer({ open, onOpenChange, children }: DrawerProps) {
  return (
    <Primitive.Root open={open} onOpenChange={onOpenChange}>
      <Primitive.Portal>
        <Primitive.Overlay className="animate-fade fixed inset-0 z-30 bg-[rgb(10_18_14/0.5)] lg:hidden" />
        <Primitive.Content
          aria-describedby={undefined}
          className="animate-slide-in fixed inset-y-0 left-0 z-30 w-[min(20rem,86vw)] bg-sunken shadow-lift lg:hidden"
        >
          <Primitive.Title className="sr-only">Conversations and account</Primitive.Title>
          {children}
        </Primitive.Content>
      </Primitive.Portal>
    </Primitive.Root>
  );
}
