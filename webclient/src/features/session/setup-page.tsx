import { Link, useLocation, useNavigate } from "react-router";
import { ProblemNote } from "@/components/ui/problem-note";
import { asProblem, problemOf } from "@/lib/problem";
import { signedIn } from "@/lib/session-slice";
import { useAppDispatch } from "@/lib/store-hooks";
import { useTitle } from "@/lib/use-title";
import { useSetUpMutation } from "./api/session-api";
import { Entrance } from "./components/entrance";
import { SetupForm } from "./components/setup-form";

/** Opened from the link the server printed: /setup#token=… (a fragment is never sent or logged). */
export function SetupPage() {
  useTitle("Choose a password");
  const { hash } = useLocation();
  const dispatch = useAppDispatch();
  const navigate = useNavigate();
  const [setUp, { isLoading, error }] = useSetUpMutation();
  const token = new URLSearchParams(hash.slice(1)).get("token");
  const submit = async (password: string) => {
    const result = await setUp({ token: token ?? "", password });
    if (result.data === undefined) return;
    dispatch(signedIn(result.data));
    await navigate("/", { replace: true });
  };
  return (
    <Entrance title="Choose a password">
      {token === null ? (
        <div className="space-y-5">
          <ProblemNote
            problem={problemOf("invalid_request", "the link has no token; copy all of it, up to the end of the line")}
          />
          <Link to="/sign-in" className="text-accent underline underline-offset-4">
            I already have a password
          </Link>
        </div>
      ) : (
        <SetupForm
          busy={isLoading}
          problem={error === undefined ? null : asProblem(error)}
          onSubmit={(password) => void submit(password)}
        />
      )}
    </Entrance>
  );
}
