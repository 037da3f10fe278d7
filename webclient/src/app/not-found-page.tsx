import { Link } from "react-router";
import { Button } from "@/components/ui/button";
import { useTitle } from "@/lib/use-title";

export function NotFoundPage() {
  useTitle("Not found");
  return (
    <div className="grid h-full place-items-center p-6">
      <div className="max-w-sm text-center">
        <h1 className="text-3xl font-semibold">There is no such page</h1>
        <p className="mt-2 mb-6 text-ink-soft">The address may be mistyped, or the page is gone.</p>
        <Button asChild variant="primary">
          <Link to="/">New conversation</Link>
        </Button>
      </div>
    </div>
  );
}
