import { createContext, useContext, useEffect, useState, type ReactNode } from "react";
import { useStore } from "react-redux";
import { connectLiveAnswers, type ChatStore, type LiveAnswers } from "./live-answers";

const LiveAnswersContext = createContext<LiveAnswers | null>(null);

/** Holds the connection while one is signed in, so that answers go on while one looks elsewhere. */
export function LiveAnswersProvider({ children }: { children: ReactNode }) {
  const store = useStore() as unknown as ChatStore;
  const [answers, setAnswers] = useState<LiveAnswers | null>(null);
  useEffect(() => {
    const scheme = window.location.protocol === "https:" ? "wss" : "ws";
    const connected = connectLiveAnswers(`${scheme}://${window.location.host}/api/v1/ws`, store);
    // eslint-disable-next-line react-hooks/set-state-in-effect -- an effect owns the connection's lifetime
    setAnswers(connected);
    return () => connected.close();
  }, [store]);
  return <LiveAnswersContext value={answers}>{children}</LiveAnswersContext>;
}

/** Null for the first frame, until the connection object exists. */
export function useLiveAnswers(): LiveAnswers | null {
  return useContext(LiveAnswersContext);
}
