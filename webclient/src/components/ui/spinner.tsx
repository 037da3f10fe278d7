/** Something is being fetched. Announced once, by its label. */
export function Spinner({ label }: { label: string }) {
  return (
    <p role="status" className="flex items-center gap-2.5 text-sm text-ink-soft">
      <span aria-hidden className="animate-breathe size-2 rounded-full bg-accent" />
      {label}
    </p>
  );
}
