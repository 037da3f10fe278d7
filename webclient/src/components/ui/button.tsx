import { Slot } from "radix-ui";
import type { ComponentProps } from "react";
import { cx } from "./cx";

const VARIANTS = {
  primary: "bg-accent text-accent-ink hover:bg-accent-hover",
  secondary: "border border-line-strong/60 bg-surface text-ink hover:bg-sunken",
  ghost: "text-ink-soft hover:bg-sunken hover:text-ink",
  danger: "bg-danger text-canvas hover:opacity-90",
} as const;

const SIZES = {
  sm: "h-8 gap-1.5 rounded-lg px-2.5 text-sm",
  md: "h-10 gap-2 rounded-xl px-4 text-[0.9375rem]",
  lg: "h-12 gap-2 rounded-xl px-5 text-base",
  icon: "size-10 rounded-xl",
  iconSm: "size-8 rounded-lg",
} as const;

type ButtonProps = ComponentProps<"button"> & {
  variant?: keyof typeof VARIANTS;
  size?: keyof typeof SIZES;
  asChild?: boolean;
};

export function Button({
  variant = "secondary",
  size = "md",
  asChild = false,
  className,
  ...props
}: ButtonProps) {
  const Element = asChild ? Slot.Root : "button";
  return (
    <Element
      {...(asChild ? {} : { type: "button" })}
      className={cx(
        "inline-flex shrink-0 items-center justify-center font-sans font-medium whitespace-nowrap transition-colors disabled:cursor-not-allowed disabled:opacity-45",
        VARIANTS[variant],
        SIZES[size],
        className,
      )}
      {...props}
    />
  );
}

/** A button that shows only an icon; the label is its name and its tooltip. */
export function IconButton({
  label,
  size = "icon",
  variant = "ghost",
  ...props
}: Omit<ButtonProps, "asChild"> & { label: string }) {
  return <Button aria-label={label} title={label} size={size} variant={variant} {...props} />;
}
