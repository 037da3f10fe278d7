import { useId, type ComponentProps } from "react";

type TextFieldProps = Omit<ComponentProps<"input">, "id"> & {
  label: string;
  hint?: string;
  error?: string | null;
};

export function TextField({ label, hint, error = null, ...props }: TextFieldProps) {
  const id = useId();
  const noteId = `${id}-note`;
  const note = error ?? hint;
  return (
    <div>
      <label htmlFor={id} className="mb-1.5 block text-sm font-medium">
        {label}
      </label>
      <input
        id={id}
        aria-invalid={error !== null}
        {...(note === undefined ? {} : { "aria-describedby": noteId })}
        className="h-11 w-full rounded-xl border border-line-strong bg-surface px-3.5 text-base text-ink placeholder:text-ink-faint aria-invalid:border-danger"
        {...props}
      />
      {note !== undefined && (
        <p id={noteId} className={error === null ? "mt-1.5 text-sm text-ink-faint" : "mt-1.5 text-sm text-danger"}>
          {note}
        </p>
      )}
    </div>
  );
}
