import { useSelector } from "react-redux";
import { asProblem } from "@/lib/problem";
import { selectSession, signedIn, type SessionState } from "@/lib/session-slice";
import { useAppDispatch } from "@/lib/store-hooks";
import { useTitle } from "@/lib/use-title";
import { useSignInMutation } from "./api/session-api";
import { Entrance } from "./components/entrance";
import { SignInForm } from "./components/sign-in-form";

export function SignInPage() {
  useTitle("Sign in");
  const dispatch = useAppDispatch();
  const session = useSelector((root: { session: SessionState }) => selectSession(root));
  const [signIn, { isLoading, error }] = useSignInMutation();
  const submit = async (email: string, password: string) => {
    const result = await signIn({ email, password });
    if (result.data !== undefined) dispatch(signedIn(result.data));
  };
  return (
    <Entrance title="Sign in">
      {session.status === "anonymous" && session.lost && error === undefined && (
        <p role="status" className="mb-6 rounded-xl bg-accent-wash px-4 py-3 text-sm">
          Your session ended. Sign in again to go on where you were.
        </p>
      )}
      <SignInForm
        busy={isLoading}
        problem={error === undefined ? null : asProblem(error)}
        onSubmit={(email, password) => void submit(email, password)}
      />
    </Entrance>
  );
}
